"""Cells that rest on an incomplete dataset: not comparable with the paper, unless the table accepts it in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.data.completeness import Gap, gaps
from harness.jobs.job import Job
from harness.table.schema import Table


def unaccepted(jobs: Iterable[Job], table: Table) -> str:
    """What is missing of the data behind these jobs that the table does not accept, in words; '' where nothing is."""
    return "; ".join(str(gap) for gap in _gaps(jobs) if gap.dataset not in table.incomplete_data)


def accepted(jobs: Iterable[Job], table: Table) -> list[str]:
    """What the table accepts of what is missing, each with its reason."""
    reasons = table.incomplete_data
    return [f"{gap}, accepted: {reasons[gap.dataset]}" for gap in _gaps(jobs) if gap.dataset in reasons]


def warnings(jobs: Iterable[Job], table: Table) -> Iterator[str]:
    """A line for a report on what is missing of the data behind its numbers."""
    jobs = list(jobs)
    missing = unaccepted(jobs, table)
    if missing:
        yield (
            f"incomplete data, {missing}: what rests on it is not comparable with the paper, unless the table says why it may be "
            "('incomplete_data')"
        )
    for text in accepted(jobs, table):
        yield f"incomplete data, {text}"


def _gaps(jobs: Iterable[Job]) -> list[Gap]:
    return list(dict.fromkeys(gap for job in jobs for gap in gaps(job)))
