"""The results folder: nothing half written, nothing lost, and a frame that keeps up with the JSON files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.store.store
from harness import ROOT
from harness.errors import OutputError
from harness.files import append_jsonl, read_json, write_json
from harness.jobs.job import Job, Measurement
from harness.jobs.key import digest
from harness.store.store import Failure, Store

ENVIRONMENT = {"commit": "abc", "device": "cpu: test"}


def job(number: int = 0, *, code: str = "1", method: str = "fcn") -> Job:
    config = {"model": {"name": method}, "data": {"name": "camvid"}, "profile": "smoke", "seed": number}
    identity = digest(config)
    return Job("train", config, digest([identity, code]), identity, {"config": config, "code": {"methods.fcn": code}})


def finish(store: Store, which: Job, *values: float, started: float = 1.0):
    names = ("miou", "macc", "aacc")
    return store.finish(which, [Measurement(n, v, "%") for n, v in zip(names, values)], ENVIRONMENT, started)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results")
    made.prepare()
    return made


# ------------------------------------------------------------------------------------------------------- single files


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path):
    file = tmp_path / "there/lines.jsonl"
    append_jsonl(file, [{"n": 1}])
    with file.open("a") as cut:
        cut.write('{"n": ')
    append_jsonl(file, [{"n": 2}, {"n": 3}])
    assert file.read_text().splitlines() == ['{"n": 1}', '{"n": ', '{"n": 2}', '{"n": 3}']
    append_jsonl(file, [])
    assert file.read_text().endswith("3}\n")
    (tmp_path / "blocked").touch()
    with pytest.raises(OutputError, match="blocked"):
        append_jsonl(tmp_path / "blocked/lines.jsonl", [{}])


def test_a_result_comes_back_as_it_went_in(store: Store):
    given = finish(store, job(), 31.5, 40.0)
    found = store.result(job())
    assert found == given
    assert found.value("miou") == Measurement("miou", 31.5, "%")
    assert found.value("absent") is None
    assert found.job == job()


@given(value=st.floats(allow_nan=False), unit=st.text(max_size=5), name=st.text(min_size=1, max_size=9))
def test_any_measurement_survives_the_file(tmp_path_factory, value: float, unit: str, name: str):
    store = Store(tmp_path_factory.getbasetemp() / "any")
    measurement = Measurement(name, value, unit, unit)
    store.finish(job(), [measurement], ENVIRONMENT, 0.0)
    assert store.result(job()).measurements == (measurement,)


def test_nothing_is_left_beside_a_written_file(store: Store):
    finish(store, job(), 1.0)
    assert [p.name for p in store.folder(job()).iterdir()] == ["result.json"]


def test_a_result_ends_the_memory_of_a_failure(store: Store):
    store.fail(job(), Failure("exception", "no"))
    assert store.failure(job()).message == "no"
    finish(store, job(), 1.0)
    assert store.failure(job()) is None


TORN = [
    "",
    "{",
    '{"schema": 1',
    "[]",
    "3",
    "null",
    '"x"',
    "{}",
    '{"schema": 1}',
    '{"schema": 99}',
    "\x00\x00",
    '{"schema": 1, "job": []}',
]


@pytest.mark.parametrize("text", TORN)
def test_a_torn_or_foreign_result_counts_as_none(store: Store, text: str):
    finish(store, job(1), 1.0)
    finish(store, job(), 2.0)
    (store.folder(job()) / "result.json").write_text(text)
    assert store.result(job()) is None
    assert [r.job for r in store.results()] == [job(1)]
    assert list(store.frame()["value"]) == [1.0]
    finish(store, job(), 3.0)
    assert sorted(store.frame()["value"]) == [1.0, 3.0]


@pytest.mark.parametrize("text", [*TORN, '{"cause": "x"}', '{"other": 1}'])
def test_a_torn_or_foreign_failure_counts_as_none(store: Store, text: str):
    store.fail(job(), Failure("exception", "no"))
    (store.folder(job()) / "failure.json").write_text(text)
    assert store.failure(job()) is None


def test_bytes_that_are_no_text_count_as_none(tmp_path: Path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{}")
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "absent.json") is None
    assert read_json(tmp_path) is None


# ------------------------------------------------------------------------------------------------------ staleness


def test_a_stale_result_is_the_newest_of_the_same_configuration(store: Store):
    finish(store, job(code="1"), 1.0, started=10.0)
    finish(store, job(code="2"), 2.0, started=30.0)
    finish(store, job(code="3"), 3.0, started=20.0)
    finish(store, job(1, code="4"), 4.0, started=99.0)
    assert store.result(job(code="new")) is None
    assert store.stale(job(code="new")).value("miou").value == 2.0
    assert store.stale(job(code="2")).value("miou").value == 3.0
    assert store.stale(job(7)) is None


# ------------------------------------------------------------------------------------------------------- full and shut


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_what_was_there_stays(store: Store, monkeypatch: pytest.MonkeyPatch, number: int):
    finish(store, job(), 1.0)
    store.fail(job(1), Failure("exception", "no"))

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    for again in (job(), job(2)):
        with pytest.raises(OutputError, match=r"the disk is full: .* make room") as caught:
            finish(store, again, 5.0)
        assert caught.value.exit == 4
    with pytest.raises(OutputError, match="the disk is full"):
        store.fail(job(1), Failure("other", "yes"))
    monkeypatch.undo()
    assert store.result(job()).value("miou").value == 1.0
    assert store.result(job(2)) is None
    assert store.failure(job(1)).message == "no"
    assert not list(store.root.rglob(".*"))
    assert len(store.frame()) == 1


def test_a_full_disk_does_not_cost_the_frame(store: Store, monkeypatch: pytest.MonkeyPatch):
    import pandas as pd

    finish(store, job(), 1.0)

    def full(frame, path, **options):
        Path(path).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    assert list(store.frame()["value"]) == [1.0]
    assert not list(store.root.glob("*parquet*"))
    assert not list(store.root.glob(".*parquet*"))


@pytest.mark.parametrize("where", ["/dev/null/results", "file/results", "file"])
def test_a_folder_that_cannot_be_is_said(tmp_path: Path, where: str):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / where)
    with pytest.raises(OutputError, match="--results DIR or HARNESS_RESULTS"):
        store.prepare()
    with pytest.raises(OutputError, match="cannot be written"):
        finish(store, job(), 1.0)
    assert store.result(job()) is None
    assert list(store.results()) == []
    assert store.frame().empty


def test_prepare_leaves_only_the_folder(store: Store):
    assert [p.name for p in store.root.iterdir()] == ["cache"]


def test_json_that_cannot_be_made_leaves_the_old_file(store: Store):
    path = store.root / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


# ------------------------------------------------------------------------------------------------------------- frame


def test_the_frame_is_tidy(store: Store):
    finish(store, job(3, method="pspnet"), 31.5, 40.0, started=5.0)
    frame = store.frame()
    assert list(frame["name"]) == ["miou", "macc"]
    row = frame.iloc[0]
    expected = {
        "kind": "train",
        "method": "pspnet",
        "dataset": "camvid",
        "profile": "smoke",
        "seed": 3,
        "value": 31.5,
        "unit": "%",
        "device": "cpu: test",
        "commit": "abc",
        "started": 5.0,
        "key": job(3, method="pspnet").key,
    }
    assert {name: row[name] for name in expected} == expected
    assert (frame["value"].dtype, frame["seed"].dtype) == ("float64", "int64")
    assert not frame.isna().to_numpy().any()


def test_an_empty_store_has_a_frame_with_all_columns(store: Store):
    frame = store.frame()
    assert frame.empty
    assert {"key", "name", "value", "unit", "convention", "method"} <= set(frame.columns)


def test_the_frame_reads_only_what_is_new(store: Store, monkeypatch: pytest.MonkeyPatch):
    for number in range(5):
        finish(store, job(number), float(number))
    assert len(store.frame()) == 5
    finish(store, job(9), 9.0)
    read: list[Path] = []

    def counting(path: Path):
        read.append(path)
        return read_json(path)

    monkeypatch.setattr(harness.store.store, "read_json", counting)
    assert sorted(store.frame()["value"]) == [0.0, 1.0, 2.0, 3.0, 4.0, 9.0]
    assert [p.parent for p in read] == [store.folder(job(9))]
    read.clear()
    store.frame()
    assert read == []


def test_the_frame_forgets_what_was_deleted_and_sees_what_ran_again(store: Store):
    finish(store, job(0), 1.0)
    finish(store, job(1), 2.0)
    store.frame()
    (store.folder(job(0)) / "result.json").unlink()
    assert list(store.frame()["value"]) == [2.0]
    path = store.folder(job(1)) / "result.json"
    path.unlink()
    finish(store, job(1), 7.0)
    os.utime(path, ns=(1, 1))
    assert list(store.frame()["value"]) == [7.0]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet", None])
def test_a_damaged_compaction_is_made_anew(store: Store, damage: bytes | None):
    finish(store, job(), 1.0)
    store.frame()
    path = store.root / "measurements.parquet"
    if damage is None:
        import pandas as pd

        pd.DataFrame({"other": [1]}).to_parquet(path)
    else:
        path.write_bytes(damage)
    assert list(store.frame()["value"]) == [1.0]


WRITER = """
import sys
from pathlib import Path
from tests.store.test_store import Store, finish, job
store, own = Store(Path(sys.argv[1])), int(sys.argv[2])
for i in range(40):
    finish(store, job(1000 * own + i), float(i))
    finish(store, job(7), float(own))
    if i % 10 == 0:
        assert not store.frame().empty
"""


def test_two_processes_at_once_lose_nothing(store: Store):
    """Both write forty results of their own and fight over one more and over the Parquet file."""
    arguments = [sys.executable, "-c", WRITER, str(store.root)]
    writers = [subprocess.Popen([*arguments, str(own)], cwd=ROOT, stderr=subprocess.PIPE) for own in (1, 2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    frame = store.frame()
    assert set(frame["seed"]) == {7} | {1000 * own + i for own in (1, 2) for i in range(40)}
    assert len(frame) == 81
    assert not [p for p in store.root.rglob(".*") if p.is_file()]
    assert all(json.loads(p.read_text())["schema"] == 1 for p in store.root.rglob("result.json"))
