"""How a cell stands, from what its jobs have left behind and what a cluster says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.errors import Exit
from harness.plan.planner import Planner, Selection
from harness.store.store import Failure, Store
from harness.table import recipes
from harness.table.load import load
from reports.status import ResultReader, cell_status


def test_a_cell_whose_training_failed_is_failed_whatever_its_cluster_says_of_the_test(tmp_path: Path):
    planner = Planner(recipes.profile("smoke"), (0,))
    plan = planner.plan([load(ROOT / "tables" / "idrnet_table2.yaml")], Selection(("fcn",), ("ade20k",)))
    store, (cell,), (train, test) = Store(tmp_path), plan.cells, plan.jobs.values()
    submitted = {test.key: "its job 16_3 ended (cancelled)"}
    assert cell_status(cell, ResultReader(plan, store, submitted)) == (
        "submitted",
        "test its job 16_3 ended (cancelled)",
    )
    store.fail(train, Failure("cancelled", "by hand", Exit.FAILED))
    assert cell_status(cell, ResultReader(plan, store, submitted)) == ("failed", "cancelled: by hand")
    repeated = {**submitted, train.key: "running in Slurm as 17_0"}
    assert cell_status(cell, ResultReader(plan, store, repeated)) == ("submitted", "train running in Slurm as 17_0")


def test_a_table_is_found_by_its_bare_name(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "tables", "camvid"]) == 0
    bare = capsys.readouterr().out
    assert main(["list", "tables", "tables/camvid.yaml"]) == 0
    assert bare == capsys.readouterr().out
    assert main(["list", "tables", "camvd"]) == 2
    assert "Did you mean 'camvid'" in capsys.readouterr().err
