"""Trainings whose weights were left out of a bundle, or deleted: measured, and trained again where a test needs them."""

from __future__ import annotations

from pathlib import Path

from harness import ROOT
from harness.environment import Device
from harness.jobs.job import Measurement
from harness.plan.planner import Planner, Selection
from harness.scheduler.run import reopen_without_weights
from harness.store import weights
from harness.store.store import Store
from harness.table import recipes
from harness.table.load import load


def test_a_training_without_its_weights_runs_again_only_where_a_test_needs_it(tmp_path: Path):
    store = Store(tmp_path / "results")
    planner = Planner(recipes.profile("smoke"), device=Device("cpu", "a processor", 2), cache=tmp_path / "cache")
    plan = planner.plan([load(ROOT / "tables/idrnet_table2.yaml")], Selection(("fcn",), ("lip",)))
    (test,) = plan.cells[0].jobs
    train = plan.jobs[test.needs[0]]
    final = store.folder(train) / f"final-00000001-{'0' * 64}.pt"

    store.finish(train, [Measurement("final_loss", 1.0)], {}, 0.0)
    assert plan.jobs_to_run(store) == [test]
    weights.note_absence(store.folder(train), "not in the bundle")
    assert plan.jobs_to_run(store) == [train, test]
    reopen_without_weights(plan.jobs_to_run(store), store)
    assert store.result(train) is None
    assert (store.folder(train) / "result.json.without_weights").exists()

    store.finish(train, [Measurement("final_loss", 1.0)], {}, 0.0)
    final.write_bytes(b"")
    assert plan.jobs_to_run(store) == [test]
    final.unlink()
    store.finish(test, [Measurement("miou", 1.0)], {}, 0.0)
    assert plan.jobs_to_run(store) == []
