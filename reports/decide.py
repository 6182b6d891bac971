"""What to run next: how many more seeds would turn an inconclusive cell into a verdict, and at what price."""

from __future__ import annotations

from dataclasses import dataclass

from reports import verdict
from reports.sheet import Sheet, Shown


@dataclass(frozen=True)
class Step:
    """`seeds` more repetitions of a cell would decide it, if mean and spread stay, in about `seconds` of work."""

    row: str
    column: str
    seeds: int
    seconds: float


def steps(sheet: Sheet) -> list[Step]:
    """One step per inconclusive cell that more seeds can decide, cheapest first; nothing where no verdicts are given."""
    found = [
        Step(shown.row, shown.column, shown.verdict.more, shown.verdict.more * _price(shown))
        for shown in sheet
        if shown.verdict.word == verdict.INCONCLUSIVE and shown.verdict.more is not None
    ]
    return sorted(found, key=lambda step: (step.seconds, step.seeds, step.row, step.column))


def _price(shown: Shown) -> float:
    """Seconds of one repetition: its training and its test, as the mean of those that ran."""
    total = sum(result.seconds for result in {r.job.key: r for r in (*shown.trainings, *shown.results)}.values())
    return total / len(shown.values)
