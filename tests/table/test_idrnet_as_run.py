"""What IDRNet's table files and pages say of how it is run, against the options that their rows resolve to."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from harness import ROOT
from harness.table.load import load
from harness.table.schema import Table
from methods import registry
from methods.idrnet.differences import OPTIONS, clause, summary
from methods.idrnet.options import DIFFERENCES
from methods.segmentor import GivenFeatures

TABLES = sorted(path.stem for path in (ROOT / "tables").glob("idrnet_*.yaml"))


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("idrnet_differences", ROOT / "docs/idrnet_differences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(table: Table) -> list[str]:
    """Everything that a table file says in words."""
    rows = [text for row in table.rows.values() for text in (*row.notes, row.awaits)]
    return [" ".join(text.split()) for text in (table.about, *table.notes, *rows) if text]


def contradictions(table: Table, rows) -> list[str]:
    """Clauses in the table's words that a cell's options do not bear out."""
    found = []
    said = " ".join(texts(table))
    for row, column, options in rows:
        for name, sides in DIFFERENCES.items():
            for value in sides:
                wording = clause(name, value, processes=options.processes)
                if wording in said and getattr(options, name) != value:
                    found.append(f"{table.id}/{row}/{column}: “{wording}”, but {name} is {getattr(options, name)!r}")
        for number in re.findall(r"each of (\d+) processes", said):
            if int(number) != options.processes:
                found.append(f"{table.id}/{row}/{column}: {number} processes said, {options.processes} run")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_no_statement_contradicts_the_options_of_the_rows(name, page):
    table = load(ROOT / "tables" / f"{name}.yaml")
    assert contradictions(table, page.rows_of_idrnet(table)) == []


def test_a_contradiction_is_found(page):
    table = load(ROOT / "tables/idrnet_table2.yaml")
    changed = [
        registry.build("idrnet", GivenFeatures((1,)), 2, channels=1, **options).options
        for options in ({"reduction": "exact"}, {"pooling": "probability"}, {"processes": 4})
    ]
    for options, word in zip(changed, ("reduction", "pooling", "processes")):
        (found,) = contradictions(table, [("fcn_idrnet", "ade20k", options)])
        assert word in found


def test_table_2_says_how_all_of_its_rows_are_run(page):
    """The note is the options in words, nothing added and nothing left out."""
    table = load(ROOT / "tables/idrnet_table2.yaml")
    (note,) = [text for text in texts(table) if text.startswith("IDRNet is run as")]
    rows = list(page.rows_of_idrnet(table))
    assert len(rows) == 16
    for row, column, options in rows:
        assert f"which made these numbers: {summary(options)}. Each is an option" in note, (row, column)


@pytest.mark.slow
def test_rows_on_the_papers_profile_use_what_made_the_numbers(page):
    """Every row of the paper's tables, whatever else it varies."""
    for name in TABLES:
        table = load(ROOT / "tables" / f"{name}.yaml")
        for row, column, options in page.rows_of_idrnet(table):
            assert (options.preset, options.reduction, options.processes) == ("released", "released", 8), (row, column)


def test_every_difference_is_put_in_words_once():
    assert list(OPTIONS) == list(DIFFERENCES)
    wordings = [text for point in OPTIONS.values() for text in (point.released, point.paper)]
    assert len(set(wordings)) == len(wordings)


@pytest.mark.slow
def test_the_page_is_what_the_options_say(page):
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "write it: python docs/idrnet_differences.py"
