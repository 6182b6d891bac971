"""A cell's values on one line: the published value with its margin, a dot per seed, their mean with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from harness.text import number
from reports.cell_report import CellReport
from reports.site.axes import Axis, drawing, horizontal, text

_WIDE, _HIGH, _BASE = 640, 118, 84
_ROOM = 30  # pixels at both ends
_DOT = 5  # radius
_FURTHEST = (
    6.0  # an interval is drawn up to so many times the span of everything else, else two seeds would hide the rest
)


@dataclass(frozen=True)
class _Marks:
    """What is drawn, in the printed unit."""

    values: tuple[float, ...]
    seeds: tuple[int, ...]
    paper: float | None
    printed: str
    margin: float
    interval: tuple[float, float] | None  # of the mean, as the verdict compared it


def number_line(cell: CellReport) -> str:
    """The drawing with its caption; '' where one glance at the numbers says as much: nothing measured, equal counts, times
    of two machines, one value with nothing published."""
    marks = _marks(cell)
    if marks is None:
        return ""
    axis = Axis(*_ends(marks), _ROOM, _WIDE - _ROOM)
    parts = horizontal(axis, _BASE)
    if marks.paper is not None:
        left, right = axis(marks.paper - marks.margin), axis(marks.paper + marks.margin)
        parts.append(
            f'<rect class="margin" x="{left:.1f}" y="24" width="{right - left:.1f}" height="{_BASE - 24}"/>'
            if marks.margin
            else ""
        )
        x = axis(marks.paper)
        parts.append(f'<line class="paper-line" x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{_BASE}"/>')
        parts.append(text(min(max(x, 70), _WIDE - 70), 14, f"published {marks.printed}"))
    parts += _mean(marks, axis)
    parts += _dots(marks, axis)
    caption = _caption(marks)
    # the words stand below the drawing, which a narrow screen makes small
    return f"<figure>{drawing(_WIDE, _HIGH, parts, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _marks(cell: CellReport) -> _Marks | None:
    pairs = [(v, s) for v, s in zip(cell.values, cell.seeds) if math.isfinite(v)]
    another_machine = cell.published is not None and not cell.metric.portable
    if not pairs or another_machine or (cell.published is None and len(pairs) < 2):
        return None
    paper, interval = None, None
    margin = cell.verdict.margin or 0.0
    if cell.published is not None:
        if cell.metric.exact and cell.text == cell.published.text:
            return None
        paper = cell.published.value
        margin = margin or (0.5 * 10.0**-cell.decimals if cell.metric.exact else 0.0)
        if cell.verdict.interval is not None and all(map(math.isfinite, cell.verdict.interval)):
            interval = (paper + cell.verdict.interval[0], paper + cell.verdict.interval[1])
    values, seeds = zip(*pairs)
    return _Marks(values, seeds, paper, cell.published_text, margin, interval)


def _ends(marks: _Marks) -> tuple[float, float]:
    drawn = [*marks.values]
    if marks.paper is not None:
        drawn += [marks.paper - marks.margin, marks.paper + marks.margin]
    low, high = min(drawn), max(drawn)
    span = (high - low) or abs(high) * 0.01 or 1.0
    if marks.interval is not None:
        low = max(min(low, marks.interval[0]), low - _FURTHEST * span)
        high = min(max(high, marks.interval[1]), high + _FURTHEST * span)
    room = 0.05 * ((high - low) or span)
    return low - room, high + room


def _mean(marks: _Marks, axis: Axis) -> list[str]:
    """The interval as a line with ends, and the mean as a diamond; an end outside the drawing has none."""
    y, parts = 66, []
    if marks.interval is not None:
        low, high = (min(max(end, axis.low), axis.high) for end in marks.interval)
        parts.append(f'<line class="interval" x1="{axis(low):.1f}" x2="{axis(high):.1f}" y1="{y}" y2="{y}"/>')
        for end, shown in zip(marks.interval, (low, high)):
            if end == shown:
                x = axis(end)
                parts.append(f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 5}" y2="{y + 5}"/>')
    if len(marks.values) > 1:
        x = axis(_mean_of(marks))
        parts.append(f'<path class="mean" d="M{x:.1f} {y - 7}l6 7l-6 7l-6 -7z"/>')
    return parts


def _dots(marks: _Marks, axis: Axis) -> list[str]:
    """A dot per seed; dots that would hide each other are put one above the other."""
    parts: list[str] = []
    places: list[tuple[float, int]] = []
    for value, seed in sorted(zip(marks.values, marks.seeds)):
        x, level = axis(value), 0
        while any(abs(x - other) < 1.6 * _DOT and level == at for other, at in places):
            level += 1
        places.append((x, level))
        y = 46 - 9 * (level % 3)
        parts.append(
            f'<circle class="seed" cx="{x:.1f}" cy="{y}" r="{_DOT}"><title>seed {seed}: {number(value, 6)}</title></circle>'
        )
    return parts


def _mean_of(marks: _Marks) -> float:
    return sum(marks.values) / len(marks.values)


def _caption(marks: _Marks) -> str:
    shown = ", ".join(number(v, 5) for v in marks.values[:8]) + (", …" if len(marks.values) > 8 else "")
    texts = []
    if marks.paper is not None:
        band = f"; band: ± {number(marks.margin)}, within which values count as equal" if marks.margin else ""
        texts.append(f"Line: published {marks.printed}{band}")
    texts.append(f"{'dots: seeds' if len(marks.values) > 1 else 'dot'}, measured {shown}")
    if len(marks.values) > 1:
        texts.append(f"diamond: their mean {number(_mean_of(marks), 5)}")
    if marks.interval is not None and marks.paper is not None:
        low, high = (f"{end - marks.paper:+.2f}".replace("-", "−") for end in marks.interval)
        texts.append(
            f"bar: the interval that the verdict compares with the band, {low} … {high} from the published value"
        )
    words = "; ".join(texts)
    return words[0].upper() + words[1:] + "."
