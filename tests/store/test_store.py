"""The results folder: nothing half written, nothing lost, and a torn file counts as none."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import OutputError
from harness.files import append_jsonl, create_json, read_json, write_json
from harness.jobs.job import Job, Measurement
from harness.jobs.key import digest
from harness.store.export import frame
from harness.store.store import Failure, Store

ENVIRONMENT = {"commit": "abc", "device": "cpu: test"}


def job(number: int = 0, *, code: str = "1", method: str = "fcn") -> Job:
    config = {"model": {"name": method}, "data": {"name": "camvid"}, "profile": "smoke", "seed": number}
    identity = digest(config)
    return Job("train", config, digest([identity, code]), identity, {"config": config, "code": {"methods.fcn": code}})


def finish(store: Store, which: Job, *values: float, started: float = 1.0):
    names = ("miou", "macc", "aacc")
    return store.finish(which, [Measurement(n, v, "%") for n, v in zip(names, values)], ENVIRONMENT, started)


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
    assert list(frame(store)["value"]) == [1.0]
    finish(store, job(), 3.0)
    assert sorted(frame(store)["value"]) == [1.0, 3.0]


@pytest.mark.parametrize("text", [*TORN, '{"cause": "x"}', '{"other": 1}'])
def test_a_torn_or_foreign_failure_counts_as_none(store: Store, text: str):
    store.fail(job(), Failure("exception", "no"))
    (store.folder(job()) / "failure.json").write_text(text)
    assert store.failure(job()) is None


def test_the_first_cause_of_a_failure_stands(store: Store):
    first, second = Failure("exception", "ValueError: no", 1, 1.5), Failure("died", "exit code 1", 1, 2.5)
    assert store.fail(job(), first) == first
    assert store.fail(job(), second) == first
    assert store.failure(job()) == first
    assert store.fail(job(), second, instead_of=first) == second
    assert store.failure(job()) == second
    (store.folder(job()) / "failure.json").write_text("{")
    assert store.fail(job(), first) == first
    assert sorted(os.listdir(store.folder(job()))) == ["failure.json"]


def test_of_many_writers_one_says_the_cause(store: Store):
    failures = [Failure("died", str(i), 1, float(i)) for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        standing = set(pool.map(lambda failure: store.fail(job(), failure), failures))
    assert standing == {store.failure(job())}


def test_the_first_cause_stands_where_files_cannot_be_linked(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = store.fail(job(), Failure("exception", "ValueError: no"))
    assert store.fail(job(), Failure("died", "exit code 1")) == first == store.failure(job())
    assert not create_json(store.folder(job()) / "failure.json", {})


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
    assert len(frame(store)) == 1


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
    assert frame(store).empty


def test_prepare_leaves_only_the_folder(store: Store):
    assert [p.name for p in store.root.iterdir()] == ["cache"]


def test_json_that_cannot_be_made_leaves_the_old_file(store: Store):
    path = store.root / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
