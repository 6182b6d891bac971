"""Scatter plot of measured against published values: a point per cell, and the line of equality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.stats.small_samples import t_quantile
from reports.cell_report import CellReport
from reports.figures import style
from reports.table_report import TableReport
from reports.verdict import ALPHA

_FEWEST = 3  # points of a panel: fewer are read off the table faster


def scatter(report: TableReport) -> tuple[Any, str] | None:
    """(figure, text alternative): a panel per metric that compares; None where none has three cells with both values.

    Lines through points are 90 % intervals of the mean over seeds; the band is the margin within which values count as
    equal; hollow points were measured on modules that were fitted to the published numbers.
    """
    panels = _panels(report)
    if not report.comparable or not panels:
        return None
    figure = style.canvas(3.6 * len(panels) + 0.4, 3.9)
    figure.set_layout_engine("compressed")  # squares side by side
    for i, (name, cells) in enumerate(panels.items()):
        _panel(figure.add_subplot(1, len(panels), i + 1), report, cells)
        figure.axes[i].set_title(style.label(name, 30))
    names = ", ".join(panels)
    any_fitted = any(_is_fitted(cell) for cells in panels.values() for cell in cells)
    tail = "; hollow points are fitted reconstructions" if any_fitted else ""
    return figure, f"Measured against published values with the line of equality, one panel per metric: {names}{tail}"


def _panels(report: TableReport) -> dict[str, list[CellReport]]:
    panels: dict[str, list[CellReport]] = {}
    for cell in report:
        has_both = cell.measured and cell.published is not None and math.isfinite(cell.mean)
        if has_both and cell.metric.portable and not cell.compared_row:
            panels.setdefault(f"{cell.metric.title} ({cell.metric.unit})", []).append(cell)
    return {name: cells for name, cells in panels.items() if len(cells) >= _FEWEST}


def _panel(ax: Any, report: TableReport, cells: Sequence[CellReport]) -> None:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    ends = _ends(cells)
    ax.plot(ends, ends, color=style.INK, linewidth=0.8, zorder=1)
    margin = max((cell.verdict.margin or 0.0 for cell in cells), default=0.0)
    if margin:
        low, high = ([end + sign * margin for end in ends] for sign in (-1, 1))
        ax.fill_between(ends, low, high, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)
    for i, column in enumerate(columns):
        look = {"color": style.COLOURS[i % len(style.COLOURS)], "marker": "osD^vP"[i // len(style.COLOURS) % 6]}
        label = style.label(report.table.columns[column].label or column, 20)
        for cell in (s for s in cells if s.column == column):
            assert cell.published is not None
            fill = "white" if _is_fitted(cell) else look["color"]
            error = _half(cell)
            ax.errorbar(
                cell.published.value, cell.mean, yerr=error, linestyle="", markersize=6, capsize=2, zorder=3,
                markerfacecolor=fill, label=label, **look,
            )  # fmt: skip
            label = "_nolegend_"
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.set_aspect("equal")
    ax.set_xlabel("published")
    ax.set_ylabel("measured")
    if len(columns) > 1:
        ax.legend(loc="upper left")


def _ends(cells: Sequence[CellReport]) -> tuple[float, float]:
    """Both axes: all points, and their intervals unless these are many times as wide (two seeds), with some room."""
    values = [v for s in cells if s.published is not None for v in (s.mean, s.published.value)]
    low, high = min(values), max(values)
    span = high - low or 1.0
    reach = [s.mean + sign * (_half(s) or 0.0) for s in cells for sign in (-1, 1)]
    low, high = max(min([low, *reach]), low - span), min(max([high, *reach]), high + span)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _half(cell: CellReport) -> float | None:
    """Half of the 90 % interval of the mean; None below two repetitions."""
    n = len(cell.values)
    if n < 2 or not math.isfinite(cell.deviation):
        return None
    return t_quantile(1 - ALPHA, n - 1) * cell.deviation / math.sqrt(n)


def _is_fitted(cell: CellReport) -> bool:
    return cell.provenance.get("evidence") == "fitted"
