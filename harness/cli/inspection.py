"""How cells stand, and why one is not measured."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.text import printable

if TYPE_CHECKING:
    from harness.jobs.job import Job
    from harness.plan.planner import Plan
    from harness.plan.request import PlanRequest
    from harness.store.store import Result, Store

# ----------------------------------------------------------------------------------------------------- results folder


DEFAULT = Path("results")


def warn_of_absence(results: Path, *, default: bool = True) -> bool:
    """Whether there is no results folder, which is then said on standard error: its name may be mistyped. `default`: also of
    the folder that nobody has named."""
    if results.exists():
        return False
    if results == DEFAULT and not default:
        return True
    print(printable(f"warning: no results folder at {results}: nothing is measured there"), file=sys.stderr)
    return True


def plan_to_read(request: PlanRequest, *, default: bool = True) -> tuple[Plan, Store]:
    """The plan and store of a command that only reads: without a results folder it says so (see `warn_of_absence`), and creates
    none."""
    from harness.plan.request import plan_of

    if not warn_of_absence(request.results, default=default):
        return plan_of(request)
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch:
        return plan_of(request, cache=Path(scratch))


# ------------------------------------------------------------------------------------------------------------ status


def status_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> tuple[list[str], int]:
    """One line per cell and a count per status; and how many wanted cells a run would still have to measure.

    `queued`: how jobs stand that some cluster has, by key.
    """
    from reports.status import CellStatus, ResultReader, cell_status

    reader = ResultReader(plan, store, queued)
    found = [(cell, *cell_status(cell, reader)) for cell in plan.cells]
    width = max((len(cell.name) for cell in plan.cells), default=0)
    lines = [f"{cell.name:<{width}}  {_with_reason(status, reason)}" for cell, status, reason in found]
    counts = Counter(status for _, status, _ in found)
    lines.append(" · ".join(f"{count} {status}" for status, count in counts.most_common()))
    if plan.profile.comparable and any(cell.metric.trains and status.has_value for cell, status, _ in found):
        from reports.table_report import table_reports

        lines += [f"{report.table.id}: {report.headline}" for report in table_reports(plan, store) if report.headline]
    finished = (CellStatus.MEASURED, CellStatus.ABSENT)
    return lines, sum(cell.state == "run" and status not in finished for cell, status, _ in found)


def _with_reason(status: str, reason: str) -> str:
    return f"{status}: {reason}" if reason else f"{status}"


# --------------------------------------------------------------------------------------------------------------- why


def why_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None, name: str | None = None) -> list[str]:
    """How the plan's one cell stands; and of every repetition when it was measured, or what changed since it was.

    `name`: the cell as the commands that follow are to name it.
    """
    from harness.jobs.kinds import word
    from reports.status import CellStatus, ResultReader, cell_status

    (cell,) = plan.cells
    reader = ResultReader(plan, store, queued)
    status, reason = cell_status(cell, reader)
    lines = [_with_reason(status, reason)]
    if status == CellStatus.BLOCKED:
        reasons = next(filter(None, map(plan.reasons, cell.jobs)), [])
        lines += [each.detail for each in reasons if each.detail]
    for job in cell.jobs:
        result, stale = reader.result(job), store.stale(job)
        if result is not None:
            lines.append(f"measured on {_day(result)}, commit {_commit(result.environment)}: {result.folder}")
        elif stale is None:
            if status not in (CellStatus.INTERRUPTED, CellStatus.FAILED, CellStatus.NOT_RUN) or len(cell.jobs) > 1:
                lines.append("not measured: no job with this configuration has finished")
        else:
            newest = f"{_day(stale)}, commit {_commit(stale.environment)}"
            lines.append(f"not measured: its key differs from the newest measurement ({newest})")
            for kind, differences in reader.differences(stale, job):
                lines += [f"  needs   {word(kind)}, whose key changed:"] if kind != job.kind else []
                lines += [f"  {'' if kind == job.kind else '  '}{line}" for line in differences]
            lines += [f"  same    {same}"] if (same := _same_parts(job, stale)) else []
        if result is None:
            for member, stopped in reader.interruptions(job):
                said = str(stopped) in reason
                lines.append(f"{f'{word(member.kind)} in' if said else f'{stopped}:'} {store.folder(member)}")
    if status == CellStatus.FAILED:
        options = "" if plan.profile.name == "paper" else f" --profile {plan.profile.name}"
        lines.append(f"what it printed: python -m harness logs {name or cell.name}{options}")
        table, row, column = (name or cell.name).rsplit("/", 2)
        part = f"{table} --rows {row} --columns {column}{options}"
        lines.append(f"to try it again: python -m harness run {part} --retry-failed")
    return lines


def _same_parts(job: Job, old: Result) -> str:
    """The parts of a key that have not changed: `config, code (41 modules), data`."""
    from harness.jobs.key import PARTS

    before = old.job.parts
    same = [part for part in PARTS if part != "needs" and part in job.parts and before.get(part) == job.parts[part]]
    modules = f" ({len(job.parts['code'])} modules)" if "code" in same else ""
    return f"{', '.join(same)}{modules}"


def _day(result: Result) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(result.started))


def _commit(described) -> str:
    commit = described.get("commit") or "unknown"
    return commit[:7] + ("+" if described.get("dirty") else "")
