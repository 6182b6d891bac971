"""What can be deleted without losing a number, and what a run on embedded scenes leaves behind."""

from __future__ import annotations

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

import harness
from harness.cli.main import main
from harness.errors import MissingError
from harness.jobs.job import Job, Measurement
from harness.plan.planner import Plan
from harness.plan.trained_rows import rows_tested
from harness.scheduler.run import Outcome, drop_scene_weights
from harness.store import cleaning, weights
from harness.store.store import Store
from tests.store.test_store import finish, job

PART = {"rows": "fcn", "columns": "lip", "profile": "smoke"}


def with_weights(store: Store, which: Job, size: int = 1000) -> Path:
    path = store.folder(which) / f"final-00000010-{'a' * 64}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0" * size)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.prepare()
    return store


@pytest.fixture
def smoked(store: Store) -> tuple[Plan, Job, Job]:
    """A plan of one smoke cell, its training, which is measured and has weights, and its test."""
    plan = harness.plan("idrnet_table2", results=store.root, **PART)
    (test,) = plan.cells[0].jobs
    train = plan.jobs[test.needs[0]]
    store.finish(train, [Measurement("final_loss", 1.0)], {}, 0.0)
    with_weights(store, train)
    return plan, train, test


def test_sizes_come_first_and_nothing_goes_unasked(
    store: Store, smoked, capsys: pytest.CaptureFixture[str], monkeypatch
):
    _, train, _ = smoked
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    command = ["clean", "--results", str(store.root)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 file: weights of trainings on embedded scenes" in said
    assert "--yes deletes them" in said
    assert weights.files(store.folder(train))
    assert main([*command, "--yes"]) == 0
    assert weights.files(store.folder(train)) == []
    assert weights.left_out(store.folder(train))
    assert store.result(train) is not None
    assert main([*command, "--yes"]) == 0
    assert "nothing that can go" in capsys.readouterr().out


def test_weights_of_real_trainings_stay_and_superseded_ones_go_on_request(store: Store):
    old, new = job(0), job(0, code="2")
    finish(store, old, 31.5, started=1.0)
    finish(store, new, 31.6, started=2.0)
    paths = [with_weights(store, which) for which in (old, new)]
    assert cleaning.deletable(store) == {}
    heaps = cleaning.deletable(store, superseded=True)
    assert [heap.files for heap in heaps.values()] == [paths[:1]]
    assert cleaning.delete(heaps.values()) == 1000
    assert paths[1].exists()
    assert store.result(old) is not None


def test_what_a_stopped_training_goes_on_from_stays(store: Store):
    stopped, ended = job(0), job(1)
    finish(store, ended, 31.5)
    for which in (stopped, ended):
        with_weights(store, which).rename(store.folder(which) / "checkpoint-00000005-x.pt")
    heaps = cleaning.deletable(store)
    assert {path.parent for heap in heaps.values() for path in heap.files} == {store.folder(ended)}


def test_a_job_that_runs_is_left_alone(store: Store, smoked):
    _, train, _ = smoked
    with (store.folder(train) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cleaning.deletable(store) == {}


def test_a_smoke_run_drops_its_weights_once_its_tests_are_done(store: Store, smoked):
    plan, train, test = smoked
    outcome = Outcome(done=[train.key])
    assert drop_scene_weights(plan, store, outcome) == 0  # the test still needs them
    store.finish(test, [Measurement("miou", 1.0)], {}, 0.0)
    assert drop_scene_weights(plan, store, Outcome()) == 0  # of another run
    assert drop_scene_weights(plan, store, outcome) == 1000
    assert plan.jobs_to_run(store) == []
    with pytest.raises(MissingError, match=r"without weights here: idrnet_table2/fcn/lip; .* --keep-weights"):
        rows_tested(plan, store)
    assert plan.jobs_to_run(store, keep_weights=True) == [train]
    with_weights(store, train)
    assert plan.jobs_to_run(store, keep_weights=True) == []


def test_weights_of_a_run_on_real_data_stay(store: Store, smoked):
    plan, train, test = smoked
    store.finish(test, [Measurement("miou", 1.0)], {}, 0.0)
    real = replace(train, config={**train.config, "data": {"name": "lip", "synthetic": None}})
    store.finish(real, [Measurement("final_loss", 1.0)], {}, 0.0)
    assert drop_scene_weights(plan, store, Outcome(done=[train.key])) == 0
    assert weights.files(store.folder(train))
