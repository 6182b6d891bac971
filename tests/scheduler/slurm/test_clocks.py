"""Clocks that jump and that differ between front end and nodes: what is measured, submitted and said does not depend on them."""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ROOT
from harness.files import write_json
from harness.plan.planner import Plan, PlannedCell
from harness.scheduler.slurm.ledger import Ledger
from harness.store.lock import busy
from harness.store.store import Failure, Store
from harness.table.load import load
from harness.table.recipes import profile
from reports.status import ResultReader, cell_status
from tests.support.fake_slurm import FakeSlurm, SlurmFrontEnd, job

DAY = 86400.0
NOW = 1.79e9


def steady() -> Iterator[float]:
    return itertools.count(NOW, 0.01)


def set_back() -> Iterator[float]:
    """Every look at it is an hour before the last one."""
    return itertools.count(NOW, -3600.0)


def wild() -> Iterator[float]:
    """A year ahead, ten years behind, and so on: as if each look were on another machine."""
    return itertools.cycle([NOW, NOW + 365 * DAY, NOW - 3650 * DAY, NOW + DAY, 1.0])


def story(root: Path, slurm: FakeSlurm) -> tuple[object, ...]:
    """Two trainings with their evaluations, a node that fails, a preemption, and a second front end that takes over."""
    trains = [job(f"t{i}", "train") for i in range(2)]
    tests = [job(f"e{i}", "evaluate", t) for i, t in enumerate(trains)]
    front = SlurmFrontEnd(root, slurm)
    front.start(*trains, *tests)
    slurm.begin(trains[0])
    slurm.begin(trains[1])
    slurm.end(trains[0], "NODE_FAIL", node="n1")
    slurm.end(tests[0], "CANCELLED", reason="DependencyNeverSatisfied")
    said = front.after(60)
    other = SlurmFrontEnd(root, slurm)
    other.start(*trains, *tests)
    slurm.save(trains[1], requeued=True, cause="timeout")
    slurm.begin(trains[1], restart=1)
    for made in (trains[0], tests[0]):
        slurm.begin(made)
        slurm.finish(other.store, made)
    said += other.after(60)
    for made in (trains[1], tests[1]):
        slurm.finish(other.store, made)
    said += other.after(60)
    other.slurm.close()
    after = [after for _, _, after in slurm.submitted]
    return sorted(said), front.table(), after, slurm.cancelled, other.slurm.ledger.submissions()


@pytest.mark.slow
@pytest.mark.parametrize("clock", [set_back, wild])
def test_a_story_is_the_same_by_any_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], Iterator[float]]
):
    told = []
    for made in (steady, clock):
        ticks = made()
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda ticks=ticks: next(ticks))
            told.append(story(tmp_path / made.__name__, FakeSlurm()))
    assert told[0] == told[1]
    assert {state for _, state, _ in told[0][0]} == {"started", "retried", "done"}


@pytest.mark.parametrize("clock", [steady, set_back, wild])
def test_what_is_submitted_later_is_called_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], Iterator[float]]
):
    """The last attempt at a job is the one of the last submission by name."""
    ticks = clock()
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    names = [Ledger(Store(tmp_path)).new().name for _ in range(9)]
    assert names == sorted(names)


@pytest.mark.parametrize("stamp", [NOW - DAY, NOW + DAY])
def test_a_running_job_is_told_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: float):
    """Whatever the node's clock wrote into its progress."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    store, a = Store(tmp_path), job("a")
    cell = PlannedCell(load(ROOT / "tables/idrnet_table5.yaml").cell("ppm", "flops"), (a,))
    plan = Plan(profile("smoke"), (0,), [cell], {a.key: a})
    write_json(store.folder(a) / "progress.json", {"done": 3, "total": 9, "time": stamp})
    assert cell_status(cell, ResultReader(plan, store))[0] == "interrupted"
    with (store.folder(a) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cell_status(cell, ResultReader(plan, store)) == ("running", "count 3/9")
    assert not busy(store.folder(a))


def test_waiting_times_are_those_of_the_shared_folder(tmp_path: Path):
    """Nodes may think that it is another day."""
    slurm, a = FakeSlurm(), job("a")
    front = SlurmFrontEnd(tmp_path, slurm)
    front.start(a)
    slurm.note(slurm.task(a), 0, "started", time=NOW + 30 * DAY)
    array = slurm.submitted[0][0]
    for path, when in ((array.file, NOW), (array.folder / "notes/0.0.0.started", NOW + 90)):
        os.utime(path, (when, when))
    assert front.slurm.ledger.waits() == [90.0]


def test_stale_traces_of_an_earlier_attempt_are_gone(front: SlurmFrontEnd, slurm: FakeSlurm):
    a = job("a")
    front.store.fail(a, Failure("exception", "long ago"))
    front.start(a)
    slurm.begin(a)
    slurm.finish(front.store, a)
    assert ("a", "done", "") in front.after(5)
