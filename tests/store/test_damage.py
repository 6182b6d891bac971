"""Damaged files of the results folder: every command goes on, says what it left out, and loses nothing that is intact.

HARNESS_DAMAGES=0:2000 makes the damages of these numbers; by default a few of each file. A failure names its damage.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from harness.cli.main import main
from harness.errors import Exit
from harness.files import DAMAGED, append_jsonl, fits, is_finite, read_json, read_jsonl, write_json
from harness.plan.request import PlanRequest, plan_of
from harness.scheduler.slurm.ledger import Array, Attempt, Ledger
from harness.stats.control_charts import Limits
from harness.store import features
from harness.store.nights import History, charts, locate
from harness.store.store import Failure, Store
from harness.table import paths
from tests.support.damages import damage
from tests.support.report_bench import RECIPE, TABLE, ReportBench

FIRST, _, LAST = os.environ.get("HARNESS_DAMAGES", "0:39").partition(":")
CACHES = ("code.json", "measurements.parquet")
TABLE_FILE = "pspnet_table5.yaml"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportBench:
    """A results folder with every kind of file in it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "SHIPPED", tmp_path)  # no other tables, which the site would audit
    for name, content in (
        ("recipes/mini.yaml", RECIPE),
        ("profiles/paper.yaml", {"name": "paper", "about": "as published", "synthetic": {}}),
        (TABLE_FILE, TABLE),
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    request = PlanRequest((TABLE_FILE,), repetitions=2, results=Path("results"), device="cpu")
    plan, store = plan_of(request)
    bench = ReportBench(tmp_path, plan.tables[0], plan, store)
    bench.measure("ppm", "params", 23.073792)
    bench.measure("aspp", "params", 42.211328)
    bench.measure("ppm", "time", 10.0)
    bench.measure("ppm", "score", 42.0, 42.5)
    bench.measure("ocr", "score", 42.3, 42.4)
    bench.measure("ocr", "flops", 242.48)
    bench.outdate("ocr", "flops")
    bench.fail("aspp", "score", Failure("killed", "signal 9"))
    _write_beside(bench)
    assert _run(["export"])[0] == Exit.OK  # which leaves its copy
    return bench


def _write_beside(bench: ReportBench) -> None:
    """What lies beside results: arrays, progress, a submission to Slurm, nights."""
    store, (first, second) = bench.store, bench.jobs("ppm", "score")
    np.save(store.folder(first) / "confusion.npy", np.arange(132).reshape(12, 11))
    zeros = {"counts": np.zeros(2, np.int64), "labels": np.zeros(3, np.uint8), "places": np.zeros((3, 3), np.int32)}
    arrays = {"tokens": np.zeros((2, 4), np.float32), "features": np.zeros((3, 4), np.float32), **zeros}
    names = {"classes": np.array(["a", "b"]), "images": np.array(["i"])}
    features.write(features.Features(**names, **arrays, settings={}, numbers={"x": 1.0}), store.folder(first))
    unfinished = bench.jobs("other", "score")[0]
    write_json(
        store.folder(unfinished) / "progress.json", {"done": 3, "total": 9, "rate": 1.0, "text": "", "time": 1.0}
    )
    ledger = Ledger(store)
    array = Array(ledger.new(), 0, [unfinished.key, second.key], [{}, {"killed": 1}], "77")
    array.write()
    ledger.record(Attempt(second.key, array, 1), "killed", "signal 9", again=False)
    write_json(array.folder / "notes" / "0.0.0.ended", {"exit": 1, "requeued": False})
    cell = f"{bench.table.id}/ppm/score"
    folders = [store.folder(job).relative_to(store.root).as_posix() for job in (first, second)]
    days = [datetime.date(2026, 1, day).isoformat() for day in range(1, 7)]
    nights = [
        {"date": d, "cell": cell, "value": 42.0, "commit": "abc", "folder": folders[i % 2]} for i, d in enumerate(days)
    ]
    append_jsonl(store.root / "nightly/history.jsonl", nights)


def _run(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def _commands() -> Iterator[list[str]]:
    request = [TABLE_FILE, "--repetitions", "2", "--device", "cpu"]
    yield ["plan", *request]
    yield ["status", *request]
    yield ["export"]
    for kind in ("text", "latex"):
        yield ["report", *request, "--format", kind]
    yield ["report", *request, "--no-figures"]
    yield ["site", *request, "--no-figures"]
    yield ["why", f"{TABLE_FILE}/ppm/score", "--repetitions", "2", "--device", "cpu"]
    yield ["why", f"{TABLE_FILE}/ocr/flops", "--device", "cpu"]


def _cells() -> tuple[dict[str, tuple[str, ...]], str]:
    """{cell: its number, with where it comes from}, by the CSV; and what was said on standard error."""
    code, out, err = _run(["report", TABLE_FILE, "--repetitions", "2", "--device", "cpu", "--format", "csv"])
    assert code in (Exit.OK, Exit.NOTHING)
    number = ("measured", "published", "n", "seeds", "keys", "commit", "device", "packages", "data")
    lines = csv.DictReader(io.StringIO(out))
    return {f"{r['table']}/{r['row']}/{r['column']}": tuple(r[name] for name in number) for r in lines if r["row"]}, err


def _files(root: Path) -> list[Path]:
    """What may be damaged: everything but logs, locks and reports."""
    found = (
        p for p in root.rglob("*") if p.is_file() and "reports" not in p.parts and p.name not in ("lock", "log.txt")
    )
    return sorted(found)


def _digests(root: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in _files(root) if p.name not in CACHES}


def _about(file: Path, bench: ReportBench) -> set[str]:
    """The cells whose number rests on a file, through a job or what it needs."""
    folder = file.parent.resolve()
    keys = {key for key, job in bench.plan.jobs.items() if bench.store.folder(job).resolve() == folder}
    return {c.name for c in bench.plan.cells for job in c.jobs if keys & {job.key, *job.needs}}


def _exercise(number: int, bench: ReportBench, files: list[Path], before: dict[str, tuple[str, ...]]) -> None:
    file = files[number % len(files)]
    content = file.read_bytes()
    others = {p: d for p, d in _digests(bench.store.root).items() if p != file}
    file.write_bytes(damage(content, number))
    try:
        after, said = _cells()
        about = _about(file, bench)
        assert {n: numbers for n, numbers in after.items() if n not in about} == {
            n: numbers for n, numbers in before.items() if n not in about
        }
        if file.name in CACHES:
            assert (after, said) == (before, "")
        commands = list(_commands())
        for arguments in (commands[number // len(files) % len(commands)], commands[number % len(commands)]):
            code, _, err = _run(arguments)
            assert code in (Exit.OK, Exit.FAILED, Exit.NOTHING), (arguments, err)
            assert not err or "left out" in err, (arguments, err)
        history = History(bench.store.root).nights()
        charts(history, {}, Limits())
        for nights in history.values():
            locate(nights, bench.store.root)
        ledger = Ledger(bench.store)
        ledger.open_attempts()
        for folder in ledger.submissions():
            for prefix, restart, kind in ledger.news(folder):
                ledger.note(folder, prefix, restart, kind)
        ledger.waits()
        assert {p: d for p, d in _digests(bench.store.root).items() if p in others} == others
    finally:
        DAMAGED.clear()  # what was read here without a command is not the next one's to say
        file.write_bytes(content)
        (bench.store.root / "measurements.parquet").unlink(missing_ok=True)


@pytest.mark.slow
def test_no_damaged_file_ends_in_a_traceback_or_costs_another(bench: ReportBench):
    before, said = _cells()
    assert said == ""
    files = _files(bench.store.root)
    assert {"result.json", "failure.json", "0.json", "outcomes.jsonl", "history.jsonl", *CACHES} <= {
        f.name for f in files
    }
    contents = {file: file.read_bytes() for file in files}
    failures: list[Exception] = []
    for number in range(int(FIRST), int(LAST)):
        for file, content in contents.items():
            if not file.exists():  # a cache that the last damage had made anew
                file.write_bytes(content)
        try:
            _exercise(number, bench, files, before)
        except (Exception, SystemExit) as error:
            failure = AssertionError(f"damage {number} of {files[number % len(files)]}")
            failure.__cause__ = error
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of damages {FIRST} to {LAST}", failures)
    print(f"damages {FIRST} to {LAST} of {len(files)} files")


# ------------------------------------------------------------------------------------------------------- one by one


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{\0}\0", b'{"a":' * 100_000, b"9" * 5000],
)
def test_what_is_no_record_counts_as_absent_and_is_remembered(tmp_path: Path, content: bytes):
    (tmp_path / "a.json").write_bytes(content)
    DAMAGED.clear()
    assert read_json(tmp_path / "a.json", cache=True) is None
    assert not DAMAGED
    assert read_json(tmp_path / "a.json") is None
    assert [*DAMAGED] == [tmp_path / "a.json"]
    DAMAGED.clear()
    assert read_json(tmp_path / "absent.json") is None
    assert read_json(tmp_path / "a\0b.json") is None
    assert [*DAMAGED] == [tmp_path / "a\0b.json"]
    DAMAGED.clear()


def test_damaged_lines_are_counted_and_a_cut_last_one_is_not(tmp_path: Path):
    DAMAGED.clear()
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n\xe9\n{"n": "x"}\n[]\n\n{"n": 2}\n{"n"')
    assert read_jsonl(tmp_path / "a.jsonl", {"n": int}) == [{"n": 1}, {"n": 2}]
    assert DAMAGED.pop(tmp_path / "a.jsonl") == "3 of 5 lines damaged"


@pytest.mark.parametrize(
    ("value", "shape", "fit"),
    [
        ({"a": 1}, {"a": int}, True),
        ({"a": True}, {"a": int}, False),
        ({"a": 1, "b": 2}, {"a": int}, False),
        ({"a": 1, "b": 2}, {"a": int, ...: object}, True),
        ({"a": 1, "b": "x"}, {"a": int, ...: int}, False),
        ({}, {"a?": int}, True),
        ({}, {"a": int}, False),
        ({"a": None}, {"a": (int, None)}, True),
        ([1, 2], [int], True),
        ([1, "x"], [int], False),
        (1e400, is_finite, False),
        (10**400, is_finite, False),
    ],
)
def test_a_shape_says_what_fits(value: object, shape: object, fit: bool):
    assert fits(value, shape) is fit


def test_what_was_left_out_is_said_and_counted(bench: ReportBench):
    for column in ("params", "flops"):
        for job in bench.jobs("ppm", "params") + bench.jobs("ocr", column):
            (bench.store.folder(job) / "result.json").parent.mkdir(parents=True, exist_ok=True)
            (bench.store.folder(job) / "result.json").write_bytes(b"{}")
    code, out, err = _run(["status", TABLE_FILE, "--device", "cpu"])
    assert code == Exit.FAILED
    assert "unreadable" in out
    assert "warning: 2 records of the results are left out" in err
    assert err.count("result.json: damaged, or of another version") == 2


def test_a_damaged_result_is_kept_beside_the_one_that_replaces_it(bench: ReportBench):
    (job,) = bench.jobs("ppm", "params")
    file = bench.store.folder(job) / "result.json"
    file.write_bytes(b'{"schema": 99}')
    bench.measure("ppm", "params", 23.07)
    assert bench.store.result(job) is not None
    assert file.with_name("result.json.damaged").read_bytes() == b'{"schema": 99}'


def test_temporary_files_of_killed_writers_are_swept_and_those_of_living_ones_stay(tmp_path: Path):
    store, host = Store(tmp_path / "results"), os.uname().nodename
    store.cache.mkdir(parents=True)
    gone = 2**22 + 1  # above what Linux gives a process
    for folder in (store.root, store.cache):
        for name in (
            f".a.json.{host}.{gone}.0.tmp",
            f".b.json.{host}.{os.getpid()}.0.tmp",
            ".c.json.elsewhere.7.0.tmp",
        ):
            (folder / name).touch()
        (folder / f".site.{host}.{gone}.1.tmp").mkdir()
        (folder / ".d.json.elsewhere.7.0.tmp").touch()
        os.utime(folder / ".d.json.elsewhere.7.0.tmp", (0, 0))
    store.prepare()
    for folder in (store.root, store.cache):
        left = sorted(path.name for path in folder.glob(".*"))
        assert left == [f".b.json.{host}.{os.getpid()}.0.tmp", ".c.json.elsewhere.7.0.tmp"]
