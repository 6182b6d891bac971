"""Training curves of a cell and of its neighbours as inline drawings, which `assets/charts.js` makes zoom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from harness.jobs.tasks import SEGMENTATION
from harness.text import number
from reports.cell_report import CellReport
from reports.figures import curves
from reports.site.axes import Axis, drawing, horizontal, text, vertical
from reports.site.names import short
from reports.table_report import TableReport

_WIDE, _HIGH = 640, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 612, 10, 236
_NEIGHBOURS = 5  # rows beside the cell's own; a colour each


@dataclass(frozen=True)
class Line:
    name: str
    band: curves.Band


class TableCurves:
    """The curves of a table's trainings; each is read once however many cells show it."""

    def __init__(self, report: TableReport) -> None:
        self.report = report
        self._bands: dict[tuple[Any, ...], curves.Band | None] = {}

    def charts(self, cell: CellReport) -> list[dict[str, str]]:
        """The charts of a cell's page: its loss, and its score where it was tested while training; the cell's line first."""
        if not cell.trainings:
            return []
        rows = [cell, *self._neighbours(cell)]
        loss = curves.comparable_loss(r.folder for row in rows for r in row.trainings)
        headline = SEGMENTATION.headline
        found = []
        for key, words, least in ((loss.key, loss.words, None), (headline, "mIoU on the test split, in %", 0.0)):
            lines = list(self._lines(rows, key))
            if lines and lines[0].name == self._name(cell) and len(lines[0].band.iterations) > 1:
                found.append(chart(lines, words, least))
        return found

    def _neighbours(self, cell: CellReport) -> list[CellReport]:
        """The trained cells of the same column and recipe, nearest rows first, in the table's order."""
        column = [self.report.cells[r, cell.column] for r in self.report.rows if (r, cell.column) in self.report.cells]
        alike = [c for c in column if c.trainings and c.cell.recipe == cell.cell.recipe]
        at = [c.row for c in alike].index(cell.row)
        nearest = sorted((abs(i - at), i) for i in range(len(alike)) if i != at)[:_NEIGHBOURS]
        return [alike[i] for i in sorted(i for _, i in nearest)]

    def _lines(self, rows: Sequence[CellReport], key: str) -> Iterator[Line]:
        for row in rows:
            folders = tuple(result.folder for result in row.trainings)
            if (folders, key) not in self._bands:
                self._bands[folders, key] = curves.band(folders, key)
            band = self._bands[folders, key]
            if band is not None:
                yield Line(self._name(row), band)

    def _name(self, cell: CellReport) -> str:
        return short(self.report.table.row(cell.row).name, 40)


def chart(lines: Sequence[Line], quantity: str, least: float | None = None) -> dict[str, str]:
    """`drawing`, the `data` that the page's script redraws it from, and `words` below it.

    `least`: where the axis ends at the latest: no negative mIoU.
    """
    bands = [line.band for line in lines]
    low, high = min(min(b.low) for b in bands), max(max(b.high) for b in bands)
    room = 0.04 * ((high - low) or abs(high) or 1.0)
    bottom = low - room if least is None else max(low - room, least)
    x = Axis(min(b.iterations[0] for b in bands), max(b.iterations[-1] for b in bands), _LEFT, _RIGHT)
    y = Axis(bottom, high + room, _BOTTOM, _TOP)
    parts = [*vertical(y, _LEFT, _RIGHT), *horizontal(x, _BOTTOM)]
    for i, line in reversed([*enumerate(lines)]):
        parts.append(f'<g class="line l{i}">{_band(line.band, x, y)}{_points(line.band, x, y)}</g>')
    parts.append(text(_RIGHT, _HIGH - 4, "iteration", "end", "soft"))
    own = bands[0]
    seeds = f", mean and range of {own.seeds} seeds" if own.seeds > 1 else ""
    words = f"{quantity}, over iterations{seeds}"
    said = f"{words}: {lines[0].name} from {number(own.mean[0])} to {number(own.mean[-1])}"
    return {"drawing": drawing(_WIDE, _HIGH, parts, said), "data": _data(lines, least), "words": words}


def _points(band: curves.Band, x: Axis, y: Axis) -> str:
    points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in zip(band.iterations, band.mean))
    return f'<polyline points="{escape(points)}"/>'


def _band(band: curves.Band, x: Axis, y: Axis) -> str:
    if band.seeds < 2:
        return ""
    edge = [*zip(band.iterations, band.high), *reversed([*zip(band.iterations, band.low)])]
    points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in edge)
    return f'<polygon points="{escape(points)}"/>'


def _data(lines: Sequence[Line], least: float | None) -> str:
    def rounded(values: Sequence[float]) -> list[float]:
        return [float(f"{value:.5g}") for value in values]

    drawn = []
    for line in lines:
        band = line.band
        edges = {"low": rounded(band.low), "high": rounded(band.high)} if band.seeds > 1 else {}
        drawn.append({"name": line.name, "x": rounded(band.iterations), "y": rounded(band.mean), **edges})
    plot = {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM}
    return json.dumps({"lines": drawn, "least": least, "plot": plot}, allow_nan=False, separators=(",", ":"))
