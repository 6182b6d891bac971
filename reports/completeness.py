"""What reports say of the data behind their numbers: whether they are here, and complete.

Cells that rest on an incomplete dataset are not comparable with the paper, unless the table accepts it in words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from harness.data.completeness import Gap, gaps
from harness.jobs.job import Job
from harness.store.unchecked import UNCHECKED
from harness.table.schema import Table
from harness.text import plural

_UNCHECKED = re.compile(rf"[a-z ]+, {UNCHECKED}")


class ReportedCell(Protocol):
    """What is asked of a cell's report (reports.cell_report.CellReport)."""

    @property
    def measured(self) -> bool: ...

    @property
    def reason(self) -> str: ...

    @property
    def measured_jobs(self) -> list[Job]: ...


def unaccepted(jobs: Iterable[Job], table: Table) -> str:
    """What is missing of the data behind these jobs that the table does not accept, in words; '' where nothing is."""
    return "; ".join(str(gap) for gap in _gaps(jobs) if gap.dataset not in table.incomplete_data)


def accepted(jobs: Iterable[Job], table: Table) -> list[str]:
    """What the table accepts of what is missing, each with its reason."""
    reasons = table.incomplete_data
    return [f"{gap}, accepted: {reasons[gap.dataset]}" for gap in _gaps(jobs) if gap.dataset in reasons]


def warnings(cells: Iterable[ReportedCell], table: Table) -> Iterator[str]:
    """Lines for a report on the data behind its numbers: what is not here to be checked, and what is missing."""
    measured = [cell for cell in cells if cell.measured]
    jobs = [job for cell in measured for job in cell.measured_jobs]
    unchecked = Counter(found[0] for cell in measured if (found := _UNCHECKED.search(cell.reason)))
    for reason, count in unchecked.items():
        yield f"{reason}: {count} of {plural(len(measured), 'measured cell')}"
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
