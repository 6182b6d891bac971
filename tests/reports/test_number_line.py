"""The number line of a cell's page, and the axes of inline drawings."""

from __future__ import annotations

import re

import pytest

from reports.cell_report import CellReport
from reports.site.axes import Axis
from reports.site.number_line import number_line
from tests.support.report_bench import Make, ReportBench


def cell(bench: ReportBench, row: str, column: str) -> CellReport:
    return bench.report().cells[row, column]


def places(drawing: str, what: str, attribute: str) -> list[float]:
    return [float(x) for x in re.findall(rf'class="{what}"[^>]* {attribute}="([0-9.]+)"', drawing)]


def test_seeds_lie_where_their_values_are_and_the_band_is_the_margin(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 41.9, 42.0, 44.5)
    shown = cell(bench, "ppm", "score")
    drawing = number_line(shown)
    first, second, third = places(drawing, "seed", "cx")
    (paper,), (left,), (wide,) = (
        places(drawing, "paper-line", "x1"),
        places(drawing, "margin", "x"),
        places(drawing, "margin", "width"),
    )
    per_point = (third - second) / 2.5
    assert first < second < paper < third
    assert second - first == pytest.approx(0.1 * per_point, abs=0.2)
    assert paper - second == pytest.approx(0.64 * per_point, abs=0.2)
    assert wide == pytest.approx(2 * (shown.verdict.margin or 0) * per_point, abs=0.3)
    assert left + wide / 2 == pytest.approx(paper, abs=0.2)
    assert "seed" in drawing
    assert f"± {shown.verdict.margin:.3g}" in drawing


def test_an_interval_that_dwarfs_everything_is_cut_without_an_end(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.6, 42.7)
    near = number_line(cell(bench, "ppm", "score"))
    bench.measure("ppm", "score", 40.6, 44.7)  # two seeds: an interval of dozens of points
    far = number_line(cell(bench, "ppm", "score"))
    for drawing in (near, far):
        assert all(0 <= x <= 640 for x in places(drawing, "interval", "x1") + places(drawing, "interval", "x2"))
    assert len(places(near, "interval", "x1")) <= 3


def test_what_a_glance_shows_is_not_drawn(make: Make) -> None:
    bench = make()
    assert number_line(cell(bench, "ppm", "params")) == ""  # not measured
    bench.measure("ppm", "params", 23.073792)
    assert number_line(cell(bench, "ppm", "params")) == ""  # prints the digits
    bench.measure("aspp", "params", 42.3)
    drawing = number_line(cell(bench, "aspp", "params"))
    assert places(drawing, "paper-line", "x1") < places(drawing, "seed", "cx")
    bench.measure("aspp", "time", 4000.0)
    assert number_line(cell(bench, "aspp", "time")) == ""  # of another machine
    bench.measure("aspp", "flops", float("nan"))
    assert number_line(cell(bench, "aspp", "flops")) == ""


def test_dots_that_would_hide_each_other_are_stacked(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 42.0, 42.0, 42.0)
    heights = places(number_line(cell(bench, "ppm", "score")), "seed", "cy")
    assert len(set(heights)) == 3


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (41.7, 42.9, ["41.8", "42.0", "42.2", "42.4", "42.6", "42.8"]),
        (0.0, 80000.0, ["0", "20000", "40000", "60000", "80000"]),
        (-0.02, 0.02, ["−0.02", "−0.01", "0.00", "0.01", "0.02"]),
    ],
)
def test_ticks_are_round_and_never_the_same(low: float, high: float, labels: list[str]) -> None:
    found = [label for _, label in Axis(low, high, 0, 100).ticks()]
    assert [label.replace("-", "−") for label in found] == labels


def test_a_single_value_has_an_axis() -> None:
    axis = Axis(5.0, 5.0, 0, 100)
    assert len(axis.ticks()) == 1
    assert axis(5.0) == 0
