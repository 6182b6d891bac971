"""Scores of this harness beside those of another toolbox that trained and tested the same rows, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.plan.planner import Plan, PlannedCell
from harness.store.store import Store

_NUMBERS = 4  # of the columns, the last ones


def comparison_rows(plan: Plan, store: Store, peer: str, peers: Sequence[PlannedCell]) -> list[tuple[str, ...]]:
    """The heads, then a row per cell: its name, its metric, the published number, ours, the peer's, and the difference,
    ours less the peer's; means over repetitions."""
    ours = {cell.name: cell for cell in plan.cells if cell not in peers}
    rows: list[tuple[str, ...]] = [("cell", "metric", "published", "ours", peer, "difference")]
    for cell in peers:
        own, other = (values(store, side) for side in (ours[cell.name], cell))
        printed = cell.cell.published.printed if cell.cell.published is not None else "–"
        paired = own and other and len(own) == len(cell.jobs) == len(other)
        difference = f"{fmean(own) - fmean(other):+.2f}" if paired else "–"
        metric = f"{cell.metric.title} ({cell.metric.unit})"
        rows.append((cell.name, metric, printed, _mean(own), _mean(other), difference))
    return rows


def markdown_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Heads and rows as a table in Markdown."""
    heads, *others = (f"| {' | '.join(row)} |" for row in rows)
    return [heads, f"|---|---|{'---:|' * _NUMBERS}", *others]


def terminal_lines(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Heads and rows as text, numbers below each other; where that is wider than the terminal, a cell's name has a line of its
    own above its numbers."""
    lines = _aligned(rows)
    if max(map(len, lines)) <= width:
        return lines
    head, *others = _aligned([row[1:] for row in rows])
    return [f"  {head}", *(text for row, line in zip(rows[1:], others) for text in (row[0], f"  {line}"))]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row: words begin and numbers end in the same column."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    words = len(widths) - _NUMBERS
    return [
        "  ".join(text.rjust(n) if i >= words else text.ljust(n) for i, (text, n) in enumerate(zip(row, widths)))
        for row in rows
    ]


def values(store: Store, cell: PlannedCell) -> list[float]:
    """What is measured of a cell, one number per finished repetition."""
    results = (store.result(job) for job in cell.jobs)
    found = (result.value(cell.metric.name) for result in results if result is not None)
    return [measurement.value for measurement in found if measurement is not None]


def _mean(numbers: Sequence[float]) -> str:
    count = f" (n = {len(numbers)})" if len(numbers) > 1 else ""
    return f"{fmean(numbers):.2f}{count}" if numbers else "–"
