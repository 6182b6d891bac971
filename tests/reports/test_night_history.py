"""Nights as a figure: limits are those that the nightly alarms by, and nothing stands under a profile that is not its own."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.control_charts import ENOUGH, UNLIKELY, Chart
from harness.store.nights import History, NightRecord, night
from reports.figures import night_history
from reports.site import names
from reports.site.build import build
from tests.support.report_bench import Make


def night_records(count: int, alarms: int = 0, folder: str = "", cell: str = "t/r/c") -> list[NightRecord]:
    draw = random.Random(3)
    dates = [f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(count + alarms)]
    good = [NightRecord(date, cell, draw.gauss(40, 0.3), "c", folder) for date in dates[:count]]
    return [*good, *(NightRecord(date, cell, 37.0, "c", folder, alarm=True) for date in dates[count:])]


@given(st.integers(ENOUGH, 60), st.integers(0, 2**16))
def test_the_limit_is_where_the_nightly_begins_to_doubt(count: int, seed: int) -> None:
    draw = random.Random(seed)
    found = [NightRecord(f"2026-01-{1 + i % 28:02d}", "c", draw.gauss(40, 0.3), "", "") for i in range(count)]
    last = night_history.points([*found, replace(found[0], value=40.0)])[-1]
    chart = Chart(n.value for n in found)
    assert last.low is not None
    assert last.expected == pytest.approx(chart.mean)
    for step, doubted in ((-1e-6, True), (1e-6, False)):
        assert (NormalDist().cdf(chart.score(last.low + step)) <= UNLIKELY) is doubted


def test_no_limit_before_there_are_enough_nights_and_alarms_move_none() -> None:
    found = night_history.points(night_records(ENOUGH + 5, alarms=4))
    assert all(point.low is None for point in found[:ENOUGH])
    assert all(point.low is not None for point in found[ENOUGH:])
    assert [point.alarm for point in found[-4:]] == [True] * 4
    assert len({point.expected for point in found[-4:]}) == 1  # what is expected stays what it was


def test_a_new_level_is_expected_from_the_date_it_was_accepted() -> None:
    old, new = (
        night_records(30),
        [replace(n, date="2026-09" + n.date[7:], value=n.value - 3) for n in night_records(25)],
    )
    last = night_history.points([*old, *new], since="2026-09-01")[-1]
    assert last.expected == pytest.approx(37, abs=0.3)


def test_the_figure_names_what_it_shows_and_words_say_the_alarms() -> None:
    made = night_history.draw("t/r/c", night_records(30, alarms=5))
    assert made is not None
    svg, alternative = made
    told = " ".join(" ".join(e.itertext()) for e in ElementTree.fromstring(svg).iter())
    for name in ("measured", "alarm", "expected", "control limit", "mIoU"):
        assert name in told
    assert "35 measurements from 2026-01-01" in alternative
    assert alternative.endswith("2026-02-07 and before")
    quiet = night_history.draw("t/r/c", night_records(5))
    assert quiet is not None
    assert "no alarm" in quiet[1]
    assert ">alarm<" not in quiet[0]
    assert night_history.draw("t/r/c", night_records(30, alarms=5)) == made  # the same bytes


def test_bad_records_are_passed_over() -> None:
    good = night_records(3)
    bad = [replace(good[0], date="yesterday"), replace(good[0], value=float("nan")), replace(good[0], value="x")]  # type: ignore[arg-type]
    assert night_history.points([*bad, *good]) == night_history.points(good)
    assert night_history.draw("c", [*bad, good[0]]) is None
    assert night_history.draw("<b>$x" * 100, good) is not None


@pytest.mark.slow
def test_a_cells_page_shows_its_nights_under_their_own_profile_only(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "score", 42.0)
    result = bench.store.result(bench.jobs("ppm", "score")[0])
    assert result is not None
    cell = "pspnet_table5/ppm/score"
    ours = [
        replace(n, folder=result.folder.relative_to(bench.store.root).as_posix())
        for n in night_records(25, alarms=1, cell=cell)
    ]
    History(bench.store.root).add([*ours, night("2026-03-01", cell, result, 40.1, root=bench.store.root, alarm=False)])
    page = "cells/" + names.file_name("pspnet_table5", "ppm", "score")
    folder = build(bench.plan, bench.store, bench.store.reports / "site").parent
    text = (folder / page).read_text(encoding="utf-8")
    assert "<h2>Nights</h2>" in text
    assert "27 measurements" in text
    assert (folder / "figures" / "nights" / Path(page).with_suffix(".svg").name).is_file()
    other = replace(bench.plan, profile=bench.plan.profile.model_copy(update={"name": "short"}))
    folder = build(other, bench.store, bench.store.reports / "site").parent
    assert "<h2>Nights</h2>" not in (folder / page).read_text(encoding="utf-8")


def test_the_nightly_shows_the_cells_of_its_night(tmp_path: Path) -> None:
    found = {"t/a|b/c": night_records(24, alarms=1), "t/old/c": night_records(10), "t/new/c": night_records(25)[-1:]}
    date = found["t/a|b/c"][-1].date
    lines = list(night_history.tonight(found, date, tmp_path / date, {}))
    assert lines[0] == "## Histories\n"
    assert len(lines) == 2  # one night is no history, and another night is not tonight
    assert f"]({date}/000.svg)" in lines[1]
    assert lines[1].startswith("t/a&#124;b/c")
    assert (tmp_path / date / "000.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert list(night_history.tonight(found, "2030-01-01", tmp_path / "none", {})) == []
    assert not (tmp_path / "none").exists()
