"""Snapshots of the code: what they hold, that they are the code of the jobs' keys, and who may remove them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.key import Code
from harness.jobs.kinds import ComplexityConfig, Data, Model
from harness.jobs.outside import without_places
from harness.plan.keys import KeyParts
from harness.recipes.profile import Synthetic
from harness.scheduler import code_snapshot, worker
from harness.scheduler.code_snapshot import snapshot
from harness.scheduler.worker import Request, main

METHOD = """
import helper_of_{name}
from methods.registry import register_context

@register_context("mine")
def mine(in_channels):
    return helper_of_{name}.CHANNELS
"""


def method(folder: Path, name: str) -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(METHOD.format(name=name))
    (folder / f"helper_of_{name}.py").write_text("CHANNELS = 8\n")
    (folder / "unrelated.py").write_text("")
    return folder / "mine.py"


def job_of(file: Path | str, cache: Path, kind: str = "context") -> Job:
    """A job that counts `file:mine`, with the parts of its key."""
    config = ComplexityConfig(
        model=Model(kind=kind, name=f"{file}:mine", num_classes=2), input=((1, 4, 8, 8),), convention="mmcv-hooks"
    )
    parts, _ = KeyParts(Code(cache), None, cache).of("complexity", config)
    return Job("complexity", config.model_dump(mode="json"), "k" * 64, "i" * 64, parts)


def names(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def test_a_snapshot_holds_the_method_and_what_it_imports(tmp_path: Path):
    job = job_of(method(tmp_path / "own", "held"), tmp_path)
    place = snapshot(tmp_path / "code", [job], cache=tmp_path)
    held = {Path(name).name for name in names(place) if name.startswith("outside/")}
    assert held == {"mine.py", "helper_of_held.py"}
    assert (place / "harness/jobs/key.py").read_bytes() == (ROOT / "harness/jobs/key.py").read_bytes()
    assert snapshot(tmp_path / "code", [job], cache=tmp_path) == place
    assert snapshot(tmp_path / "code", cache=tmp_path) != place


def test_jobs_find_the_copies_from_wherever_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also by a relative path, and when the originals are gone."""
    method(tmp_path / "own", "copied")
    monkeypatch.chdir(tmp_path)
    job = job_of("own/mine.py", tmp_path)
    place = snapshot(tmp_path / "code", [job], cache=tmp_path)
    for original in (tmp_path / "own").iterdir():
        original.unlink()
    program = (
        "from methods import registry; entry = registry.find('own/mine.py:mine', 'context');"
        "print(entry.load()(4), entry.module, registry.__file__)"
    )
    environ = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "own", env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    channels, module, source = done.stdout.split()
    assert channels == "8"
    assert {*without_places({module: ""})} <= {*job.parts["code"]}
    assert Path(source) == place / "methods/registry.py"


@pytest.mark.parametrize("edited", ["mine.py", "helper_of_{name}.py"])
def test_code_edited_after_planning_is_refused(tmp_path: Path, edited: str):
    name = f"edited_{edited[:4]}"
    job = job_of(method(tmp_path / "own", name), tmp_path)
    file = tmp_path / "own" / edited.format(name=name)
    before = file.read_text()
    file.write_text(before.replace("8", "16") + "ADDED = 1\n")
    with pytest.raises(UserError, match=rf"{file.name} changed\); repeat the command"):
        snapshot(tmp_path / "code", [job], cache=tmp_path)
    file.write_text(before + "# a remark\n")
    snapshot(tmp_path / "code", [job], cache=tmp_path)


def test_a_checkout_edited_after_planning_is_refused(tmp_path: Path):
    for name in ("harness/a.py", "methods/b.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True)
        (tmp_path / "here" / name).write_text("x = 1\n")
    parts = {"code": Code(root=tmp_path / "here").closure(["methods.b"])}
    job = Job("complexity", {}, "k", "i", parts)
    snapshot(tmp_path / "code", [job], root=tmp_path / "here")
    (tmp_path / "here/methods/b.py").write_text("x = 1\nimport harness.a\n")
    with pytest.raises(UserError, match=r"methods/b\.py changed, harness/a\.py is new|harness/a\.py is new"):
        snapshot(tmp_path / "code", [job], root=tmp_path / "here")


def test_a_worker_started_by_hand_runs_no_other_code(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = method(tmp_path / "own", "by_hand")
    job = job_of(file, tmp_path)
    Request(job, str(tmp_path), None, "cpu", 1).write(tmp_path / "job")
    file.write_text(file.read_text() + "ADDED = 1\n")
    assert main([str(tmp_path / "job")]) == 2
    assert "mine.py changed); repeat the command" in capsys.readouterr().err
    assert not (tmp_path / "job/log.txt").exists()


def test_a_declaration_edited_after_planning_fails_the_job(tmp_path: Path):
    """Declarations are no code of a key: what a job uses of one is."""
    from harness.data.key_parts import check_declaration, used_of

    data = Data(name="camvid", synthetic=Synthetic(train_images=2, test_images=1, size=(16, 24)))
    facts = used_of(data, data_dir=None, cache=tmp_path).facts
    check_declaration(data, facts, data_dir=None, cache=tmp_path)
    with pytest.raises(UserError, match=r"dataset 'camvid' was edited .*\(label mapping\)"):
        check_declaration(data, {**facts, "label mapping": "other"}, data_dir=None, cache=tmp_path)
    kind = {"kind": "train", "config": {"data": data.model_dump(mode="json")}, "key": "k" * 64, "identity": "i" * 64}
    job = Job(**kind, parts={"data": {"camvid": {**facts, "classes": "other"}}})
    request = Request(job, str(tmp_path), None, "cpu", 1)
    with pytest.raises(UserError, match=r"\(classes\); repeat the command"):
        worker._check_declaration(request, request.context(tmp_path, []))


def test_a_plug_in_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its Python files, and links to what else it holds."""
    package = tmp_path / "installed/own_plug_in"
    package.mkdir(parents=True)
    for name in ("__init__.py", "layers.py", "found_by_name.py"):
        (package / name).write_text("")
    (package / "method.py").write_text(
        METHOD.format(name="plug_in").replace("import helper", "import own_plug_in.layers as helper")
    )
    (package / "anchors.json").write_text("[1]")
    (tmp_path / "installed/beside.py").write_text("")
    from methods import registry

    own = replace(registry.find("ppm", "context"), module="own_plug_in.method", file=package / "method.py")
    monkeypatch.setattr(registry, "dependencies", lambda *arguments: [own])
    job = Job("complexity", {"model": {"name": "x", "options": {}, "kind": "context"}}, "k", "i", {"code": {}})
    place = snapshot(tmp_path / "code", [job])
    assert {n for n in names(place) if n.startswith("own_plug_in/")} == {
        f"own_plug_in/{n}" for n in ("__init__.py", "layers.py", "found_by_name.py", "method.py", "anchors.json")
    }
    assert (place / "own_plug_in/anchors.json").is_symlink()
    assert json.loads((place / "own_plug_in/anchors.json").read_text()) == [1]


def test_what_is_in_use_is_not_swept_and_the_rest_is(tmp_path: Path):
    folder = tmp_path / "code"
    for name in ("ours", "theirs", "idle"):
        (folder / name / "harness").mkdir(parents=True)
        (folder / name / "lock").touch()
    (folder / ".half.host.1.0.tmp").mkdir()
    held = code_snapshot.hold(folder / "theirs")
    assert held is not None
    try:
        code_snapshot.sweep(folder, keep=folder / "ours")
        assert sorted(p.name for p in folder.iterdir()) == [".half.host.1.0.tmp", "ours", "theirs"]
    finally:
        os.close(held)
    os.utime(folder / ".half.host.1.0.tmp", (0, 0))
    code_snapshot.sweep(folder, keep=folder / "ours")
    assert [p.name for p in folder.iterdir()] == ["ours"]
    assert code_snapshot.hold(folder / "idle") is None
