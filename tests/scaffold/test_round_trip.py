"""What is written as LaTeX, HTML, Markdown or CSV is read back: texts, spans, bold marks, digits; the table file, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scaffold import formats, layout, value, write
from harness.scaffold.grid import Cell, Grid, Run
from harness.table.load import check
from harness.yamlfile import parse
from tests.support import printed


def written(folder: Path, name: str, text: str) -> Grid:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    grid = formats.read(file, None)
    assert grid is not None
    return grid


def texts(grid: Grid) -> list[list[str]]:
    return [[cell.text for cell in row] for row in grid.cells]


def bold(grid: Grid) -> list[list[bool]]:
    return [[cell.bold for cell in row] for row in grid.cells]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("printed")


@pytest.mark.parametrize(
    ("name", "render"), [("t.tex", printed.latex), ("t.html", printed.html_page)], ids=["latex", "html"]
)
def test_grids_with_spans(folder: Path, name: str, render: Callable[[printed.Sheet], str]):
    @settings(max_examples=30, deadline=None)
    @given(printed.sheets(spans=True))
    def round_trip(sheet: printed.Sheet) -> None:
        grid = written(folder, name, render(sheet))
        assert texts(grid) == sheet.texts()
        assert bold(grid) == sheet.bold()
        assert grid.remarks == []

    round_trip()


def test_grids_of_markdown(folder: Path):
    @settings(max_examples=40, deadline=None)
    @given(printed.sheets(spans=False))
    def round_trip(sheet: printed.Sheet) -> None:
        grid = written(folder, "t.md", printed.markdown(sheet))
        assert texts(grid) == sheet.texts()
        assert bold(grid) == sheet.bold()

    round_trip()


def test_grids_of_csv(folder: Path):
    @settings(max_examples=40, deadline=None)
    @given(printed.sheets(spans=False, bold=False))
    def round_trip(sheet: printed.Sheet) -> None:
        assert texts(written(folder, "t.csv", printed.csv_file(sheet))) == sheet.texts()

    round_trip()


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,6})(\.[0-9]{1,6})?", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(
    NUMBERS,
    st.sampled_from(["", "<", ">"]),
    st.sampled_from(["", "%", " M", "ms", "G"]),
    st.sampled_from(["", "0.2", "1"]),
    st.one_of(st.just(""), NUMBERS.filter(lambda text: text != "-0")),
    st.sampled_from(["", "*", "†", " ‡"]),
)
def test_digits(number: str, bound: str, unit: str, spread: str, gain: str, marks: str):
    sign = "" if gain.startswith("-") else "+"
    text = bound + number + unit + f" ± {spread}" * bool(spread) + f" ({sign}{gain})" * bool(gain) + marks
    found = value.parse(Cell((Run(text),)))
    assert found == value.Printed(number, bound, gain, spread, unit.strip(), marks.strip())


LABELS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(max_examples=20, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=5), LABELS, LABELS)
def test_whatever_the_labels_the_file_holds_them(labels: list[str], heading: str, caption: str):
    header = ["Method", heading, "mIoU"]
    rows = [header, *([label, "x", "40.10"] for label in labels)]
    grid = Grid("t", [[Cell((Run(text),), i + 1) for text in row] for i, row in enumerate(rows)], 1, caption)
    reading = layout.read(grid, {}, "t.csv")
    table = check(parse(write.table_text(reading, write.Heading("paper", "t.csv")), "t.yaml"))
    assert [row.label for row in table.rows.values()] == [row.label for row in reading.rows]
    assert [values["miou"].text for values in table.published.values.values()] == ["40.10"] * len(reading.rows)
