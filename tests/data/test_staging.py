"""Copies of datasets on a node's own disk: made once, checked, shared by jobs, removed where room is missing."""

from __future__ import annotations

import errno
import fcntl
import shutil
import tarfile
import threading
from collections import namedtuple
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.data import files, staging
from harness.data.annotations.label_maps import LabelReader
from harness.data.staging import NoRoom, staged
from harness.data.synthetic import synthesize
from harness.errors import Interrupted, UserError
from harness.jobs.context import Context
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import Data, EvaluateConfig, Model
from harness.plan.keys import KeyParts
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.scheduler import worker
from harness.scheduler.worker import Request, explain

CAMVID = Data(name="camvid")
Usage = namedtuple("Usage", "total used free")


def context_of(tmp_path: Path, *, stop: bool = False, said: list[str] | None = None) -> Context:
    """A job's context whose datasets lie in `shared`."""
    progress = (lambda step: said.append(step.text)) if said is not None else lambda step: None
    place = (tmp_path / "job", tmp_path / "cache", tmp_path / "shared")
    return Context(*place, device="cpu", threads=1, progress=progress, should_stop=lambda: stop)


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """That of a small CamVid below `shared`."""
    synthesize("camvid", tmp_path / "shared", scenes=Synthetic(train_images=2, test_images=1, size=(16, 24)))
    return files.digest(CAMVID, data_dir=tmp_path / "shared", cache=tmp_path / "cache")


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were copied."""
    names: list[str] = []
    copy = shutil.copy2

    def noted(source: Path, target: Path) -> None:
        names.append(Path(source).name)
        copy(source, target)

    monkeypatch.setattr(staging.shutil, "copy2", noted)
    return names


def test_the_first_job_copies_and_the_next_one_uses_it(
    tmp_path: Path, digest: str, copied: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    said: list[str] = []
    with staged(CAMVID, digest, "$NODE_DISK/data", "", context_of(tmp_path, said=said)) as place:
        assert place == tmp_path / f"node/data/camvid-{digest[:12]}"
        root = files.locate(CAMVID, data_dir=place, cache=tmp_path / "cache")
        assert root.path == place / "camvid"
        assert LabelReader(root.layout).read(files.pairs(root, "train")[0].label).shape == (16, 24)
    count = len(copied)
    assert count == len(files.used_files(root))
    assert said[-1] == f"copies camvid to the node: {count} of {count} files"
    with staged(CAMVID, digest, "$NODE_DISK/data", "", context_of(tmp_path)) as place:
        assert files.manifest(root, tmp_path / "cache").digest == digest
    assert len(copied) == count


def test_a_copy_that_lost_a_file_is_made_again(tmp_path: Path, digest: str, copied: list[str]):
    """What tidies a node's disk removes files that were not read for long."""
    with staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)) as place:
        image = next(place.rglob("*.png"))
    image.unlink()
    copied.clear()
    with staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)):
        assert image.is_file()
    assert copied


def test_a_copy_that_was_not_finished_is_made_again(tmp_path: Path, digest: str):
    place = tmp_path / f"node/camvid-{digest[:12]}"
    (place / "camvid").mkdir(parents=True)
    (place / "staged.json").write_text("{}")
    (place / "camvid/half.png").write_text("")
    with staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)) as found:
        assert found == place
        assert not (place / "camvid/half.png").exists()


def test_data_that_are_not_as_planned_are_refused_and_leave_nothing(tmp_path: Path, digest: str):
    image = next((tmp_path / "shared").rglob("*.png"))
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(
        UserError, match=r"dataset 'camvid' at .*, made of its files, is not what .* repeat the command"
    ):
        staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)).__enter__()
    assert not [*(tmp_path / "node").glob("camvid-*/")]


def pack(tmp_path: Path, form: str) -> None:
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / f"packed/camvid.{form}", "w:gz" if form.endswith("gz") else "w") as archive:
        archive.add(tmp_path / "shared/camvid", "camvid")


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_an_archive_is_unpacked_in_place_of_copies(tmp_path: Path, digest: str, copied: list[str], form: str):
    pack(tmp_path, form)
    with staged(CAMVID, digest, str(tmp_path / "node"), str(tmp_path / "packed"), context_of(tmp_path)) as place:
        root = files.locate(CAMVID, data_dir=place, cache=tmp_path / "cache")
        assert len(files.pairs(root, "train")) == 2
    assert not copied


def test_an_archive_of_other_files_is_refused(tmp_path: Path, digest: str):
    image = next((tmp_path / "shared").rglob("*.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[:-1] + b"x")
    pack(tmp_path, "tar")
    image.write_bytes(whole)
    with pytest.raises(UserError, match=r"made of the archive .*camvid\.tar, is not what .* pack it anew"):
        staged(CAMVID, digest, str(tmp_path / "node"), str(tmp_path / "packed"), context_of(tmp_path)).__enter__()


def test_without_an_archive_of_its_own_a_dataset_is_copied(tmp_path: Path, digest: str, copied: list[str]):
    (tmp_path / "packed").mkdir()
    with staged(CAMVID, digest, str(tmp_path / "node"), str(tmp_path / "packed"), context_of(tmp_path)):
        assert copied


# ------------------------------------------------------------------------------------------------------------- no room


@pytest.mark.parametrize("form", ["", "tar"])
def test_too_little_room_is_an_error_of_its_own(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch, form: str
):
    if form:
        pack(tmp_path, form)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: Usage(10, 10, 1 << 10))
    archives = str(tmp_path / "packed") if form else ""
    with pytest.raises(
        NoRoom, match=r"no room for dataset 'camvid' on node .* has 0\.0 MiB free, .* \(gres: lscratch"
    ) as caught:
        staged(CAMVID, digest, str(tmp_path / "node"), archives, context_of(tmp_path)).__enter__()
    assert explain(caught.value, "log.txt").cause == "no room on the node"
    assert not [*(tmp_path / "node").glob("camvid-*/")]


def test_a_disk_that_fills_up_while_copying_is_the_same_error(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
):
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging.shutil, "copy2", full)
    with pytest.raises(NoRoom, match="that was not enough"):
        staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)).__enter__()
    assert not [*(tmp_path / "node").glob("camvid-*/")]


def other_copy(node: Path, name: str, age: int) -> Path:
    place = node / name
    place.mkdir(parents=True)
    (place / "staged.json").write_text('{"digest": "x"}')
    (node / f"{name}.lock").touch()
    staging.os.utime(place, (age, age))
    return place


def test_copies_that_no_job_uses_make_room_the_oldest_first(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
):
    node = tmp_path / "node"
    new, old, used = (other_copy(node, name, age) for name, age in (("new-1", 30), ("old-1", 20), ("used-1", 10)))
    room: Callable[[Path], Usage] = lambda path: Usage(0, 0, 1 << 30 if not old.exists() else 0)  # noqa: E731
    monkeypatch.setattr(staging.shutil, "disk_usage", room)
    with (node / "used-1.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with staged(CAMVID, digest, str(node), "", context_of(tmp_path)):
            assert (new.exists(), old.exists(), used.exists()) == (True, False, True)


# ---------------------------------------------------------------------------------------------------- several at once


def test_jobs_of_a_node_share_one_copy_and_use_it_at_once(tmp_path: Path, digest: str, copied: list[str]):
    count, together, failed = 4, threading.Barrier(4, timeout=30), []

    def job() -> None:
        try:
            with staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path)):
                together.wait()  # none of them is kept out by another that uses it
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=job) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    root = files.locate(CAMVID, data_dir=tmp_path / "shared", cache=tmp_path / "cache")
    assert len(copied) == len(files.used_files(root))


def test_a_job_that_waits_for_a_copy_says_so_and_stops_when_asked(tmp_path: Path, digest: str):
    (tmp_path / "node").mkdir()
    said: list[str] = []
    asked = iter([False, True])
    place = (tmp_path / "job", tmp_path / "cache", tmp_path / "shared")
    context = Context(
        *place, device="cpu", threads=1, progress=lambda step: said.append(step.text), should_stop=lambda: next(asked)
    )
    with ExitStack() as stack:
        lock = stack.enter_context((tmp_path / f"node/camvid-{digest[:12]}.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Interrupted):
            staged(CAMVID, digest, str(tmp_path / "node"), "", context).__enter__()
    assert said == ["waits for another job's copy of camvid"]


def test_a_job_that_is_stopped_while_it_copies_leaves_nothing(tmp_path: Path, digest: str):
    with pytest.raises(Interrupted):
        staged(CAMVID, digest, str(tmp_path / "node"), "", context_of(tmp_path, stop=True)).__enter__()
    assert not [*(tmp_path / "node").glob("camvid-*/")]


@pytest.mark.parametrize("folder", ["$NOT_SET_HERE/data", "data"])
def test_a_folder_that_is_nowhere_is_said(tmp_path: Path, digest: str, folder: str):
    with pytest.raises(UserError, match=r"stage\.folder: .* expected is an absolute path, of variables that are set"):
        staged(CAMVID, digest, folder, "", context_of(tmp_path)).__enter__()


# ------------------------------------------------------------------------------------------------------------- workers


YAML = """\
title: Own
folder: ../shared/camvid
image: images/{split}/{id}.png
label: labels/{split}/{id}.png
splits: {train: null, val: null}
classes: [{name: a}, {name: b}]
undeclared: ignore
"""


@pytest.mark.parametrize("name", ["camvid", "own.yaml"])
def test_a_job_reads_the_copy_and_nothing_else(tmp_path: Path, digest: str, name: str):
    """Also of a dataset outside the checkout, which has a place of its own."""
    (tmp_path / "tables").mkdir()
    layout = files.locate(CAMVID, data_dir=tmp_path / "shared", cache=tmp_path / "cache").layout
    text = YAML.replace("images/{split}/{id}.png", layout.image).replace("labels/{split}/{id}.png", layout.label)
    (tmp_path / "tables/own.yaml").write_text(text)
    data = Data(name=str(tmp_path / "tables/own.yaml") if name == "own.yaml" else name)
    model = Model(name="fcn", num_classes=2, backbone="resnet18")
    config = EvaluateConfig(model=model, data=data, protocol=TestProtocol(), profile="own", seed=0)
    parts, reasons = KeyParts(Code(), tmp_path / "shared", tmp_path / "cache").of("evaluate", config)
    assert not reasons
    job = Job("evaluate", config.model_dump(mode="json"), "k" * 64, "i" * 64, parts)
    stage = {"folder": str(tmp_path / "node"), "archives": ""}
    request = Request(job, str(tmp_path / "results"), str(tmp_path / "shared"), "cpu", 1, stage=stage)
    request.write(tmp_path)
    assert Request.read(tmp_path) == request
    with worker._with_data_of_node(request, request.context(tmp_path, [])) as context:
        worker._check_declaration(request, context)
        root = files.locate(data, data_dir=context.data_dir, cache=tmp_path / "cache")
        assert (tmp_path / "node") in root.path.parents
        assert len(files.pairs(root, "train")) == 2


def test_scenes_are_not_copied(tmp_path: Path):
    config = {"data": Data(name="camvid", synthetic=Synthetic()).model_dump(mode="json")}
    job = Job("evaluate", config, "k" * 64, "i" * 64, {"data": {"camvid": {"files": "x"}}})
    stage = {"folder": "/nowhere", "archives": ""}
    request = Request(job, str(tmp_path), None, "cpu", 1, stage=stage)
    given = request.context(tmp_path, [])
    with worker._with_data_of_node(request, given) as context:
        assert context is given
