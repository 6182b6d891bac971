"""Results that travel: out as one archive, in again with the first measurement standing, and nothing hostile on the way."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.bundles import read
from harness.bundles.merge import merge
from harness.bundles.read import opened
from harness.bundles.write import write
from harness.cli.main import main
from harness.errors import OutputError, UserError
from harness.store import weights
from harness.store.export import frame
from harness.store.store import Failure, Store
from tests.store.test_store import finish, job
from tests.support.hostile_archives import linked, zipped

FINAL = f"final-00000010-{'a' * 64}.pt"


def store_in(folder: Path) -> Store:
    store = Store(folder)
    store.prepare()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two trainings, one with a curve, a matrix and weights; one that failed; and what does not travel."""
    store = store_in(tmp_path / "results")
    finish(store, job(0), 31.5, 40.0)
    finish(store, job(1), 33.0)
    folder = store.folder(job(0))
    (folder / "curve.jsonl").write_text('{"iteration": 1, "loss": 2.0}\n')
    np.save(folder / "confusion.npy", np.eye(3, dtype=np.int64))
    (folder / FINAL).write_bytes(b"weights")
    (folder / "log.txt").write_text("a path of this machine")
    (folder / "checkpoint-00000005-x.pt").write_bytes(b"half")
    store.fail(job(2), Failure("killed", "by SIGKILL", log="a path of this machine"))
    return store


def bundle(path: Path, **files: bytes) -> Path:
    """A bundle of these files (`__` for `/`) with the manifest that fits them."""
    names = {name.replace("__", "/"): content for name, content in files.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in names.items()}
    record = {"format": "segmentation-harness bundle", "schema": 1, "files": digests}
    path.write_bytes(zipped(*names.items(), ("manifest.json", json.dumps(record).encode())))
    return path


# ------------------------------------------------------------------------------------------------------- out and in


def test_measurements_come_back_as_they_went_out(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, there = tmp_path / "all.zip", tmp_path / "there"
    assert main(["export", str(file), "--results", str(store.root)]) == 0
    assert "2 jobs with 3 measurements, 1 failed job, no weights" in capsys.readouterr().out
    assert main(["import", str(file), "--results", str(there)]) == 0
    assert "2 results added, 0 already here, 1 failures added" in capsys.readouterr().out
    other = Store(there)
    for number in (0, 1):
        assert other.result(job(number)) == store.result(job(number))
    folder = other.folder(job(0))
    assert np.array_equal(np.load(folder / "confusion.npy"), np.eye(3))
    assert {path.name for path in folder.iterdir()} == {"result.json", "curve.jsonl", "confusion.npy", weights.NOTE}
    failure = other.failure(job(2))
    assert failure is not None
    assert (failure.cause, failure.log) == ("killed", "")
    assert list(frame(other)["value"]) == list(frame(store)["value"])
    assert not list(there.glob(".*"))


def test_the_same_store_gives_the_same_bytes(store: Store, tmp_path: Path):
    for name in ("one.zip", "two.zip"):
        write(store, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert b"path of this machine" not in b"".join(
        zipfile.ZipFile(tmp_path / "one.zip").read(name) for name in zipfile.ZipFile(tmp_path / "one.zip").namelist()
    )


def test_weights_travel_on_request(store: Store, tmp_path: Path):
    assert write(store, tmp_path / "all.zip", with_weights=True).weights == 1
    there = store_in(tmp_path / "there")
    with opened(tmp_path / "all.zip", there.root) as content:
        merge(content.root, there, with_weights=True)
    assert (there.folder(job(0)) / FINAL).read_bytes() == b"weights"
    assert not weights.left_out(there.folder(job(0)))
    assert weights.left_out(there.folder(job(1)))


def test_weights_that_were_asked_for_and_are_not_there_are_not_offered_again(tmp_path: Path, capsys):
    store = store_in(tmp_path / "results")
    finish(store, job(1), 33.0)
    assert main(["export", str(tmp_path / "all.zip"), "--weights", "--results", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert "no weights, of which there are none here" in said
    assert "--weights adds them" not in said


def test_an_imported_store_is_imported_twice_without_a_word(store: Store, tmp_path: Path, capsys):
    write(store, tmp_path / "all.zip")
    for expected in ("2 results added, 0 already here", "0 results added, 2 already here"):
        assert main(["import", str(tmp_path / "all.zip"), "--results", str(tmp_path / "there")]) == 0
        assert expected in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ merging


def test_the_first_measurement_stands_and_the_conflict_is_said(store: Store, tmp_path: Path, capsys):
    other = store_in(tmp_path / "other")
    finish(other, job(0), 30.0, 40.0)
    finish(other, job(5), 20.0)
    assert main(["merge", str(other.root), "--results", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert "1 results added, 1 already here (1 of them in conflict)" in said
    assert "miou is 31.5 here and 30 there; the one here stands" in said
    result = store.result(job(0))
    assert result is not None
    assert result.measurements[0].value == 31.5
    assert store.result(job(5)) is not None
    assert len(list(other.results())) == 2


def test_a_result_takes_the_place_of_a_failure_and_no_failure_that_of_a_result(store: Store, tmp_path: Path):
    other = store_in(tmp_path / "other")
    finish(other, job(2), 9.0)
    other.fail(job(1), Failure("error", "there"))
    done = merge(other.root, store)
    assert (done.added, done.failed) == (1, 0)
    assert store.result(job(2)) is not None
    assert store.failure(job(2)) is None
    assert store.failure(job(1)) is None


def test_the_first_cause_of_a_failure_stands(store: Store, tmp_path: Path):
    other = store_in(tmp_path / "other")
    other.fail(job(2), Failure("error", "another"))
    merge(other.root, store)
    failure = store.failure(job(2))
    assert failure is not None
    assert failure.cause == "killed"


def test_what_is_no_results_folder_is_not_merged(store: Store, tmp_path: Path, capsys):
    assert main(["merge", str(tmp_path), "--results", str(store.root)]) == 2
    assert "is no results folder" in capsys.readouterr().err
    assert main(["merge", str(store.root), "--results", str(store.root)]) == 2
    assert "is the results folder itself" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ damaged and hostile


def test_a_damaged_record_is_put_aside_and_said(store: Store, tmp_path: Path, capsys):
    write(store, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = (store.folder(job(0)) / "result.json").relative_to(store.root).as_posix()
    files[name] = files[name].replace(b"31.5", b"99.5")
    (tmp_path / "bad.zip").write_bytes(zipped(*files.items()))
    there = Store(tmp_path / "there")
    assert main(["import", str(tmp_path / "bad.zip"), "--results", str(there.root)]) == 1
    assert "result.json, put aside as result.json.damaged" in capsys.readouterr().out
    assert there.result(job(0)) is None
    assert there.result(job(1)) is not None
    assert b"99.5" in (there.folder(job(0)) / "result.json.damaged").read_bytes()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": 7}', b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_put_aside(content: bytes, tmp_path: Path, capsys):
    file = bundle(tmp_path / "all.zip", **{"jobs__train__abc__def__result.json": content})
    assert main(["import", str(file), "--results", str(tmp_path / "there")]) == 1
    said = capsys.readouterr()
    assert "put aside as result.json.damaged" in said.out
    assert "Traceback" not in said.err


def test_a_result_in_the_folder_of_another_job_is_put_aside(store: Store, tmp_path: Path):
    content = (store.folder(job(0)) / "result.json").read_bytes()
    file = bundle(tmp_path / "all.zip", **{"jobs__train__abc__def__result.json": content})
    there = store_in(tmp_path / "there")
    with opened(file, there.root) as unpacked:
        done = merge(unpacked.root, there)
    assert (done.added, len(done.damaged)) == (0, 1)
    assert there.result(job(0)) is None


OTHERS = {
    "a path upwards": (zipped(("../../evil", b"x"), ("manifest.json", b"{}")), "no bundle of this version holds"),
    "an upward job": (
        zipped(("jobs/train/../../result.json", b"x"), ("manifest.json", b"{}")),
        "no bundle of this version holds",
    ),
    "an absolute path": (zipped(("/etc/passwd", b"x"), ("manifest.json", b"{}")), "no bundle of this version holds"),
    "code": (zipped(("jobs/train/a/b/run.py", b"x"), ("manifest.json", b"{}")), "no bundle of this version holds"),
    "a link": (
        zipped(linked("jobs/train/a/b/result.json", 0o120777), ("manifest.json", b"{}")),
        "not safe to open as a bundle",
    ),
    "no manifest": (zipped(("jobs/train/a/b/result.json", b"x")), "has no manifest.json"),
    "a manifest of something else": (zipped(("manifest.json", b"[1]")), "cannot be read as that of a bundle"),
    "nothing": (b"", "damaged, or no zip archive"),
    "noise": (b"PK\x03\x04" + b"\xff" * 200, "damaged, or no zip archive"),
    "a later schema": (
        zipped(("manifest.json", b'{"format": "segmentation-harness bundle", "schema": 2, "files": {}}')),
        "is of schema 2",
    ),
    "an unlisted file": (
        zipped(
            ("jobs/train/a/b/result.json", b"x"),
            ("manifest.json", b'{"format": "segmentation-harness bundle", "schema": 1, "files": {}}'),
        ),
        "is not in its manifest",
    ),
    "a listed file that is absent": (
        zipped(
            (
                "manifest.json",
                b'{"format": "segmentation-harness bundle", "schema": 1, "files": {"jobs/train/a/b/result.json": "0"}}',
            )
        ),
        "is missing",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_hostile_bundle_is_refused_and_leaves_nothing(name: str, tmp_path: Path, capsys):
    content, expected = OTHERS[name]
    (tmp_path / "all.zip").write_bytes(content)
    assert main(["import", str(tmp_path / "all.zip"), "--results", str(tmp_path / "there")]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["cache"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip", "there"]


def test_a_claimed_size_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = bundle(tmp_path / "all.zip", **{"jobs__train__a__b__result.json": b"0" * 5000})
    monkeypatch.setattr(read, "largest", lambda name: 4000 if name.endswith("result.json") else 1 << 20)
    monkeypatch.setattr(read, "unpack", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(UserError, match="claims 5000 bytes, at most 4000"), opened(file, tmp_path):
        pass


@pytest.mark.parametrize("name", ["absent.zip", "results.tar"])
def test_what_is_no_bundle_is_said(name: str, tmp_path: Path, store: Store):
    with pytest.raises(UserError, match=r"there is no such file|ends in \.zip"), opened(tmp_path / name, tmp_path):
        pass
    with pytest.raises(UserError, match=r"ends in \.zip"):
        write(store, tmp_path / "results.tar")


def test_a_full_disk_leaves_no_half_bundle(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "open", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write(store, tmp_path / "all.zip")
    assert not (tmp_path / "all.zip").exists()


def test_a_damaged_record_does_not_go_out(store: Store, tmp_path: Path):
    (store.folder(job(0)) / "result.json").write_text("{")
    written = write(store, tmp_path / "all.zip")
    assert (written.jobs, written.damaged) == (1, 1)


# ---------------------------------------------------------------------------------------------------------- comparing


def test_two_stores_are_compared_pair_by_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = store_in(tmp_path / "a"), store_in(tmp_path / "b")
    for seed, (first, second) in enumerate([(30.0, 32.0), (31.0, 33.1), (29.0, 30.9)]):
        evaluation(a, seed, first)
        evaluation(b, seed, second, code="2")
    evaluation(b, 7, 50.0)
    assert main(["compare", str(a.root), str(b.root)]) == 0
    said = capsys.readouterr().out
    assert "mIoU: 30.00 → 32.00 %, +2.00 [+1.83, +2.17]; B higher (3 pairs, 1 only in B)" in said
    write(b, tmp_path / "b.zip")
    assert main(["compare", str(a.root), str(tmp_path / "b.zip"), "--format", "csv"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    fields = dict(zip(header.split(","), line.split(",")))
    assert (fields["pairs"], fields["outcome"], fields["metric"]) == ("3", "B higher", "miou")
    assert float(fields["difference"]) == pytest.approx(2.0)
    assert float(fields["low"]) == pytest.approx(2.0 - 2.919986 * 0.1 / 3**0.5)


def test_commits_of_one_store_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = store_in(tmp_path / "results")
    evaluation(store, 0, 30.0, commit="a" * 40)
    evaluation(store, 0, 30.0, commit="b" * 40, code="2")
    results = ["--results", str(store.root)]
    assert main(["compare", "aaaa", "bbbb", *results]) == 0
    assert "mIoU: 30.00 → 30.00 %; same (1 pair)" in capsys.readouterr().out
    assert main(["compare", "aaaa", "cccc", *results]) == 2
    assert (
        "holds no measurement of such a commit; measurements are there of aaaaaaaaaaaa, bbbb" in capsys.readouterr().err
    )
    assert main(["compare", "aaaa", "nowhere", *results]) == 2
    assert "no results folder, no bundle (.zip) and no commit" in capsys.readouterr().err


def evaluation(store: Store, seed: int, miou: float, *, code: str = "1", commit: str = "c" * 40) -> None:
    from dataclasses import replace

    from harness.jobs.job import Measurement

    which = replace(job(seed, code=code), kind="evaluate")
    store.finish(which, [Measurement("miou", miou, "%")], {"commit": commit}, started=float(seed))
