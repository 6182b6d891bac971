"""Which jobs of a run need which: what a job's request says of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.jobs.job import Job


class Relations:
    """The jobs of a run by key, each with those that need it. `folder`: where a job's files are."""

    def __init__(self, folder: Callable[[Job], Path]) -> None:
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._dependents: dict[str, dict[str, Job]] = {}

    def add(self, jobs: Mapping[str, Job]) -> None:
        self._jobs.update(jobs)
        for job in jobs.values():
            for key in job.needs:
                self._dependents.setdefault(key, {})[job.key] = job

    def of(self, job: Job) -> tuple[dict[str, str], dict[str, list[Any]]]:
        """The fields `needs` and `needed_by` of the job's request (harness.scheduler.worker)."""
        needed_by: dict[str, list[Any]] = {}
        for dependent in self._dependents.get(job.key, {}).values():
            needed_by.setdefault(dependent.kind, []).append(dependent.config)
        needed_jobs = (self._jobs[key] for key in job.needs)
        return {needed.kind: str(self._folder(needed)) for needed in needed_jobs}, needed_by
