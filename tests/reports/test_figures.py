"""Figures of reports: legible in the dark, ticks that do not touch, axes without impossible values, like beside like."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from reports.figures import scatter, style
from reports.figures.table import draw
from tests.support.report_bench import TABLE, Make, ReportBench


def labels(axis: Any) -> list[Any]:
    """Boxes of the labels that an axis shows."""
    low, high = sorted(axis.get_view_interval())
    shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_text()]
    return [tick.label1.get_window_extent() for tick in shown]


def colliding(figure: Any) -> list[tuple[Any, Any]]:
    figure.canvas.draw()
    boxes = [box for ax in figure.axes for box in labels(ax.xaxis)] + [
        b for ax in figure.axes for b in labels(ax.yaxis)
    ]
    wide = [box.padded(4, 0) for box in boxes]  # and half a letter of room on both sides
    return [(a, b) for a, b in itertools.combinations(wide, 2) if a.overlaps(b)]


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn meanwhile."""
    drawn: list[Any] = []
    real = style.canvas

    def canvas(width: float, height: float) -> Any:
        drawn.append(real(width, height))
        return drawn[-1]

    monkeypatch.setattr(style, "canvas", canvas)
    return drawn


def train(bench: ReportBench, row: str, terms: dict[str, float], iterations: int = 80_000) -> None:
    for job in bench.jobs(row, "score"):
        for key in job.needs:
            records = [
                {
                    "iteration": i,
                    "loss": sum(terms.values()),
                    "terms": terms,
                    **({"miou": 0.5 + i / 1e6} if i % 2 else {}),
                }
                for i in range(1, iterations, iterations // 7)
            ]
            text = "".join(json.dumps(record) + "\n" for record in records)
            (bench.store.folder(bench.plan.jobs[key]) / "curve.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_labels_of_ticks_never_touch(make: Make, canvases: list[Any]) -> None:
    score = TABLE["columns"]["score"]
    names = ["score", "score2", "score3", "score4", "score5"]
    printed = {row: dict.fromkeys(names, value) for row, value in (("ppm", 42.5), ("aspp", 43.0), ("ocr", 36.76))}
    published = {**TABLE["published"], "values": printed}
    bench = make(columns={name: {**score, "label": name} for name in names}, seeds=2, published=published)
    for i, name in enumerate(names):
        for row, value in (("ppm", 42.5), ("aspp", 43.13), ("ocr", 37.37)):
            bench.measure(row, name, value + 1.7 * i, value + 1.7 * i + 0.31)
    train(bench, "ppm", {"main": 2.0}, 160_000)
    assert {figure.name for figure in draw(bench.report())} >= {"measured.svg", "curves.svg"}
    assert len(canvases) >= 2
    for figure in canvases:
        assert colliding(figure) == []


def test_no_axis_of_scores_goes_below_zero_or_above_a_hundred(make: Make, canvases: list[Any]) -> None:
    values = {"ppm": {"score": 0.2}, "aspp": {"score": 50.0}, "ocr": {"score": 99.9}}
    bench = make(seeds=2, published={**TABLE["published"], "values": values})
    for row, value in (("ppm", 0.1), ("aspp", 70.0), ("ocr", 99.8)):
        bench.measure(row, "score", value, value + 0.1)
        train(bench, row, {"main": 2.0})
    draw(bench.report())
    axes = [ax for figure in canvases for ax in figure.axes]
    scores = [ax.get_ylim() for ax in axes if "mIoU" in ax.get_ylabel() or ax.get_ylabel() == "measured"]
    scores += [ax.get_xlim() for ax in axes if ax.get_xlabel() == "published"]
    scores += [ax.get_xlim() for ax in axes if "mIoU" in ax.get_title("left") and not ax.get_ylabel()]
    assert len(scores) >= 3
    assert all(min(limits) >= 0 and max(limits) <= 100 for limits in scores), scores


def test_losses_of_a_panel_are_one_quantity(make: Make, canvases: list[Any]) -> None:
    bench = make()
    for row, terms in (("ppm", {"main": 2.0}), ("aspp", {"main": 3.0, "auxiliary": 90.0})):
        bench.measure(row, "score", 42.0)
        train(bench, row, terms)
    draw(bench.report())
    (panel,) = [ax for figure in canvases for ax in figure.axes if "training loss" in ax.get_ylabel()]
    assert "“main” alone" in panel.get_ylabel()
    assert sorted(max(line.get_ydata()) for line in panel.get_lines()) == [2.0, 3.0]


def test_counts_that_agree_to_four_digits_show_relative_differences(make: Make) -> None:
    bench = make()
    for row, value in (("ppm", 23.073792), ("aspp", 42.211), ("ocr", 15.119)):
        bench.measure(row, "params", value)
    drawing = scatter.scatter(bench.report())
    assert drawing is not None
    (ax,) = drawing[0].axes
    assert ax.get_ylabel() == "measured − published, %"
    points = sorted(float(line.get_ydata()[0]) for line in ax.get_lines() if line.get_marker() == "o")
    expected = sorted(100 * (m / p - 1) for m, p in ((23.073792, 23.07), (42.211, 42.21), (15.119, 15.12)))
    assert points == pytest.approx(expected)
    assert "as differences: trainable parameters (M)" in drawing[1]
    bench.measure("ocr", "params", 16.0)  # one that differs is seen best beside the line of equality
    drawing = scatter.scatter(bench.report())
    assert drawing is not None
    assert drawing[0].axes[0].get_ylabel() == "measured"


def test_counts_that_print_few_digits_agree_where_they_print_them(make: Make) -> None:
    values = {"ppm": {"params": 3.1}, "aspp": {"params": 42.2}, "ocr": {"params": 15.1}}
    bench = make(published={**TABLE["published"], "values": values})
    for row, value in (("ppm", 3.14), ("aspp", 42.21), ("ocr", 15.14)):  # the first is more than one per cent away
        bench.measure(row, "params", value)
    drawing = scatter.scatter(bench.report())
    assert drawing is not None
    assert drawing[0].axes[0].get_ylabel() == "measured − published, %"


def test_scores_over_a_wide_range_show_differences_in_points(make: Make) -> None:
    values = {"ppm": {"score": 30.0}, "aspp": {"score": 50.0}, "ocr": {"score": 80.0}}
    bench = make(seeds=2, published={**TABLE["published"], "values": values})
    for row, value in (("ppm", 30.2), ("aspp", 49.9), ("ocr", 80.3)):
        bench.measure(row, "score", value, value)
    drawing = scatter.scatter(bench.report())
    assert drawing is not None
    assert drawing[0].axes[0].get_ylabel() == "measured − published, points"
    low, high = drawing[0].axes[0].get_ylim()
    assert low == -high
    assert high < 2


def test_a_figure_follows_the_dark(make: Make) -> None:
    bench = make()
    for row, value in (("ppm", 23.07), ("aspp", 42.3), ("ocr", 15.5)):
        bench.measure(row, "params", value)
    for figure in draw(bench.report()):
        rules = figure.svg.partition("prefers-color-scheme: dark")[2].partition("</style>")[0]
        covered = set(re.findall(r'\[style\*="(\w+: #[0-9a-f]{6})"\]', rules))
        used = set(re.findall(r"\b((?:fill|stroke): #[0-9a-f]{6})", figure.svg.partition("</style>")[2]))
        assert used
        assert used <= covered, used - covered
