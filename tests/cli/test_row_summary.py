"""Rows by what can be done with them: in `list tables`, and in the file that a run writes of its rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import ROOT
from harness.cli.main import main
from harness.cli.row_summary import run_summary
from harness.errors import Exit
from harness.plan.planner import Plan, Planner, Selection
from harness.store.store import Failure, Store
from harness.table import recipes
from harness.table.load import load

MIXED = """\
paper: ours
title: Rows of every kind
metric: miou
defaults: {backbone: resnet50_v1c, recipe: idrnet/ade20k}
columns: {miou: {}, other: {recipe: idrnet/cityscapes}}
rows:
  fcn: {method: fcn, cells: {other: {awaits: nobody printed it}}}
  ocrnet: {method: ocrnet}
  quoted: {cited: another paper}
  nothing: {awaits: its code}
  nowhere: {method: fcn, cells: {miou: {awaits: a}, other: {awaits: b}}}
"""


def test_rows_of_all_tables_are_counted(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "tables", "--json"]) == 0
    entries = {entry["table"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert len(entries) == len([*(ROOT / "tables").glob("*.yaml")])
    for name, entry in entries.items():
        rows = load(ROOT / name).rows
        assert entry["runnable"] + entry["cited"] + entry["awaiting"] == len(rows), name
        assert entry["cited"] == sum(row.cited is not None for row in rows.values()), name
    assert main(["list", "tables"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("tables/idrnet_table2.yaml"))
    assert line.endswith("Gains over four segmentation frameworks · rows: 8 runnable")


def test_json_is_of_tables(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "methods", "--json"]) == 2
    assert "list tables --json" in capsys.readouterr().err


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    file = tmp_path / "mixed.yaml"
    file.write_text(MIXED)
    return Planner(recipes.profile("smoke"), (0,)).plan([load(file)], Selection())


def test_the_summary_of_a_run_counts_rows_and_names_the_failing_ones(plan: Plan, tmp_path: Path):
    store = Store(tmp_path / "results")
    summary = run_summary(plan, store)
    assert summary["profile"] == "smoke"
    nothing_yet = {"runnable": 2, "cited": 1, "awaiting": 2, "measured": 0, "failing": 0, "unfinished": 2}
    assert summary["rows"] == nothing_yet
    train = next(plan.jobs[job.needs[0]] for cell in plan.cells if cell.row == "ocrnet" for job in cell.jobs)
    shared = {cell.row for cell in plan.cells for job in cell.jobs if train.key in job.needs}
    store.fail(train, Failure("out of memory", "it needs 99 GiB", Exit.FAILED))
    summary = run_summary(plan, store)
    assert shared == {"ocrnet"}
    assert summary["rows"] == {**nothing_yet, "failing": 1, "unfinished": 1}
    assert summary["tables"]["mixed"]["failures"] == {"ocrnet": "miou: out of memory: it needs 99 GiB"}
