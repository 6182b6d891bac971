"""Advice on further runs: how many more seeds would decide an inconclusive cell, and at what cost."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.plan.durations import work
from harness.stats.sequential import LOOKS
from harness.text import duration, line, plural
from reports import commands, verdict
from reports.cell_report import CellReport
from reports.table_report import TableReport


@dataclass(frozen=True)
class Step:
    """`seeds` more repetitions of a cell would decide it, if mean and spread stay, in about `seconds` of work."""

    row: str
    column: str
    seeds: int
    seconds: float


def steps(report: TableReport) -> list[Step]:
    """One step per inconclusive cell that more seeds can decide, cheapest first; nothing where the profile has no verdicts."""
    candidates = [
        Step(cell.row, cell.column, cell.verdict.more, cell.verdict.more * _price(cell))
        for cell in report
        if cell.verdict.word == verdict.INCONCLUSIVE and cell.verdict.more is not None
    ]
    return sorted(candidates, key=lambda step: (step.seconds, step.seeds, step.row, step.column))


def lines(sheets: Sequence[TableReport]) -> Iterator[str]:
    """The steps of several tables as text, cheapest first, with the command of each."""
    all_steps = [(step, report) for report in sheets for step in steps(report)]
    all_steps.sort(key=lambda entry: (entry[0].seconds, entry[0].seeds))
    count = plural(len(all_steps), "inconclusive cell") if all_steps else "no inconclusive cell"
    yield f"{count} that more seeds can decide" + (", cheapest first:" if all_steps else "")
    for step, report in all_steps:
        total = len(report.repetitions) + step.seeds
        profile = "" if report.profile.name == "paper" else f" --profile {report.profile.name}"
        yield f"   {report.table.id}/{step.row}/{step.column}: {plural(step.seeds, 'seed')} more, about {duration(step.seconds)}"
        only = f"--rows {shlex.quote(line(step.row))} --columns {shlex.quote(line(step.column))}"
        yield f"      python -m harness run {commands.table_path(report.table)}{profile} --seeds {total} {only}"
    if all_steps:
        yield (
            f"Seeds may be added one by one and looked at each time, up to {LOOKS}: verdicts keep their error rates, for"
            " intervals 1.3 to 1.5 times as wide as those of a single look (docs/verdicts.md)"
        )


def _price(cell: CellReport) -> float:
    """Seconds of one repetition: its training and its test, as the mean of those that ran."""
    total = sum(work(result) for result in {r.job.key: r for r in (*cell.trainings, *cell.results)}.values())
    return total / len(cell.values)
