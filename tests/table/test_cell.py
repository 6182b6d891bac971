"""A cell says everything that its table, row, column and own entry say of one number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import ROOT
from harness.table.cell import Cell
from harness.table.load import load
from harness.table.paths import table_files
from harness.table.schema import Table

SPEC: dict[str, Any] = {
    "id": "own",
    "path": "tables/own.yaml",
    "paper": "own",
    "title": "Own",
    "metric": "miou",
    "defaults": {"recipe": "idrnet/ade20k", "input": [[1, 64, 8, 8]]},
    "columns": {
        "score": {},
        "lip": {"recipe": "idrnet/lip", "tested_on": "cihp", "test": {"flip": True}},
        "speed": {"metric": "train_throughput", "on_request": True},
        "time": {"metric": "latency", "input": [[1, 32, 4, 4]]},
        "flops": {"metric": "flops", "convention": "fvcore"},
    },
    "rows": {
        "fcn": {
            "label": "FCN",
            "method": {"name": "fcn", "options": {"channels": 8}},
            "cells": {"lip": {"recipe": "idrnet/cityscapes", "options": {"channels": 16}}, "time": {"awaits": "a GPU"}},
        },
        "wide": {"label": "Wide", "method": "fcn", "compared_with": "fcn"},
        "given": {"label": "Given", "method": "fcn", "checkpoint": "../weights/{column}.pth"},
        "module": {"label": "Module", "module": {"name": "ppm", "evidence": "fitted"}, "rounding": "truncate"},
        "quoted": {"label": "Quoted", "cited": "there"},
    },
    "published": {"values": {"fcn": {"score": 40.12, "time": 20.0, "flops": 12.34}, "module": {"flops": 12.3}}},
}


@pytest.fixture
def table() -> Table:
    return Table.model_validate(SPEC)


def test_cells_come_row_by_row_and_are_those_of_cell(table: Table):
    cells = list(table.cells())
    assert [(c.row, c.column) for c in cells] == [(r, c) for r in SPEC["rows"] for c in SPEC["columns"]]
    assert cells[1] == table.cell("fcn", "lip")
    assert cells[1].name == "own/fcn/lip"


def test_a_cells_own_entry_comes_before_its_column_and_that_before_the_defaults(table: Table):
    assert [table.cell("fcn", c).recipe for c in ("score", "lip")] == ["idrnet/ade20k", "idrnet/cityscapes"]
    assert table.cell("wide", "lip").recipe == "idrnet/lip"
    assert [table.cell("fcn", c).options for c in ("score", "lip")] == [{"channels": 8}, {"channels": 16}]
    assert table.cell("wide", "score").shapes == ((1, 64, 8, 8),)
    assert table.cell("wide", "time").shapes == ((1, 32, 4, 4),)
    assert (table.cell("wide", "lip").tested_on, table.cell("wide", "lip").test) == ("cihp", {"flip": True})
    assert table.cell("fcn", "speed").on_request


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ("fcn", "score", ""),
        ("fcn", "time", "a GPU"),
        ("module", "score", "the row names a module to count and no method to train"),
        ("module", "flops", ""),
        ("given", "score", ""),
        ("given", "speed", "the row tests given weights and trains nothing"),
    ],
)
def test_a_cell_says_why_there_is_nothing_to_run(table: Table, row: str, column: str, reason: str):
    assert table.cell(row, column).awaits == reason


def test_a_time_of_another_module_is_published_and_compares_with_nothing(table: Table):
    time, flops = table.cell("wide", "time"), table.cell("wide", "flops")
    assert (time.published.text, time.comparable, time.compared_row) == ("20.0", None, "FCN")
    assert flops.comparable is flops.published
    assert table.cell("fcn", "time").comparable is not None


def test_weights_are_named_from_the_table_file(table: Table):
    assert table.cell("given", "lip").checkpoint == Path("weights/lip.pth").absolute()
    assert table.cell("fcn", "lip").checkpoint is None


def test_counts_are_cut_as_their_row_says(table: Table):
    cell = table.cell("module", "flops")
    assert (cell.rounding, cell.provenance["rounding"], cell.provenance["evidence"]) == (
        "truncate",
        "truncate",
        "fitted",
    )
    assert table.cell("fcn", "flops").rounding == "round"


@pytest.mark.parametrize("file", table_files(), ids=lambda file: file.stem)
def test_published_values_have_their_provenance_and_others_none(file: Path):
    table = load(file.relative_to(ROOT) if Path.cwd() == ROOT else file)

    def printed(cell: Cell) -> bool:
        row = table.rows[cell.row].compared_with or cell.row
        return cell.column in table.published.values.get(row, {})

    assert all((cell.published is not None) == bool(cell.provenance) == printed(cell) for cell in table.cells())


@pytest.mark.parametrize(
    ("published", "column", "row", "expected"),
    [
        ({}, {}, {}, ("unknown", None)),
        ({"statistic": "mean", "runs": 5}, {}, {}, ("mean", 5)),
        ({"statistic": "mean", "runs": 5}, {"runs": 3}, {}, ("mean", 3)),
        ({"statistic": "mean", "runs": 5}, {"statistic": "best"}, {}, ("best", None)),
        ({"statistic": "mean", "runs": 5}, {"statistic": "best", "of": 4}, {}, ("best", 4)),
        ({"statistic": "best", "of": 10}, {}, {"of": 3}, ("best", 3)),
        ({"statistic": "best", "of": 10}, {"of": 4}, {"statistic": "median", "runs": 7}, ("median", 7)),
        ({"statistic": "mean", "runs": 5}, {"statistic": "mean"}, {}, ("mean", None)),
    ],
)
def test_what_a_score_is_of_several_runs_may_differ_by_column_and_row(
    published: dict[str, Any], column: dict[str, Any], row: dict[str, Any], expected: tuple[str, int | None]
):
    spec = {
        **SPEC,
        "published": {**SPEC["published"], **published},
        "columns": {**SPEC["columns"], "score": column},
        "rows": {**SPEC["rows"], "fcn": {**SPEC["rows"]["fcn"], **row}},
    }
    table = Table.model_validate(spec)
    told = table.cell("fcn", "score").provenance
    assert (told["statistic"], told["runs"]) == expected
    compared = table.cell("wide", "score").provenance  # held against the published value of fcn
    assert (compared["statistic"], compared["runs"]) == expected
    assert table.cell("fcn", "flops").provenance["runs"] is None  # a count is of no runs
