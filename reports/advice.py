"""What to run next: how many more seeds would turn an inconclusive cell into a verdict, and at what price."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.plan.durations import work
from harness.text import duration, line, plural
from reports import commands, verdict
from reports.table_report import CellReport, TableReport


@dataclass(frozen=True)
class Step:
    """`seeds` more repetitions of a cell would decide it, if mean and spread stay, in about `seconds` of work."""

    row: str
    column: str
    seeds: int
    seconds: float


def steps(report: TableReport) -> list[Step]:
    """One step per inconclusive cell that more seeds can decide, cheapest first; nothing where no verdicts are given."""
    found = [
        Step(shown.row, shown.column, shown.verdict.more, shown.verdict.more * _price(shown))
        for shown in report
        if shown.verdict.word == verdict.INCONCLUSIVE and shown.verdict.more is not None
    ]
    return sorted(found, key=lambda step: (step.seconds, step.seeds, step.row, step.column))


def lines(sheets: Sequence[TableReport]) -> Iterator[str]:
    """What would decide, over several tables: cheapest first, with the command of each."""
    found = [(step, report) for report in sheets for step in steps(report)]
    found.sort(key=lambda entry: (entry[0].seconds, entry[0].seeds))
    count = plural(len(found), "inconclusive cell") if found else "no inconclusive cell"
    yield f"{count} that more seeds can decide" + (", cheapest first:" if found else "")
    for step, report in found:
        total = len(report.repetitions) + step.seeds
        profile = "" if report.profile.name == "paper" else f" --profile {report.profile.name}"
        yield f"   {report.table.id}/{step.row}/{step.column}: {plural(step.seeds, 'seed')} more, about {duration(step.seconds)}"
        only = f"--rows {shlex.quote(line(step.row))} --columns {shlex.quote(line(step.column))}"
        yield f"      python -m harness run {commands.table_path(report.table)}{profile} --seeds {total} {only}"


def _price(shown: CellReport) -> float:
    """Seconds of one repetition: its training and its test, as the mean of those that ran."""
    total = sum(work(result) for result in {r.job.key: r for r in (*shown.trainings, *shown.results)}.values())
    return total / len(shown.values)
