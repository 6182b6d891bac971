"""How cells stand, and why one is not measured."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan.planner import Cell, Plan
    from harness.store.store import Store

# ------------------------------------------------------------------------------------------------------------ status


def status_lines(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> tuple[list[str], int]:
    """One line per cell and a count per state; and how many wanted cells are not measured.

    `queued`: how jobs stand that some cluster has, by key.
    """
    states = [(cell, *cell_state(plan, store, cell, queued or {})) for cell in plan.cells]
    width = max((len(cell.name) for cell in plan.cells), default=0)
    lines = [f"{cell.name:<{width}}  {state}{f': {why}' if why else ''}" for cell, state, why in states]
    counts = Counter(state for _, state, _ in states)
    lines.append(" · ".join(f"{count} {state}" for state, count in counts.most_common()))
    return lines, sum(cell.state == "run" and state != "measured" for cell, state, _ in states)


def cell_state(plan: Plan, store: Store, cell: Cell, queued: Mapping[str, str] | None = None) -> tuple[str, str]:
    """(state, why): measured, partly measured, running, submitted, failed, cannot run here, to be measured, …"""
    from harness.files import read_json
    from harness.scheduler.worker import busy

    results = [store.result(job) for job in cell.jobs]
    done = sum(result is not None for result in results)
    if done and done == len(results):
        return "measured", ""
    if cell.state != "run":
        return cell.state, cell.reason
    jobs = [plan.jobs[key] for job in cell.jobs for key in (*job.needs, job.key)]
    unfinished = [job for job in jobs if store.result(job) is None]
    for job in unfinished:
        record = read_json(store.folder(job) / "progress.json")
        if record is not None and busy(store.folder(job)):
            return "running", f"{job.kind} {record['done']}/{record['total']}"
    queued = queued or {}
    for job in unfinished:
        # a test whose training failed has nothing to test, whatever its cluster still says of it
        in_vain = any(store.failure(plan.jobs[need]) is not None and need not in queued for need in job.needs)
        if job.key in queued and not in_vain:
            return "submitted", f"{job.kind} {queued[job.key]}"
    for job in unfinished:
        failure = store.failure(job)
        if failure is not None:
            return "failed", f"{failure.cause}: {failure.message}"
    for job in unfinished:
        reason = plan.reason(job)
        if reason is not None:
            return "cannot run here", reason
    if done:
        return "partly measured", f"{done} of {len(results)} repetitions"
    stale = any(store.stale(job) is not None for job in cell.jobs)
    return "to be measured", f"measured under another key (python -m harness why {cell.name})" if stale else ""


# --------------------------------------------------------------------------------------------------------------- why


def why_lines(plan: Plan, store: Store) -> list[str]:
    """Why the plan's one cell is or is not measured, and what of its key changed since it was."""
    (cell,) = plan.cells
    state, reason = cell_state(plan, store, cell)
    if not cell.jobs:
        return [f"{state}: {reason}"]
    lines = []
    for job in cell.jobs:
        result = store.result(job)
        if result is not None:
            day = time.strftime("%Y-%m-%d", time.localtime(result.started))
            lines.append(f"measured on {day}, commit {_commit(result.environment)}: {result.folder}")
            continue
        stale = store.stale(job)
        if stale is None:
            lines.append(f"not measured: {reason or 'no job with this configuration has run'}")
            continue
        day = time.strftime("%Y-%m-%d", time.localtime(stale.started))
        lines.append(
            f"not measured: its key differs from the newest measurement ({day}, commit {_commit(stale.environment)})"
        )
        lines += [f"  {line}" for line in _chain(plan, store, job, stale.job.parts)]
    return lines


def _chain(plan: Plan, store: Store, job, old_parts) -> Iterator[str]:
    """The changed parts of a key; where only a needed job's key changed, that job's changed parts."""
    from harness.jobs.key import changes

    for line in changes(old_parts, job.parts):
        if not line.startswith("needs"):
            yield line
    for key in job.needs:
        needed = plan.jobs[key]
        stale = store.stale(needed)
        if (old_parts.get("needs") or {}).get(needed.kind) != key and stale is not None:
            yield f"needs   {needed.kind}, whose key changed:"
            yield from (f"  {line}" for line in changes(stale.job.parts, needed.parts))
    same = [
        part
        for part in ("config", "code", "data", "weights")
        if part in job.parts and old_parts.get(part) == job.parts[part]
    ]
    if same:
        modules = f" ({len(job.parts['code'])} modules)" if "code" in same else ""
        yield f"same    {', '.join(same)}{modules}"


def _commit(described) -> str:
    commit = described.get("commit") or "unknown"
    return commit[:7] + ("+" if described.get("dirty") else "")
