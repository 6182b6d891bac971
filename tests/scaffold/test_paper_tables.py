"""Six tables of three papers, as LaTeX typesets them: every number equals the audited one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import ROOT
from harness.cli.main import main
from harness.table.load import load
from harness.table.schema import Table

LATEX = ROOT / "tests" / "fixtures" / "latex"
PUBLISHED = ROOT / "tests" / "fixtures" / "published"
# (paper, number of the table, its label in the LaTeX file, numbers in it)
PRINTED = [
    ("idrnet", 2, "tab:frameworks", 32),
    ("idrnet", 5, "tab:complexity", 45),
    ("hfgd", 8, "tab:upsamplers", 8),
    ("hfgd", 13, "tab:cityscapes_val", 18),
    ("ecenet", 1, "tab:ade20k", 57),
    ("ecenet", 4, "tab:ablation", 6),
]
Number = tuple[str, str, str]  # digits, bound, gain


def numbers(table: Table, rows: list[str]) -> list[list[Number | None]]:
    """What each of these rows prints, column by column."""
    values = [[table.published.values.get(row, {}).get(column) for column in table.columns] for row in rows]
    return [[(v.text, v.bound, v.gain_text) if v is not None else None for v in row] for row in values]


def transcribed(paper: str, number: int) -> list[list[float]]:
    """The numbers of each row, with its gains, of the transcription that was audited."""
    tables = yaml.safe_load((PUBLISHED / f"{paper}.yaml").read_text(encoding="utf-8"))["tables"]
    table = next(t for t in tables if number == t.get("number") or t["id"] == f"T{number}")
    return [[*_floats(row["cells"])] for row in table["rows"]]


def _floats(cells: dict[str, Any]) -> list[float]:
    found = []
    for cell in cells.values():
        if isinstance(cell, dict):
            found += [cell[key] for key in ("value", "printed_gain") if cell.get(key) is not None]
        elif isinstance(cell, float):
            found.append(cell)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """The files that `new table` writes of them."""
    folder, written = tmp_path_factory.mktemp("tables"), {}
    for paper, number, label, _ in PRINTED:
        out = folder / f"{paper}{number}.yaml"
        source = LATEX / f"{paper}.tex"
        assert main(["new", "table", "--from", str(source), "--label", label, "--out", str(out)]) == 0
        written[paper, number] = out
    return written


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "number", "label", "count"), PRINTED)
def test_no_number_of_a_paper_is_read_wrong(paper: str, number: int, label: str, count: int, files: dict):
    ours, read = load(ROOT / "tables" / f"{paper}_table{number}.yaml"), load(files[paper, number])
    printed = [row for row in ours.rows if row in ours.published.values]
    expected = numbers(ours.model_copy(update={"columns": _printed_columns(ours)}), printed)
    assert numbers(read, [*read.rows]) == expected
    found = [[float(part) for n in row if n for part in (n[0], n[2]) if part] for row in numbers(read, [*read.rows])]
    assert found == transcribed(paper, number)
    assert sum(n is not None for row in expected for n in row) == count


def _printed_columns(table: Table) -> dict[str, Any]:
    """Without those that this project adds to the paper's."""
    used = {column for values in table.published.values.values() for column in values}
    return {key: column for key, column in table.columns.items() if key in used}


def test_scaffolded_tables_are_planned_and_audited(files: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tables = [str(file) for file in files.values()]
    assert main(["plan", *tables, "--results", str(tmp_path / "results")]) == 5  # nothing to run yet
    assert "nothing to run" in capsys.readouterr().out
    assert main(["audit", *tables]) in (0, 1)
    assert {row.awaits for file in tables for row in load(file).rows.values()} == {"no method was named yet"}
