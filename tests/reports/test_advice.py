"""What would decide an inconclusive cell, cheapest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.jobs.job import Measurement
from harness.recipes.profile import Profile, Synthetic
from reports import advice
from reports.formats import markdown, terminal
from reports.table_report import TableReport
from tests.support.report_bench import Make


def timed(report: TableReport, row: str, seconds: float) -> TableReport:
    """The report with every result of a row's score taking so many seconds."""
    shown = report.cells[row, "score"]
    changed = replace(
        shown,
        results=tuple(replace(r, seconds=seconds) for r in shown.results),
        trainings=tuple(replace(r, seconds=2 * seconds) for r in shown.trainings),
    )
    return replace(report, cells={**report.cells, (row, "score"): changed})


def test_the_cheapest_cell_comes_first_with_training_and_test_counted(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 41.5, 42.5, 43.5)
    bench.measure("aspp", "score", 42.0, 43.0, 44.0)
    bench.measure("ocr", "score", 42.4, 42.5, 42.6)  # decided already
    report = timed(timed(bench.report(), "ppm", 600), "aspp", 10)
    steps = advice.steps(report)
    assert [step.row for step in steps] == ["aspp", "ppm"]
    assert steps[0].seconds == pytest.approx(steps[0].seeds * 30)
    assert steps[0].seeds == report.cells["aspp", "score"].verdict.more
    assert "## What would decide" in markdown.render(report)
    assert "cheapest verdict to be had: aspp / score" in terminal.render(report)


def test_a_training_that_was_interrupted_is_priced_with_all_of_its_attempts(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 41.5, 42.5, 43.5)
    report = timed(bench.report(), "ppm", 10)
    shown = report.cells["ppm", "score"]
    whole = Measurement("train_seconds", 3600.0, "s")
    trained = tuple(replace(r, measurements=(*r.measurements, whole)) for r in shown.trainings)
    report = replace(report, cells={**report.cells, ("ppm", "score"): replace(shown, trainings=trained)})
    (step,) = advice.steps(report)
    assert step.seconds == pytest.approx(step.seeds * 3610)
    assert next(advice.lines([report])).startswith("1 inconclusive cell that more")


def test_a_smoke_profile_has_nothing_to_decide(make: Make) -> None:
    profile = Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic())
    bench = make(seeds=2, profile=profile)
    bench.measure("ppm", "score", 41.5, 42.5)
    assert advice.steps(bench.report()) == []
