"""How often classes were picked: shares from stored counts, and when a figure is drawn of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping

import pytest

from harness.data import catalogue
from harness.jobs.job import Measurement
from reports.figures import deletions, table
from tests.support.report_bench import ENVIRONMENT, Make, ReportBench

CLASSES = catalogue.find("camvid").classes
COLUMNS = {"score": {"label": "CamVid", "metric": "miou", "recipe": "mini/scenes", "split": "val"}}
ROWS = {
    "balanced": {"label": "BD", "method": {"name": "idrnet", "channels": 8}},
    "random": {"label": "RD", "method": {"name": "idrnet", "channels": 8, "sampling": "random"}},
    "backprop": {"label": "BP", "method": {"name": "idrnet", "channels": 8, "update": "backprop"}},
}


def bench(make: Make, seeds: int = 1, **changes: object) -> ReportBench:
    return make(seeds=seeds, columns=COLUMNS, rows=ROWS, published={}, claims=[], **changes)


def picked(bench: ReportBench, row: str, counts: Mapping[str, float], name: str = "deletions", which: int = 0) -> None:
    """A training of `row` that counted so, and its test."""
    job = bench.jobs(row, "score")[which]
    measured = [Measurement("final_loss", 1.0), *(Measurement(f"{name}/{c}", n) for c, n in counts.items())]
    bench.store.finish(bench.plan.jobs[job.needs[0]], measured, ENVIRONMENT, started=1.79e9)
    bench.store.finish(job, [Measurement("miou", 30.0, "%")], ENVIRONMENT, started=1.79e9)


EVEN = dict.fromkeys(CLASSES, 5.0)
SKEWED = {c: float(2**k) for k, c in enumerate(CLASSES)}


def test_shares_add_up_and_evenness_tells_balanced_from_skewed(make: Make):
    made = bench(make)
    picked(made, "balanced", EVEN)
    picked(made, "random", SKEWED)
    rows = deletions.by_column(made.report())["score"]
    assert rows["balanced"].mean == pytest.approx([100 / len(CLASSES)] * len(CLASSES))
    assert sum(rows["random"].mean) == pytest.approx(100)
    assert rows["balanced"].evenness == pytest.approx(1)
    assert rows["random"].evenness < 0.7
    assert deletions.order(rows) == list(range(len(CLASSES)))[::-1]  # the skewed row decides: the last class leads


def test_seeds_are_averaged_as_shares_and_not_as_counts(make: Make):
    made = bench(make, seeds=2)
    first, second = CLASSES[:2]
    for which, counts in enumerate(({first: 1.0}, {second: 300.0})):
        picked(made, "balanced", dict.fromkeys(CLASSES, 0.0) | counts, which=which)
        picked(made, "random", EVEN, which=which)
    shares = deletions.by_column(made.report())["score"]["balanced"]
    assert len(shares.shares) == 2
    assert shares.mean[:3] == pytest.approx((50, 50, 0))
    assert 0 < shares.evenness < 1


def test_updates_by_back_propagation_stand_beside_deletions(make: Make):
    made = bench(make)
    picked(made, "balanced", EVEN)
    picked(made, "backprop", SKEWED, name="updates")
    (drawn,) = [f for f in table.draw(made.report()) if f.name == "frequency.svg"]
    text = "".join(ET.fromstring(drawn.svg).itertext())
    assert all(label in text for label in ("BD", "BP", "CamVid", "share of picks", "equal shares", CLASSES[0]))
    assert "BD 1.000" in drawn.alternative


@pytest.mark.parametrize("counts", [{}, dict.fromkeys(CLASSES, 0.0), {"0": 1.0, "1": 2.0}])
def test_nothing_is_drawn_of_one_row_or_of_counts_that_do_not_compare(make: Make, counts: dict[str, float]):
    made = bench(make)
    picked(made, "balanced", EVEN)
    assert deletions.figure(made.report()) is None
    picked(made, "random", counts)
    assert deletions.figure(made.report()) is None


def test_many_classes_are_drawn_as_lines_without_names(make: Make):
    recipe = {"score": {"metric": "miou", "recipe": "idrnet/ade20k", "split": "val"}}
    made = make(columns=recipe, rows=ROWS, published={}, claims=[])
    names = catalogue.find("ade20k").classes
    picked(made, "balanced", dict.fromkeys(names, 1.0))
    picked(made, "random", {n: k + 1.0 for k, n in enumerate(names)})
    (drawn,) = [f for f in table.draw(made.report()) if f.name == "frequency.svg"]
    text = "".join(ET.fromstring(drawn.svg).itertext())
    assert "150 classes, most often picked first" in text
    assert "BD" in text
    assert names[40] not in text


def test_the_range_over_seeds_never_reaches_below_nothing(make: Make):
    """A class that one seed picked always and the others never: a deviation to both sides would be below zero."""
    made = bench(make, seeds=3)
    for which in range(3):
        picked(made, "balanced", EVEN, which=which)
        picked(made, "random", dict.fromkeys(CLASSES, 0.0) | {CLASSES[which]: 1.0}, which=which)
    drawn = deletions.figure(made.report())
    assert drawn is not None
    figure, alternative = drawn
    lowest = [min(line.get_ydata()) for line in figure.axes[0].get_lines() if len(line.get_ydata())]
    assert min(lowest) >= 0
    assert "with the range over 3 seeds" in alternative
