"""How a cell stands: one word for the commands `status` and `why`, for the reports and for the site.

Every repetition of a cell is a job with the jobs that it needs, so several things may be true of a cell at once. The
first of these holds:

1. `cited`, `awaits`: nothing is ever run for it.
2. `measured`: every repetition has a value; `partly`: some have, and the reason says how the others stand. Where the data are
   not here, a value counts that differs from the plan in nothing else, and the reason says that its key is not checked.
3. Of the repetitions without a value: `running` now; `submitted` to a cluster, which has not ended it; `failed`;
   `absent`, finished without measuring this; `unreadable`, a result that this version cannot read; `stale`, measured before
   code, data or weights changed; `on request`, not asked for; `blocked`, cannot run here; `interrupted`, stopped
   half-way (its process is gone) and waiting to be run again; `not run`.

What happens now comes before what has happened, and that before what has not. Work that has stopped half-way is said
behind the reason of whatever comes before it, so that no training that could go on is out of sight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum

from harness.jobs.job import Job
from harness.jobs.kinds import word
from harness.plan.planner import Plan, PlannedCell
from harness.store.changes import chain_differences, planned_chain, stored_chain
from harness.store.interruption import Interruption, interruption, read_progress
from harness.store.lock import busy
from harness.store.store import Failure, Result, Store
from harness.store.unchecked import unchecked_reason, unchecked_result


class CellStatus(StrEnum):
    """The vocabulary, in the order of precedence."""

    CITED = "cited"
    AWAITS = "awaits"
    MEASURED = "measured"
    PARTLY = "partly"
    RUNNING = "running"
    SUBMITTED = "submitted"
    FAILED = "failed"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    STALE = "stale"
    ON_REQUEST = "on request"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"

    @property
    def has_value(self) -> bool:
        """Whether there is a current value: of every repetition, or of some."""
        return self in (CellStatus.MEASURED, CellStatus.PARTLY)


class ResultReader:
    """The store through a plan's jobs; each result is read once however many cells show it.

    `queued`: how the jobs stand that some cluster has, by key.
    """

    def __init__(self, plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> None:
        self.plan, self.store, self.queued = plan, store, queued or {}
        self._results: dict[str, Result | None] = {}

    def result(self, job: Job) -> Result | None:
        """The job's result; where its data or weights are not here, the newest one that differs from it in nothing else."""
        if job.key not in self._results:
            result = self.store.result(job)
            self._results[job.key] = result or unchecked_result(job, self.plan.jobs, self.store)
        return self._results[job.key]

    def unchecked(self, job: Job) -> str:
        """What the job's result was found without, its data or weights, so that nobody knows whether they changed; or ''."""
        result = self.result(job)
        found = result is not None and result.job.key != job.key
        return unchecked_reason(job, self.plan.jobs) if found else ""

    def trainings(self, job: Job) -> list[Result]:
        """Of the job itself and of those it needs, the trainings that have finished."""
        found = [r for key in job.needs for r in self.trainings(self.plan.jobs[key])]
        own = self.result(job) if job.kind == "train" else None
        return [*found, own] if own is not None else found

    def unfinished(self, job: Job) -> Iterator[Job]:
        """Of the job and those that it needs, the ones without a result; the job itself comes first."""
        yield from (j for j in (job, *(self.plan.jobs[key] for key in job.needs)) if self.result(j) is None)

    def failure(self, job: Job) -> Failure | None:
        """Why the job, or one that it needs, failed."""
        return next((f for j in self.unfinished(job) if (f := self.store.failure(j)) is not None), None)

    def interruptions(self, job: Job) -> Iterator[tuple[Job, Interruption]]:
        """Of the job and those that it needs, the ones that have stopped half-way."""
        for member in self.unfinished(job):
            stopped = interruption(member, self.store.folder(member))
            if stopped is not None:
                yield member, stopped

    def stale(self, planned: PlannedCell) -> list[tuple[Job, Result, float]]:
        """(job, result under another key, its value as stored) of the repetitions without a current result."""
        name = planned.metric.name
        old = [
            (job, r) for job in planned.jobs if self.result(job) is None and (r := self.store.stale(job)) is not None
        ]
        return [(job, r, m.value) for job, r in old if (m := r.value(name)) is not None]

    def differences(self, old: Result, job: Job) -> Iterator[tuple[str, list[str]]]:
        """(kind, changed parts) of a planned job and of those that it needs since an older result."""
        jobs = self.plan.jobs
        return chain_differences(stored_chain(old, job, jobs, self.store), planned_chain(job, jobs))


def cell_status(planned: PlannedCell, reader: ResultReader) -> tuple[CellStatus, str]:
    """How a cell stands and why; '' where the word says it all. See the module's text for what comes first."""
    if planned.state in (CellStatus.CITED, CellStatus.AWAITS):
        return CellStatus(planned.state), planned.reason
    missing = [job for job in planned.jobs if not _has_value(job, planned, reader)]
    unchecked = next(filter(None, map(reader.unchecked, planned.jobs)), "")
    if not missing:
        return CellStatus.MEASURED, unchecked
    status, reason = _status_without_value(planned, missing, reader)
    count = len(planned.jobs) - len(missing)
    if not count:
        return status, reason
    others = f"{status} ({reason})" if reason else str(status)
    of = f"{count} of {len(planned.jobs)} repetitions{f' ({unchecked})' if unchecked else ''}"
    return CellStatus.PARTLY, f"{of}; the others: {others}"


def _has_value(job: Job, planned: PlannedCell, reader: ResultReader) -> bool:
    result = reader.result(job)
    return result is not None and result.value(planned.metric.name) is not None


def _status_without_value(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> tuple[CellStatus, str]:
    for status, why in _WITHOUT_VALUE.items():
        reason = why(planned, missing, reader)
        if reason is not None:
            half_way = _half_way(missing, reader, saved=status == CellStatus.FAILED) if status in _OVER else None
            return status, "; ".join(filter(None, (reason, half_way)))
    return CellStatus.NOT_RUN, "no job of this cell has finished"


def _running(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    for job in (j for m in missing for j in reader.unfinished(m)):
        folder = reader.store.folder(job)
        if busy(folder):
            progress = read_progress(folder)
            return f"{word(job.kind)} {_step(progress)}" if progress is not None else f"{word(job.kind)} starts"
    return None


def _submitted(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    failure, jobs = reader.store.failure, reader.plan.jobs
    for job in (j for m in missing for j in reversed([*reader.unfinished(m)])):
        # a test whose training failed has nothing to test, whatever its cluster still says of it
        in_vain = any(need not in reader.queued and failure(jobs[need]) is not None for need in job.needs)
        if job.key in reader.queued and not in_vain:
            return f"{word(job.kind)} {reader.queued[job.key]}"
    return None


def _failed(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    found = next((f for job in missing if (f := reader.failure(job)) is not None), None)
    return f"{found.cause}: {found.message}" if found is not None else None


def _absent(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    if all(reader.result(job) is None for job in missing):
        return None
    return f"the job finished without measuring {planned.metric.title}"


def _unreadable(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    store = reader.store
    if not any((store.folder(job) / "result.json").exists() for job in missing if reader.result(job) is None):
        return None
    return "its result was written by another version or is not whole; python -m harness run measures it again"


def _stale(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    measured = reader.stale(planned)
    if not measured:
        return None
    job, newest, _ = max(measured, key=lambda entry: entry[1].started)
    lines = list(dict.fromkeys(line for _, lines in reader.differences(newest, job) for line in lines))
    lines = [" ".join(line.split()) for line in lines or _changed_needs(newest, job)]
    more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
    return f"measured before a change: {'; '.join(lines[:3])}{more}"


def _changed_needs(old: Result, job: Job) -> list[str]:
    """Where no result is left that would tell what changed in a needed job."""
    before, after = old.job.parts.get("needs") or {}, job.parts.get("needs") or {}
    return [f"needs {word(kind)} changed" for kind in after if before.get(kind) != after[kind]] or ["another key"]


def _on_request(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    return planned.reason if planned.state == CellStatus.ON_REQUEST else None


def _blocked(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    found = next(filter(None, map(reader.plan.reasons, missing)), [])
    return "; and ".join(reason.summary for reason in found) or None


def _interrupted(planned: PlannedCell, missing: Sequence[Job], reader: ResultReader) -> str | None:
    return _half_way(missing, reader)


def _half_way(missing: Sequence[Job], reader: ResultReader, *, saved: bool = False) -> str | None:
    """The first of the jobs that has stopped half-way, and how far it came. `saved`: only one that has a checkpoint."""
    found = (stopped for job in missing for _, stopped in reader.interruptions(job))
    return next((str(stopped) for stopped in found if stopped.saved is not None or not saved), None)


def _step(progress: Mapping[str, object]) -> str:
    return f"{progress.get('done', '?')}/{progress.get('total', '?')}"


_WITHOUT_VALUE: dict[CellStatus, Callable[[PlannedCell, Sequence[Job], ResultReader], str | None]] = {
    CellStatus.RUNNING: _running,
    CellStatus.SUBMITTED: _submitted,
    CellStatus.FAILED: _failed,
    CellStatus.ABSENT: _absent,
    CellStatus.UNREADABLE: _unreadable,
    CellStatus.STALE: _stale,
    CellStatus.ON_REQUEST: _on_request,
    CellStatus.BLOCKED: _blocked,
    CellStatus.INTERRUPTED: _interrupted,
}
"""Why a cell has no value, in the order of precedence: each gives the reason, or None where it is not so."""

_OVER = (CellStatus.FAILED, CellStatus.UNREADABLE, CellStatus.STALE, CellStatus.ON_REQUEST, CellStatus.BLOCKED)
"""What may stand before work that has stopped half-way and says nothing of it."""
