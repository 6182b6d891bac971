"""The jobs of a run that have not started: which are ready, in plan order, and which can never start."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from harness.jobs.job import Job
from harness.jobs.kinds import KINDS


class WaitingJobs:
    """Jobs that wait for others or for a place. A job is looked at when one that it needs ends, and not at every poll."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}  # by key, in plan order
        self._unfinished_needs: dict[str, set[str]] = {}
        self._dependents: dict[str, list[str]] = {}
        self._ready: list[tuple[bool, int, str]] = []  # a heap: ordinary jobs first, each kind in plan order
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job], running: Iterable[str] = ()) -> None:
        """Takes over jobs; what one needs is finished unless it is among them, or `running` (keys)."""
        jobs = list(jobs)
        self._jobs |= {job.key: job for job in jobs}
        unfinished = {*self._jobs, *running}
        for job in jobs:
            self._places[job.key] = len(self._places)
            needs = self._unfinished_needs[job.key] = {key for key in job.needs if key in unfinished}
            for key in needs:
                self._dependents.setdefault(key, []).append(job.key)
            if not needs:
                self._push(job)

    def first(self) -> Job | None:
        """The job to start next: one whose needs have finished, exclusive ones last. None where there is none."""
        while self._ready and self._ready[0][2] not in self._jobs:
            heapq.heappop(self._ready)
        return self._jobs[self._ready[0][2]] if self._ready else None

    def remove(self, job: Job) -> None:
        """Forgets a job that is started."""
        del self._jobs[job.key]

    def finished(self, key: str) -> None:
        """A job has finished: those that waited for it alone are ready."""
        for dependent in self._dependents.pop(key, ()):
            needs = self._unfinished_needs[dependent]
            needs.discard(key)
            if not needs and dependent in self._jobs:
                self._push(self._jobs[dependent])

    def failed(self, key: str) -> list[Job]:
        """A job has failed: forgets all jobs that need it, directly or not, and gives them, needed ones first."""
        skipped: list[Job] = []
        pending = [key]
        while pending:
            for dependent in self._dependents.pop(pending.pop(0), ()):
                job = self._jobs.pop(dependent, None)
                if job is not None:
                    skipped.append(job)
                    pending.append(dependent)
        return skipped

    def clear(self) -> None:
        """Forgets all."""
        self._jobs.clear()
        self._ready.clear()

    def _push(self, job: Job) -> None:
        heapq.heappush(self._ready, (KINDS[job.kind].exclusive, self._places[job.key], job.key))
