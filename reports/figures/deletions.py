"""How often a training's method picked each class, a row beside another: IDRNet's Figure 4, from counts the runs stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.stats.small_samples import mean
from harness.store.store import Result
from reports.figures import style
from reports.table_report import TableReport

COUNT_METRICS = ("deletions", "updates")
"""Measurements NAME/CLASS that say how often a class was picked: deleted to be diagnosed, or updated by a gradient."""

MAX_NAMES = 40
"""Up to so many classes have their names on the axis; more are drawn as a line over their rank."""


@dataclass(frozen=True)
class Frequencies:
    """Shares in %, one list per training (seed) in the order of `classes`."""

    classes: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(mean(column) for column in zip(*self.shares))

    @property
    def evenness(self) -> float:
        """Entropy of the mean shares over that of equal ones: 1 when every class is picked equally often, 0 when one is."""
        parts = [share / 100 for share in self.mean if share > 0]
        return -sum(p * math.log(p) for p in parts) / math.log(len(self.classes)) if len(self.classes) > 1 else 1.0


def counts(result: Result) -> dict[str, float]:
    """{class: how often} of one training, classes in the method's order; {} where nothing was counted."""
    by_class: dict[str, float] = {}
    for measurement in result.measurements:
        name, _, label = measurement.name.partition("/")
        if name in COUNT_METRICS and label:
            by_class[label] = measurement.value
    return by_class


def frequencies(trainings: Sequence[Result]) -> Frequencies | None:
    """The shares of one cell's trainings; None where one has no counts, or counted other classes or nothing at all."""
    per_training = [counts(result) for result in trainings]
    if (
        not per_training
        or not per_training[0]
        or any(c.keys() != per_training[0].keys() or sum(c.values()) <= 0 for c in per_training)
    ):
        return None
    shares = tuple(tuple(100 * value / sum(c.values()) for value in c.values()) for c in per_training)
    return Frequencies(tuple(per_training[0]), shares)


def by_column(report: TableReport) -> dict[str, dict[str, Frequencies]]:
    """{column: {row: shares}} of the columns in which at least two rows counted; of those that share trainings the first."""
    columns: dict[str, dict[str, Frequencies]] = {}
    keys_drawn: set[tuple[str, ...]] = set()
    for column in report.columns:
        cells = [report.cells[row, column] for row in report.rows if (row, column) in report.cells]
        rows = {
            cell.row: row_frequencies for cell in cells if (row_frequencies := frequencies(cell.trainings)) is not None
        }
        keys = tuple(t.job.key for cell in cells if cell.row in rows for t in cell.trainings)
        if (
            len(rows) > 1
            and keys not in keys_drawn
            and len({row_frequencies.classes for row_frequencies in rows.values()}) == 1
        ):
            keys_drawn.add(keys)
            columns[column] = rows
    return columns


def order(rows: Mapping[str, Frequencies]) -> list[int]:
    """Classes from often to seldom picked, by the row that picks least evenly: it shows how common each class is."""
    least = min(rows.values(), key=lambda row_frequencies: row_frequencies.evenness)
    return sorted(range(len(least.classes)), key=lambda k: -least.mean[k])


def figure(report: TableReport) -> tuple[Any, str] | None:
    """(figure, text alternative); None where fewer than two rows of a column counted classes."""
    columns = by_column(report)
    if not columns:
        return None
    rows = list(dict.fromkeys(row for panel in columns.values() for row in panel))
    few = all(len(next(iter(panel.values())).classes) <= MAX_NAMES for panel in columns.values())
    canvas = style.canvas(9.5, (2.9 if few else 2.4) * len(columns) + 0.3)
    for i, (column, shares) in enumerate(columns.items()):
        _panel(canvas.add_subplot(len(columns), 1, i + 1), report, column, shares, rows)
    handles, labels = canvas.axes[0].get_legend_handles_labels()
    if few or handles:
        canvas.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 4))
    for ax in canvas.axes:
        if ax.get_legend() is not None:
            ax.get_legend().remove()
    names = ", ".join(style.plain(report.table.columns[c].label or c) for c in columns)
    words = "; ".join(
        f"{style.plain(report.table.columns[c].label or c)}: "
        + ", ".join(f"{style.plain(report.table.row(r).name)} {f.evenness:.3f}" for r, f in shares.items())
        for c, shares in columns.items()
    )
    seeds = max(len(f.shares) for shares in columns.values() for f in shares.values())
    spread = f", with the range over {seeds} seeds" if seeds > 1 else ""
    return (
        canvas,
        f"How often each class was picked in training, a colour per row{spread}: {names}. Evenness (1 is equal): {words}",
    )


def _panel(ax: Any, report: TableReport, column: str, shares: Mapping[str, Frequencies], rows: Sequence[str]) -> None:
    import pandas
    import seaborn

    places = order(shares)
    classes = next(iter(shares.values())).classes
    has_names = len(classes) <= MAX_NAMES
    looks = {style.label(report.table.row(r).name): style.COLOURS[i % len(style.COLOURS)] for i, r in enumerate(rows)}
    records = [
        {"class": style.label(classes[k], 20) if has_names else rank, "share": values[k], "row": _label(report, row)}
        for row, row_frequencies in shares.items()
        for values in row_frequencies.shares
        for rank, k in enumerate(places, start=1)
    ]
    frame = pandas.DataFrame(records)
    draw = seaborn.barplot if has_names else seaborn.lineplot
    extra = {"err_kws": {"linewidth": 0.8}} if has_names else {"linewidth": 1.2}
    draw(frame, x="class", y="share", hue="row", errorbar=_range, palette=looks, ax=ax, **extra)
    ax.axhline(100 / len(classes), color=style.INK, linewidth=0.7, linestyle=(0, (4, 3)), label="equal shares")
    ax.set_title(style.label(report.table.columns[column].label or column))
    ax.set_xlabel("" if has_names else f"{len(classes)} classes, most often picked first")
    ax.set_ylabel("share of picks (%)")
    ax.grid(visible=False, axis="x")
    if has_names:
        ax.tick_params(axis="x", rotation=50, length=0)
        for text in ax.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")


def _range(values: Any) -> tuple[float, float]:
    """From the smallest to the largest over seeds; a deviation to both sides would reach below nothing."""
    return min(values), max(values)


def _label(report: TableReport, row: str) -> str:
    return style.label(report.table.row(row).name)
