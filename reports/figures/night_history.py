"""Nightly history of a cell as a figure: measured values, expected values with control limits, and alarms."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import write_text
from harness.stats.control_charts import ENOUGH, UNLIKELY, Chart
from harness.stats.small_samples import t_quantile
from harness.store.nights import NightRecord
from harness.store.store import read_result
from harness.text import markdown
from reports.figures import style


@dataclass(frozen=True)
class Point:
    """One night. `expected` and `low` are of the nights before it: their mean, and the control limit, below which a value
    lies by chance one time in fifty (of many cells in a night only lower ones are measured again); None before there are
    enough of them."""

    date: datetime.date
    value: float
    alarm: bool
    expected: float | None = None
    low: float | None = None


def points(nights: Sequence[NightRecord], since: str = "") -> list[Point]:
    """The nights of a cell with their control limits; alarms are no part of what is expected, nor are nights before the
    date `since` which a new level was accepted. Nights without a date or a finite value are left out."""
    chart, result = Chart(), []
    for night in nights:
        try:
            date = datetime.date.fromisoformat(night.date)
        except (ValueError, TypeError):
            continue
        if not isinstance(night.value, int | float) or not math.isfinite(night.value):
            continue
        expected = low = None
        if chart.nights >= ENOUGH:
            reach = t_quantile(1 - UNLIKELY, chart.nights - 1) * math.sqrt(1 + 1 / chart.nights)
            expected, low = chart.mean, chart.mean - reach * chart.spread
        result.append(Point(date, float(night.value), bool(night.alarm), expected, low))
        if not night.alarm and night.date >= since:
            chart.add(night.value)
    return result


def profile(nights: Sequence[NightRecord], root: Path) -> str | None:
    """The profile that a cell's nights were measured under, as the newest result left in `root` says; None without any."""
    for night in reversed(nights):
        result = read_result(root / night.folder)
        if result is not None:
            return str(result.job.config.get("profile", ""))
    return None


def draw(cell: str, nights: Sequence[NightRecord], since: str = "") -> tuple[str, str] | None:
    """(SVG, text alternative) of a cell's history; None below two nights."""
    chart_points = points(nights, since)
    if len(chart_points) < 2:
        return None
    with style.styled():
        figure = style.canvas(7.2, 2.7)
        _plot(figure.add_subplot(), chart_points)
        figure.legend(loc="outside upper left", ncols=4, handlelength=1.4)
        svg = style.svg(figure)
    bad = [point for point in chart_points if point.alarm]
    dates = list(dict.fromkeys(point.date.isoformat() for point in bad))
    alarm_text = f"alarms on {', '.join(dates[-3:])}{' and before' if len(dates) > 3 else ''}" if bad else "no alarm"
    span = f"{chart_points[0].date} to {chart_points[-1].date}"
    return (
        svg,
        f"Nightly history of {style.label(cell, 80)}: {len(chart_points)} measurements from {span}, {alarm_text}",
    )


def _plot(ax: Any, chart_points: Sequence[Point]) -> None:
    expected_points = [p for p in chart_points if p.expected is not None and p.low is not None]
    if expected_points:
        dates = [p.date for p in expected_points]
        ax.plot(dates, [p.expected for p in expected_points], color=style.INK, linewidth=1, label="expected", zorder=2)
        ax.plot(
            dates, [p.low for p in expected_points], color=style.INK, linewidth=1, linestyle=style.DASHES[1], zorder=2,
            label="control limit",
        )  # fmt: skip
        ax.fill_between(
            dates,
            [p.low for p in expected_points],
            [p.expected for p in expected_points],
            color=style.FAINT,
            alpha=0.6,
            zorder=1,
        )
    good, bad = ([p for p in chart_points if p.alarm is kind] for kind in (False, True))
    look = {"linestyle": "", "zorder": 3}
    ax.plot([p.date for p in good], [p.value for p in good], "o", color=style.MEASURED, ms=4, label="measured", **look)
    if bad:
        ax.plot([p.date for p in bad], [p.value for p in bad], "v", color=style.COLOURS[3], ms=8, label="alarm", **look)
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    places = AutoDateLocator()
    ax.xaxis.set_major_locator(places)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(places))
    ax.set_ylabel("mIoU (%)")
    ax.margins(x=0.02, y=0.12)
    ax.set_ylim(style.keep_percent(*ax.get_ylim()))


def tonight(
    nights: Mapping[str, Sequence[NightRecord]], date: str, folder: Path, accepted_levels: Mapping[str, str]
) -> Iterator[str]:
    """Draws the history of every cell that was measured on `date` into `folder` and yields the Markdown that shows it,
    for a page beside that folder. OutputError where the folder or the disk refuses."""
    cell_nights = {
        cell: nights_of_cell
        for cell, nights_of_cell in nights.items()
        if any(night.date == date for night in nights_of_cell)
    }
    drawings = {
        cell: drawing
        for cell, nights_of_cell in cell_nights.items()
        if (drawing := draw(cell, nights_of_cell, accepted_levels.get(cell, "")))
    }
    if drawings:
        yield "## Histories\n"
    for i, (cell, (svg, alternative)) in enumerate(sorted(drawings.items())):
        file = folder / f"{i:03d}.svg"
        write_text(file, svg)
        yield f"{markdown(cell)}\n\n![{markdown(alternative)}]({folder.name}/{file.name})\n"
