"""The interface of transports, which run jobs on this machine or on a Slurm cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.jobs.job import Job
from harness.store.store import Failure

State = Literal["started", "retried", "done", "failed", "interrupted", "skipped"]


SKIPPED = Failure("skipped", "a job that it needs did not finish")
"""The failure of a job that was never started."""


@dataclass(frozen=True)
class Event:
    """A change of a job's state. `retried`: an attempt failed and the job runs again; `skipped`: one that it needs failed."""

    job: Job
    state: State
    failure: Failure | None = None


class Transport(Protocol):
    """Where jobs run. The front end hands over all jobs (needed ones first) and then listens; it may die and come back."""

    def start(self, jobs: Sequence[Job], among: Mapping[str, Job]) -> None:
        """Takes over these jobs of a plan (`among`). Each runs when the jobs that it needs have finished."""

    def events(self, timeout: float) -> list[Event]:
        """What has happened since the last call; waits up to `timeout` seconds for something to happen."""

    def active(self) -> bool:
        """Whether any job is still waiting or running."""

    def stop(self) -> None:
        """Asks running jobs to save and stop, and forgets waiting ones; further events say how they ended."""

    def close(self) -> None:
        """Frees everything, ending what still runs."""
