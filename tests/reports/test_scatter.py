"""The scatter of measured against published values."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from harness.recipes.profile import Profile, Synthetic
from reports.figures import scatter
from reports.figures.table import draw
from tests.support.report_bench import Make


def words(svg: str) -> str:
    return " ".join(" ".join(element.itertext()) for element in ElementTree.fromstring(svg).iter())


def test_a_panel_needs_three_cells_with_both_values(make: Make) -> None:
    bench = make(seeds=2)
    for row, value in (("ppm", 42.0), ("aspp", 43.0)):
        bench.measure(row, "score", value, value + 0.4)
    assert scatter.scatter(bench.report()) is None
    bench.measure("ocr", "score", 42.5, 42.9)
    figures = {figure.name: figure for figure in draw(bench.report())}
    told = words(figures["agreement.svg"].svg)
    assert "published" in told
    assert "mean IoU (%)" in told
    assert "line of equality" in figures["agreement.svg"].alternative


def test_other_modules_times_and_bad_numbers_are_left_out_and_fits_are_said(make: Make) -> None:
    bench = make()
    for row, value in (("ppm", 23.07), ("aspp", 42.21), ("ocr", 15.12), ("other", 27.45)):
        bench.measure(row, "params", value)
        bench.measure(row, "time", value)
        bench.measure(row, "flops", float("nan"))
    made = scatter.scatter(bench.report())
    assert made is not None
    figure, alternative = made
    assert "trainable parameters (M)" in alternative
    assert "ms" not in alternative
    assert "FLOPs" not in alternative
    assert "hollow" in alternative
    points = [line for ax in figure.axes for line in ax.get_lines() if line.get_marker() == "o"]
    assert len(points) == 3


def test_smoke_numbers_are_never_drawn_against_published_ones(make: Make) -> None:
    bench = make(profile=Profile(name="smoke", about="x", comparable=False, synthetic=Synthetic()))
    for row in ("ppm", "aspp", "ocr"):
        bench.measure(row, "params", 20.0)
    assert scatter.scatter(bench.report()) is None


def test_intervals_are_shown_whole_unless_they_dwarf_the_points(make: Make) -> None:
    bench = make(seeds=3)
    for row, value in (("ppm", 42.0), ("aspp", 43.0), ("ocr", 44.0)):
        bench.measure(row, "score", value - 0.1, value, value + 0.1)
    report = bench.report()
    cells = [shown for shown in report if shown.column == "score" and shown.published is not None and shown.measured]
    low, high = scatter._ends(cells)
    for shown in cells:
        assert low < shown.mean - (scatter._half(shown) or 0) < shown.mean + (scatter._half(shown) or 0) < high
    bench.measure("ocr", "score", 24.0, 44.0, 64.0)  # an interval of 34 points to both sides
    cells = [
        shown for shown in bench.report() if shown.column == "score" and shown.published is not None and shown.measured
    ]
    low, high = scatter._ends(cells)
    assert 39 < low < 42
    assert 44 < high < 47
