"""Measured against published values, a point per cell: with the line of equality, or as differences where these are so small
that every point would lie on that line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from harness.stats.small_samples import t_quantile
from reports.cell_report import CellReport
from reports.figures import style
from reports.table_report import TableReport
from reports.verdict import ALPHA

_FOUR_DIGITS = 5e-4  # of a value: what differs by less prints the same four digits, or nearly so
_FEWEST = 3  # points of a panel: fewer are read off the table faster


def scatter(report: TableReport) -> tuple[Any, str] | None:
    """(figure, text alternative): a panel per metric that compares; None where none has three cells with both values.

    Counts that print the published digits, or agree to four, show their relative differences; scores show differences
    in points where these are small beside the range of the values. Lines through points are 90 % intervals of the mean
    over seeds; the band is the margin within which values count as equal; hollow points were measured on modules that
    were fitted to the published numbers.
    """
    panels = _panels(report)
    if not report.comparable or not panels:
        return None
    figure = style.canvas(3.6 * len(panels) + 0.4, 3.9)
    figure.set_layout_engine("compressed")  # squares side by side
    for i, (name, cells) in enumerate(panels.items()):
        ax = figure.add_subplot(1, len(panels), i + 1)
        (_difference_panel if _shows_differences(cells) else _panel)(ax, report, cells)
        figure.axes[i].set_title(style.label(name, 30))
    names = ", ".join(panels)
    any_fitted = any(_is_fitted(cell) for cells in panels.values() for cell in cells)
    tail = "; hollow points are fitted reconstructions" if any_fitted else ""
    as_differences = [name for name, cells in panels.items() if _shows_differences(cells)]
    how = f" (as differences: {', '.join(as_differences)})" if as_differences else ""
    return (
        figure,
        f"Measured against published values with the line of equality, one panel per metric: {names}{how}{tail}",
    )


def _panels(report: TableReport) -> dict[str, list[CellReport]]:
    panels: dict[str, list[CellReport]] = {}
    for cell in report:
        has_both = cell.measured and cell.published is not None and math.isfinite(cell.mean)
        if has_both and cell.metric.portable and not cell.compared_row:
            panels.setdefault(f"{cell.metric.title} ({cell.metric.unit})", []).append(cell)
    return {name: cells for name, cells in panels.items() if len(cells) >= _FEWEST}


def _shows_differences(cells: Sequence[CellReport]) -> bool:
    """Whether every point would lie on the line of equality: counts that print the published digits or agree to four,
    scores whose typical difference is below a thirtieth of their range."""
    pairs = [
        (cell, cell.published, abs(cell.mean - cell.published.value)) for cell in cells if cell.published is not None
    ]
    if all(cell.metric.exact for cell in cells):
        return all(cell.text == p.text or gap <= _FOUR_DIGITS * abs(p.value) for cell, p, gap in pairs)
    published = [p.value for _, p, _ in pairs]
    return sorted(gap for _, _, gap in pairs)[len(pairs) // 2] < (max(published) - min(published)) / 30


def _difference_panel(ax: Any, report: TableReport, cells: Sequence[CellReport]) -> None:
    """Differences over published values: in percent of a count, in points of a score."""
    relative = all(cell.metric.exact for cell in cells)
    ax.axhline(0, color=style.INK, linewidth=0.8, zorder=1)
    margin = max((cell.verdict.margin or 0.0 for cell in cells), default=0.0)
    if margin:
        ax.axhspan(-margin, margin, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)

    def place(cell: CellReport) -> tuple[float, float]:
        assert cell.published is not None
        gap = cell.mean - cell.published.value
        return cell.published.value, 100 * gap / cell.published.value if relative else gap

    _points(ax, report, cells, place)
    ends = [
        abs(y) + (0.0 if relative else min(_half(cell) or 0.0, 3 * margin)) for cell in cells for _, y in (place(cell),)
    ]
    reach = 1.15 * max([*ends, 1.2 * margin, 10.0**-6])
    ax.set_ylim(-reach, reach)
    ax.margins(x=0.08)
    if not relative:
        ax.set_xlim(style.keep_percent(*ax.get_xlim()))
    ax.set_box_aspect(1)
    ax.set_xlabel("published")
    ax.set_ylabel("measured − published, %" if relative else "measured − published, points")
    style.few_ticks(ax.xaxis, 5)


def _panel(ax: Any, report: TableReport, cells: Sequence[CellReport]) -> None:
    ends = _ends(cells)
    ax.plot(ends, ends, color=style.INK, linewidth=0.8, zorder=1)
    margin = max((cell.verdict.margin or 0.0 for cell in cells), default=0.0)
    if margin:
        low, high = ([end + sign * margin for end in ends] for sign in (-1, 1))
        ax.fill_between(ends, low, high, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)

    def place(cell: CellReport) -> tuple[float, float]:
        assert cell.published is not None
        return cell.published.value, cell.mean

    _points(ax, report, cells, place)
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.set_aspect("equal")
    ax.set_xlabel("published")
    ax.set_ylabel("measured")


def _points(
    ax: Any,
    report: TableReport,
    cells: Sequence[CellReport],
    place: Callable[[CellReport], tuple[float, float]],
) -> None:
    """A point per cell where `place` puts it, a colour per column."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    for i, column in enumerate(columns):
        look = {"color": style.COLOURS[i % len(style.COLOURS)], "marker": "osD^vP"[i // len(style.COLOURS) % 6]}
        label = style.label(report.table.columns[column].label or column, 20)
        for cell in (s for s in cells if s.column == column):
            fill = "white" if _is_fitted(cell) else look["color"]
            error = _half(cell)
            ax.errorbar(
                *place(cell), yerr=error, linestyle="", markersize=6, capsize=2, zorder=3,
                markerfacecolor=fill, label=label, **look,
            )  # fmt: skip
            label = "_nolegend_"
    if len(columns) > 1:
        ax.legend(loc="best")


def _ends(cells: Sequence[CellReport]) -> tuple[float, float]:
    """Both axes: all points, and their intervals unless these are many times as wide (two seeds), with some room."""
    values = [v for s in cells if s.published is not None for v in (s.mean, s.published.value)]
    low, high = min(values), max(values)
    span = high - low or 1.0
    reach = [s.mean + sign * (_half(s) or 0.0) for s in cells for sign in (-1, 1)]
    low, high = max(min([low, *reach]), low - span), min(max([high, *reach]), high + span)
    room = 0.06 * (high - low) or 1.0
    ends = low - room, high + room
    return style.keep_percent(*ends) if all(cell.metric.unit == "%" for cell in cells) else ends


def _half(cell: CellReport) -> float | None:
    """Half of the 90 % interval of the mean; None below two repetitions."""
    n = len(cell.values)
    if n < 2 or not math.isfinite(cell.deviation):
        return None
    return t_quantile(1 - ALPHA, n - 1) * cell.deviation / math.sqrt(n)


def _is_fitted(cell: CellReport) -> bool:
    return cell.provenance.get("evidence") == "fitted"
