"""The figures of one report, as SVG: training curves, and measured beside published."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reports import curves, style
from reports.sheet import Sheet, Shown

_ROWS_OF_PANELS = 3  # panels beside each other


@dataclass(frozen=True)
class Figure:
    """One drawn figure: its file name, its SVG, and what it shows in words."""

    name: str
    svg: str
    alternative: str


def draw(sheet: Sheet) -> list[Figure]:
    """The figures that the sheet has data for; none where nothing is measured."""
    with style.styled():
        return [figure for make in (_comparison, _curves) if (figure := make(sheet)) is not None]


def _panels(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure of `count` panels, each so many inches, at most three beside each other."""
    across = min(count, _ROWS_OF_PANELS)
    down = math.ceil(count / across)
    figure = style.canvas(width * across, height * down)
    axes = [figure.add_subplot(down, across, i + 1) for i in range(count)]
    return figure, axes


# --------------------------------------------------------------------------------------- measured beside published


def _comparison(sheet: Sheet) -> Figure | None:
    """A panel per measured column: bars for counts and times (as ratios where a reference row is set), dots for scores."""
    columns = [c for c in sheet.columns if any(_finite(s) for s in _column(sheet, c))]
    if not columns:
        return None
    lines = max(sum(map(_drawn, _column(sheet, c))) for c in columns)
    figure, axes = _panels(len(columns), 3.6, 0.85 + 0.27 * lines)
    published = False
    for ax, column in zip(axes, columns):
        cells = [s for s in _column(sheet, column) if _drawn(s)]
        published |= _panel(ax, sheet, column, cells)
    handles = [_square(style.MEASURED, "measured")]
    handles += [_square(style.PUBLISHED, "published")] if published else []
    figure.legend(handles=handles, loc="outside upper left", ncols=2, handlelength=1.0)
    names = ", ".join(style.label(sheet.table.columns[c].label or c) for c in columns)
    beside = "Measured beside published values" if published else "Measured values"
    alternative = f"{beside}, one panel per column: {names}"
    return Figure("measured.svg", style.svg(figure), alternative)


def _column(sheet: Sheet, column: str) -> list[Shown]:
    return [sheet.cells[row, column] for row in sheet.rows if (row, column) in sheet.cells]


def _finite(shown: Shown) -> bool:
    return shown.measured and math.isfinite(shown.mean)


def _drawn(shown: Shown) -> bool:
    return _finite(shown) or shown.published is not None


def _panel(ax: Any, sheet: Sheet, column: str, cells: Sequence[Shown]) -> bool:
    """Draws one column; returns whether published values are in it."""
    spec, measure = sheet.table.columns[column], sheet.table.measure_of(column)
    base = sheet.cells.get((spec.relative_to, column)) if spec.relative_to else None
    relative = base is not None and _finite(base) and base.mean > 0
    by = base.mean if relative and base is not None else 1.0
    paper_by = base.published.value if relative and base is not None and base.published is not None else 1.0
    compare = sheet.comparable and (measure.portable or relative)
    scores = not measure.exact and measure.portable
    several = compare and any(s.published is not None for s in cells)
    shift = 0.2 if several and not scores else 0.0
    for y, shown in enumerate(cells):
        if compare and shown.published is not None:
            _mark(ax, y + shift, shown.published.value / paper_by, None, style.PUBLISHED, dot=scores)
        if _finite(shown):
            _mark(ax, y - shift, shown.mean / by, _spread(shown, by), style.MEASURED, dot=scores)
    labels = [style.label(sheet.table.rows[s.row].label or s.row, 26) for s in cells]
    ax.set_yticks(range(len(cells)), labels)
    ax.set_ylim(len(cells) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")
    unit = (
        f"× {style.label(sheet.table.rows[spec.relative_to].label or spec.relative_to)}" if relative else measure.unit
    )
    ax.set_title(style.label(spec.label or column, 34) + (f" ({unit})" if unit else ""))
    if scores:
        ax.margins(x=0.08)
    else:
        ax.set_xlim(left=0)
    return several


def _mark(ax: Any, y: float, value: float, spread: tuple[float, float] | None, colour: str, *, dot: bool) -> None:
    if dot:
        ax.plot([value], [y], "o", color=colour, markersize=6 if colour == style.MEASURED else 9, zorder=3)
    else:
        ax.barh(y, value, height=0.36, color=colour, zorder=2)
    if spread is not None:
        ax.plot(spread, [y, y], color=style.INK, linewidth=1, zorder=4)


def _spread(shown: Shown, by: float) -> tuple[float, float] | None:
    """The line through a mark: quartiles of a time, one standard deviation to both sides of several seeds."""
    if shown.quartiles is not None:
        return shown.quartiles[0] / by, shown.quartiles[1] / by
    if len(shown.values) > 1:
        return (shown.mean - shown.deviation) / by, (shown.mean + shown.deviation) / by
    return None


def _square(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


# ------------------------------------------------------------------------------------------------ training curves


def _curves(sheet: Sheet) -> Figure | None:
    """Loss over iterations, a panel per set of trainings, a line per row, a band over seeds."""
    panels = list(_trained(sheet))
    if not panels:
        return None
    rows = list(dict.fromkeys(row for _, bands in panels for row in bands))
    figure, axes = _panels(len(panels), 3.6, 2.6)
    for ax, (column, bands) in zip(axes, panels):
        for row, band in bands.items():
            i = rows.index(row)
            colour, dash = (
                style.COLOURS[i % len(style.COLOURS)],
                style.DASHES[i // len(style.COLOURS) % len(style.DASHES)],
            )
            ax.plot(band.iterations, band.mean, color=colour, linestyle=dash, linewidth=1.4)
            if band.seeds > 1:
                ax.fill_between(band.iterations, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        ax.set_title(style.label(column, 34))
        ax.set_xlabel("iteration")
        ax.set_ylabel("training loss")
        ax.margins(x=0.01)
        if max(b.mean[0] for b in bands.values()) > 8 * min(min(b.mean) for b in bands.values()) > 0:
            ax.set_yscale("log")
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=style.COLOURS[i % len(style.COLOURS)],
            linestyle=style.DASHES[i // len(style.COLOURS) % len(style.DASHES)],
            label=style.label(sheet.table.rows[row].label or row),
        )
        for i, row in enumerate(rows)
    ]
    across = min(len(panels), _ROWS_OF_PANELS)
    figure.legend(handles=handles, loc="outside lower left", ncols=max(1, min(len(handles), 2 * across)))
    seeds = max(b.seeds for _, bands in panels for b in bands.values())
    band_text = f", bands over {seeds} seeds" if seeds > 1 else ""
    names = ", ".join(style.label(column) for column, _ in panels)
    return Figure("curves.svg", style.svg(figure), f"Training loss over iterations, a line per row{band_text}: {names}")


def _trained(sheet: Sheet) -> Iterator[tuple[str, dict[str, curves.Band]]]:
    """(label, {row: curve}) of every distinct set of trainings; columns that share theirs (mIoU, accuracy) are drawn once."""
    seen: set[tuple[str, ...]] = set()
    for column in sheet.columns:
        bands: dict[str, curves.Band] = {}
        keys: list[str] = []
        for shown in _column(sheet, column):
            found = curves.band([result.folder for result in shown.trainings])
            if found is not None:
                bands[shown.row] = found
                keys += [result.job.key for result in shown.trainings]
        if bands and tuple(keys) not in seen:
            seen.add(tuple(keys))
            yield _where(sheet, column), bands


def _where(sheet: Sheet, column: str) -> str:
    """What the trainings of a column are on: the column's name, or the dataset where several columns show one training."""
    name = sheet.table.recipe_of(column)
    same = [c for c in sheet.columns if sheet.table.recipe_of(c) == name]
    trained = [c for c in same if sheet.table.measure_of(c).kind in ("train", "evaluate")]
    if len(trained) > 1 and name in sheet.recipes:
        return sheet.recipes[name].dataset
    return sheet.table.columns[column].label or column
