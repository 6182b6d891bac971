"""Scores of this harness beside those of another toolbox that trained and tested the same rows, as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.plan.planner import Plan, PlannedCell
from harness.store.store import Store


def comparison_lines(plan: Plan, store: Store, peer: str, peers: Sequence[PlannedCell]) -> list[str]:
    """A line per cell: the published number, ours, the peer's, and ours less the peer's; means over repetitions."""
    ours = {cell.name: cell for cell in plan.cells if cell not in peers}
    lines = [f"| cell | metric | published | ours | {peer} | ours − {peer} |", "|---|---|---:|---:|---:|---:|"]
    for cell in peers:
        own, other = (values(store, side) for side in (ours[cell.name], cell))
        printed = cell.cell.published.printed if cell.cell.published is not None else "–"
        paired = own and other and len(own) == len(cell.jobs) == len(other)
        difference = f"{fmean(own) - fmean(other):+.2f}" if paired else "–"
        metric = f"{cell.metric.title} ({cell.metric.unit})"
        lines.append(f"| {cell.name} | {metric} | {printed} | {_mean(own)} | {_mean(other)} | {difference} |")
    return lines


def values(store: Store, cell: PlannedCell) -> list[float]:
    """What is measured of a cell, one number per finished repetition."""
    results = (store.result(job) for job in cell.jobs)
    found = (result.value(cell.metric.name) for result in results if result is not None)
    return [measurement.value for measurement in found if measurement is not None]


def _mean(numbers: Sequence[float]) -> str:
    count = f" (n = {len(numbers)})" if len(numbers) > 1 else ""
    return f"{fmean(numbers):.2f}{count}" if numbers else "–"
