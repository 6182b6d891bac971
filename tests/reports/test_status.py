"""How a cell stands: what comes first, and that `status`, `why`, the report and the site all say the same."""

from __future__ import annotations

import fcntl
import json
import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.inspection import status_lines, why_lines
from harness.cli.progress import job_lines
from harness.files import write_json
from harness.jobs.job import Job, Measurement
from harness.plan.planner import Plan
from harness.store.store import Failure, Store
from reports.formats.markdown import MEANINGS
from reports.formats.terminal import MARKS
from reports.site import cell_list, cell_view
from reports.site.curve_chart import TableCurves
from reports.status import CellStatus, ResultReader, cell_status
from reports.table_report import build
from tests.support.report_bench import ENVIRONMENT, TABLE, Make, ReportBench

VALUES = ("miou", "flops", "latency")


class Leftovers:
    """What jobs leave behind in every state that a job can be in, written by hand."""

    def __init__(self, plan: Plan, store: Store, locks: ExitStack) -> None:
        self.plan, self.store, self.locks = plan, store, locks
        self.queued: dict[str, str] = {}

    def measured(self, job: Job, names: tuple[str, ...] = VALUES) -> None:
        self.store.finish(job, [Measurement(name, 40.0) for name in names], ENVIRONMENT, started=1.79e9)

    def absent(self, job: Job) -> None:
        self.measured(job, ())

    def failed(self, job: Job) -> None:
        self.store.fail(job, Failure("killed", "signal 9"))

    def training_failed(self, job: Job) -> None:
        self.failed(self.plan.jobs[job.needs[0]] if job.needs else job)

    def stale(self, job: Job) -> None:
        older = replace(job, key="f" * 64, parts={**job.parts, "code": {**job.parts["code"], "methods.layers": "0"}})
        self.measured(older)

    def unreadable(self, job: Job) -> None:
        write_json(self.store.folder(job) / "result.json", {"schema": 0})

    def interrupted(self, job: Job) -> None:
        write_json(self.store.folder(job) / "progress.json", {"done": 3, "total": 9, "time": 1.0})

    def running(self, job: Job) -> None:
        self.interrupted(job)
        lock = self.locks.enter_context((self.store.folder(job) / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)

    def submitted(self, job: Job) -> None:
        self.queued[job.key] = "pending in Slurm as 16_3"

    def blocked(self, job: Job) -> None:
        self.plan.blocked[job.key] = "the dataset is not there"

    def not_run(self, job: Job) -> None:
        pass


STATES = [name for name in vars(Leftovers) if not name.startswith("_")]
ALONE = {name: name.replace("_", " ") for name in STATES} | {"training_failed": "failed"}


@pytest.fixture
def bench(make: Make) -> ReportBench:
    return make(
        columns={
            "score": TABLE["columns"]["score"],
            "flops": TABLE["columns"]["flops"],
            "time": TABLE["columns"]["time"],
            "asked": {"metric": "flops", "convention": "fvcore", "on_request": True},
        },
        rows={f"r{i}": _row(i) for i in range(125)} | {"ppm": TABLE["rows"]["ppm"]},
        published={"values": {}},
        claims=[],
        seeds=3,
        select_rows=["r*"],
    )


def _row(i: int) -> dict[str, object]:
    if i % 25 == 3:
        return {"cited": "another paper"}
    if i % 25 == 4:
        return {"awaits": "a method"}
    return {"method": {"name": "deeplabv3", "channels": 8 + i}}


@pytest.mark.slow
def test_status_why_report_and_site_say_the_same_of_500_cells(bench: ReportBench) -> None:
    draw, plan, store = random.Random(11), bench.plan, bench.store
    assert len(plan.cells) == 500
    with ExitStack() as locks:
        left = Leftovers(plan, store, locks)
        alone: dict[str, str] = {}
        for cell in plan.cells:
            chosen = draw.sample(STATES, draw.choice((1, 1, 2, 3)))
            for job in cell.jobs:
                for name in chosen if draw.random() < 0.3 else chosen[:1]:
                    getattr(left, name)(job)
            alone[cell.name] = ALONE[chosen[0]] if len(chosen) == 1 else ""
        report = build(plan, bench.table, store, left.queued)
        lines, _ = status_lines(plan, store, left.queued)
        said = dict(line.split("  ", 1) for line in lines[:-1])
        said = {name: text.strip() for name, text in said.items()}
        seen, curves = set(), TableCurves(report)
        for cell in plan.cells:
            shown = report.cells[cell.row, cell.column]
            seen.add(shown.status)
            text = f"{shown.status}: {shown.reason}" if shown.reason else shown.status
            assert said[cell.name] == text
            only = Plan(plan.profile, plan.repetitions, [cell], plan.jobs, plan.blocked)
            assert why_lines(only, store, left.queued)[0] == text
            page, listed = cell_view.cell(report, shown, store, curves), cell_list.entry(report, shown)
            if shown.status.has_value:
                assert (page["n"] == len(cell.jobs)) == (shown.status == CellStatus.MEASURED)
                assert shown.reason in page["reason"]
            else:
                assert page["outcome"] == listed["outcome"] == shown.status
            if cell.state == "run" and alone[cell.name]:
                assert shown.status == alone[cell.name]
        assert seen == set(CellStatus)


PAIRS = list(zip(list(CellStatus)[4:], list(CellStatus)[5:]))
"""Neighbours in the order of precedence, of cells without a value."""


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_of_two_repetitions_the_one_that_comes_first_is_said(make: Make, first: CellStatus, second: CellStatus) -> None:
    columns = {"score": {**TABLE["columns"]["score"], "on_request": CellStatus.ON_REQUEST in (first, second)}}
    rows = {"ppm": TABLE["rows"]["ppm"]}
    bench = make(columns=columns, rows=rows, published={"values": {}}, claims=[], seeds=2)
    (cell,) = bench.plan.cells
    with ExitStack() as locks:
        left = Leftovers(bench.plan, bench.store, locks)
        for job, status in zip(reversed(cell.jobs), (first, second)):
            if status != CellStatus.ON_REQUEST:
                getattr(left, status.name.lower())(job)
        assert cell_status(cell, ResultReader(bench.plan, bench.store, left.queued))[0] == first


def test_some_values_are_partly_and_say_how_the_others_stand(make: Make) -> None:
    bench = make(seeds=3)
    (cell,) = (c for c in bench.plan.cells if (c.row, c.column) == ("ppm", "score"))
    with ExitStack() as locks:
        left = Leftovers(bench.plan, bench.store, locks)
        left.measured(cell.jobs[0])
        left.running(cell.jobs[1])
        found = cell_status(cell, ResultReader(bench.plan, bench.store))
    assert found == (CellStatus.PARTLY, "1 of 3 repetitions; the others: running (test 3/9)")


def test_damaged_progress_says_so_and_stops_nothing(make: Make, tmp_path: Path) -> None:
    bench = make()
    folder = bench.store.folder(bench.jobs("ppm", "flops")[0])
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(json.dumps({"done": 3}), encoding="utf-8")
    shown = bench.report().cells["ppm", "flops"]
    assert (shown.status, shown.reason) == ("interrupted", "count stopped at 3/?; starts over")


def stop_half_way(bench: ReportBench, row: str) -> Path:
    """A training that was killed at iteration 6 after it had saved at 5; its folder."""
    (evaluation,) = bench.jobs(row, "score")
    folder = bench.store.folder(bench.plan.jobs[evaluation.needs[0]])
    write_json(folder / "progress.json", {"done": 6, "total": 10, "rate": 1.0, "text": "loss 1", "left": 8.0})
    (folder / "lock").touch()
    (folder / f"checkpoint-{5:08d}-{'a' * 64}.pt").touch()
    return folder


HALF_WAY = "train stopped at 6/10 iterations; resumes from 5; about 10.0 s left"


def test_work_that_stopped_half_way_is_said_by_status_why_and_plan(make: Make) -> None:
    columns, rows = ({name: TABLE[part][name]} for part, name in (("columns", "score"), ("rows", "ppm")))
    bench = make(columns=columns, rows=rows, published={"values": {}}, claims=[])
    folder = stop_half_way(bench, "ppm")
    plan, store = bench.plan, bench.store
    assert f"interrupted: {HALF_WAY}" in status_lines(plan, store)[0][0]
    assert why_lines(plan, store)[0] == f"interrupted: {HALF_WAY}"
    assert why_lines(plan, store)[1:] == [f"train in {folder}"]  # what the first line says is not said again
    train, test = job_lines(
        plan, [plan.jobs[key] for key in sorted(plan.jobs, key=lambda k: plan.jobs[k].needs)], store
    )
    assert train.endswith(f"train: {HALF_WAY}")
    assert test.endswith("test")


def test_what_was_saved_after_the_last_word_counts(make: Make) -> None:
    bench = make()
    folder = stop_half_way(bench, "ppm")
    (folder / f"checkpoint-{8:08d}-{'a' * 64}.pt").touch()
    status, reason = cell_status(
        next(c for c in bench.plan.cells if (c.row, c.column) == ("ppm", "score")),
        ResultReader(bench.plan, bench.store),
    )
    assert status == "interrupted"
    assert "train stopped at 8/10 iterations; resumes from 8; about 4.0 s left" in reason


@pytest.mark.parametrize("first", ["stale", "unreadable", "blocked", "training_failed"])
def test_what_comes_first_does_not_hide_work_that_stopped_half_way(make: Make, first: str) -> None:
    bench = make()
    stop_half_way(bench, "ppm")
    (cell,) = (c for c in bench.plan.cells if (c.row, c.column) == ("ppm", "score"))
    with ExitStack() as locks:
        getattr(Leftovers(bench.plan, bench.store, locks), first)(cell.jobs[0])
        status, reason = cell_status(cell, ResultReader(bench.plan, bench.store))
    assert status == ALONE[first]
    assert reason.endswith(f"; {HALF_WAY}")


def test_a_job_that_has_just_begun_runs(make: Make) -> None:
    """Before it says how far it is: its lock says that it is there."""
    bench = make()
    (cell,) = (c for c in bench.plan.cells if (c.row, c.column) == ("ppm", "flops"))
    folder = bench.store.folder(cell.jobs[0])
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cell_status(cell, ResultReader(bench.plan, bench.store)) == (CellStatus.RUNNING, "count starts")


def test_every_word_for_a_cell_without_a_value_is_explained_and_marked() -> None:
    words = {status for status in CellStatus if not status.has_value}
    assert words <= MEANINGS.keys()
    assert words <= MARKS.keys()
