"""The figures of one report, as SVG: measured beside published, per-class gains, cost, and training curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.jobs.tasks import SEGMENTATION
from reports.cell_report import CellReport
from reports.figures import curves, deletions, features, per_class, scatter, style
from reports.table_report import TableReport


@dataclass(frozen=True)
class Figure:
    """A figure: file name, SVG and text alternative."""

    name: str
    svg: str
    alternative: str


def draw(report: TableReport) -> list[Figure]:
    """The figures that the report has data for; none where nothing is measured."""
    with style.styled():
        makes = (_comparison, _agreement, _classes, _cost, _predictions_figure, _curves)
        figures = [figure for make in makes if (figure := make(report)) is not None]
        return figures + [Figure(name, style.svg(canvas), words) for name, canvas, words in features.figures(report)]


def _agreement(report: TableReport) -> Figure | None:
    return _figure_or_none("agreement.svg", scatter.scatter(report))


def _classes(report: TableReport) -> Figure | None:
    return _figure_or_none("classes.svg", per_class.classes(report))


def _cost(report: TableReport) -> Figure | None:
    return _figure_or_none("cost.svg", per_class.cost(report))


def _predictions_figure(report: TableReport) -> Figure | None:
    return _figure_or_none("frequency.svg", deletions.figure(report))


def _figure_or_none(name: str, canvas_and_words: tuple[Any, str] | None) -> Figure | None:
    return Figure(name, style.svg(canvas_and_words[0]), canvas_and_words[1]) if canvas_and_words is not None else None


# --------------------------------------------------------------------------------------- measured beside published


def _comparison(report: TableReport) -> Figure | None:
    """A panel per measured column: bars for counts and times (as ratios where a reference row is set), dots for scores."""
    columns = [c for c in report.columns if any(_finite(s) for s in _column(report, c))]
    if not columns:
        return None
    rows = [r for r in report.rows if any(_is_drawn(report.cells[r, c]) for c in columns if (r, c) in report.cells)]
    across = min(len(columns), 5)
    down = math.ceil(len(columns) / across)
    labels = [style.label(report.table.row(row).name, 36) for row in rows]
    width = 2.15 * across + 0.075 * max(map(len, labels))
    figure = style.canvas(max(4.5, width), (0.75 + 0.29 * len(rows)) * down + 0.25)
    legend_keys: set[str] = set()
    for i, column in enumerate(columns):
        ax = figure.add_subplot(down, across, i + 1)
        legend_keys |= _panel(ax, report, column, rows)
        ax.set_yticks(range(len(rows)), labels if i % across == 0 else [])
        ax.tick_params(axis="y", length=0)
    if legend_keys != {"measured"}:
        handles = [_handle(kind) for kind in _LOOKS if kind in legend_keys]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=1.2)
    names = ", ".join(style.plain(report.table.columns[c].label or c) for c in columns)
    beside = "Measured beside published values" if "published" in legend_keys else "Measured values"
    return Figure("measured.svg", style.svg(figure), f"{beside}, a line per row, one panel per column: {names}")


_LOOKS: dict[str, dict[str, Any]] = {
    "measured": {"facecolor": style.MEASURED, "edgecolor": style.MEASURED},
    "measured on a fitted reconstruction": {"facecolor": style.FITTED, "edgecolor": style.MEASURED},
    "published": {"facecolor": style.PUBLISHED, "edgecolor": style.PUBLISHED},
    "quartiles, or one standard deviation": {},
}
_MEASURED, _FITTED, _PUBLISHED, _SPREAD = _LOOKS


def _handle(kind: str) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return Patch(label=kind, **_LOOKS[kind]) if _LOOKS[kind] else Line2D([], [], color=style.INK, lw=1, label=kind)


def _column(report: TableReport, column: str) -> list[CellReport]:
    return [report.cells[row, column] for row in report.rows if (row, column) in report.cells]


def _finite(cell: CellReport) -> bool:
    return cell.measured and math.isfinite(cell.mean)


def _is_drawn(cell: CellReport) -> bool:
    return _finite(cell) or cell.published is not None


def _panel(ax: Any, report: TableReport, column: str, rows: Sequence[str]) -> set[str]:
    """Draws one column; returns the kinds of marks in it."""
    spec, metric = report.table.columns[column], report.table.column(column).metric
    base = report.cells.get((spec.relative_to, column)) if spec.relative_to else None
    relative = base is not None and _finite(base) and base.mean > 0
    by = base.mean if relative and base is not None else 1.0
    paper_by = base.published.value if relative and base is not None and base.published is not None else 1.0
    compare = report.comparable and (metric.portable or relative)
    dots = not metric.exact and metric.portable
    cells = {y: report.cells[row, column] for y, row in enumerate(rows) if (row, column) in report.cells}
    several = compare and any(cell.published is not None for cell in cells.values())
    shift = 0.2 if several and not dots else 0.0
    kinds: set[str] = set()
    for y, cell in cells.items():
        if compare and cell.published is not None:
            kinds.add(_mark(ax, y + shift, cell.published.value / paper_by, None, _PUBLISHED, dot=dots))
        if _finite(cell):
            kind = _FITTED if cell.provenance.get("evidence") == "fitted" and compare else _MEASURED
            spread = _spread(cell, by)
            kinds |= {_mark(ax, y - shift, cell.mean / by, spread, kind, dot=dots), *([_SPREAD] if spread else [])}
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")
    to = report.table.row(spec.relative_to).name if relative and spec.relative_to else ""
    unit = f"× {style.label(to, 16)}" if to else metric.unit
    ax.set_title(style.label(spec.label or column, 24) + (f" ({unit})" if unit else ""))
    if dots:
        ax.margins(x=0.08)
        if metric.unit == "%":
            ax.set_xlim(style.keep_percent(*ax.get_xlim()))
    else:
        ax.set_xlim(left=0)
    style.few_ticks(ax.xaxis, 3)
    return kinds


def _mark(ax: Any, y: float, value: float, spread: tuple[float, float] | None, kind: str, *, dot: bool) -> str:
    look = _LOOKS[kind]
    if dot:
        size = 9 if kind == _PUBLISHED else 6
        ax.plot([value], [y], "o", mfc=look["facecolor"], mec=look["edgecolor"], markersize=size, zorder=3)
    else:
        ax.barh(y, value, height=0.36, linewidth=0.8, zorder=2, **look)
    if spread is not None:
        ax.plot(spread, [y, y], color=style.INK, linewidth=1, zorder=4)
    return kind


def _spread(cell: CellReport, by: float) -> tuple[float, float] | None:
    """The line through a mark: quartiles of a time, one standard deviation to both sides of several seeds."""
    if cell.quartiles is not None:
        return cell.quartiles[0] / by, cell.quartiles[1] / by
    if len(cell.values) > 1:
        return (cell.mean - cell.deviation) / by, (cell.mean + cell.deviation) / by
    return None


# ------------------------------------------------------------------------------------------------ training curves


def _curves(report: TableReport) -> Figure | None:
    """Loss over iterations, a panel per set of trainings, a line per row, a band over seeds; mIoU where they were tested."""
    panels = list(_training_panels(report))
    if not panels:
        return None
    rows = list(dict.fromkeys(row for panel in panels for row in panel.bands))
    looks = {row: style.line_look(i) for i, row in enumerate(rows)}
    across = 2 if len(panels) in (2, 4) else min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure = style.canvas({1: 6.0, 2: 9.0, 3: 10.8}[across], 2.7 * down + 0.2 * math.ceil(len(rows) / (2 * across)))
    for i, panel in enumerate(panels):
        _lines(figure.add_subplot(down, across, i + 1), panel, looks, last=i + across >= len(panels))
    from matplotlib.lines import Line2D

    labels = [style.label(report.table.row(row).name) for row in rows]
    handles = [Line2D([], [], label=label, **looks[row]) for row, label in zip(rows, labels)]
    figure.legend(handles=handles, loc="outside lower left", ncols=max(1, min(len(handles), 2 * across)))
    seeds = max(band.seeds for panel in panels for band in panel.bands.values())
    band_text = f", bands over {seeds} seeds" if seeds > 1 else ""
    names = ", ".join(style.label(panel.title) for panel in panels)
    return Figure("curves.svg", style.svg(figure), f"Training loss over iterations, a line per row{band_text}: {names}")


@dataclass(frozen=True)
class _Panel:
    """Curves of one quantity, by row. `quantity`: what the axis says."""

    title: str
    quantity: str
    bands: dict[str, curves.Band]
    tested: bool


def _lines(ax: Any, panel: _Panel, looks: dict[str, dict[str, Any]], *, last: bool) -> None:
    bands = panel.bands
    for row, band in bands.items():
        ax.plot(band.iterations, band.mean, linewidth=1.4, **looks[row])
        if band.seeds > 1:
            ax.fill_between(band.iterations, band.low, band.high, color=looks[row]["color"], alpha=0.15, linewidth=0)
    ax.set_title(style.label(panel.title, 34))
    ax.set_xlabel("iteration" if last else "")
    ax.set_ylabel(style.label(panel.quantity, 34))
    ax.margins(x=0.01)
    style.iteration_ticks(ax.xaxis)
    if panel.tested:
        ax.set_ylim(style.keep_percent(*ax.get_ylim()))
    highest, lowest = max(b.mean[0] for b in bands.values()), min(min(b.mean) for b in bands.values())
    if not panel.tested and 0 < lowest < highest / 8:
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())


def _training_panels(report: TableReport) -> Iterator[_Panel]:
    """Losses of every distinct set of trainings by what all of them add up, then their scores while training."""
    columns = dict(_training_columns(report))
    for column, cells in columns.items():
        loss = curves.comparable_loss(result.folder for cell in cells for result in cell.trainings)
        if bands := _bands(cells, loss.key):
            yield _Panel(_where(report, column), loss.words[0].lower() + loss.words[1:], bands, tested=False)
    for column, cells in columns.items():
        if bands := _bands(cells, SEGMENTATION.headline):
            yield _Panel(f"{_where(report, column)}, tested while training", "mIoU, %", bands, tested=True)


def _bands(cells: Sequence[CellReport], key: str) -> dict[str, curves.Band]:
    found = ((cell.row, curves.band([result.folder for result in cell.trainings], key)) for cell in cells)
    return {row: band for row, band in found if band is not None}


def _training_columns(report: TableReport) -> Iterator[tuple[str, list[CellReport]]]:
    """The trained cells of every column; columns that share their trainings (mIoU, accuracy) are drawn once."""
    keys_drawn: set[tuple[str, ...]] = set()
    for column in report.columns:
        cells = [cell for cell in _column(report, column) if cell.trainings]
        keys = tuple(result.job.key for cell in cells for result in cell.trainings)
        if cells and keys not in keys_drawn:
            keys_drawn.add(keys)
            yield column, cells


def _where(report: TableReport, column: str) -> str:
    """The title of a column's trainings: the column's name, or the dataset where several columns show one training."""
    name = report.table.column(column).recipe
    same = [c for c in report.columns if report.table.column(c).recipe == name]
    trained = [c for c in same if report.table.column(c).metric.trains]
    if len(trained) > 1 and name is not None and name in report.recipes:
        return report.recipes[name].dataset
    return report.table.columns[column].label or column
