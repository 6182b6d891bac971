"""Estimated duration of pending jobs from the stored durations of similar ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.jobs.job import Job
from harness.jobs.kinds import KINDS
from harness.store.store import Result, Store


@dataclass(frozen=True)
class Estimate:
    """Estimated duration of pending jobs: `seconds` of work for `known_jobs` of them; no job like the `unknown_jobs` has run."""

    seconds: float
    known_jobs: int
    unknown_jobs: int

    def wall(self, slots: int) -> float:
        """Seconds on `slots` parallel slots, if the work divides evenly."""
        return self.seconds / max(1, slots)


def estimate(jobs: Sequence[Job], store: Store) -> Estimate:
    """From stored durations of the most similar finished jobs; a job like no other is counted as unknown."""
    known_durations = [seconds for seconds in durations(jobs, store).values() if seconds is not None]
    return Estimate(sum(known_durations), len(known_durations), len(jobs) - len(known_durations))


def durations(jobs: Sequence[Job], store: Store, *, device: str = "", processes: int = 1) -> dict[str, float | None]:
    """{key: seconds that the most similar finished jobs took, their median; None where nothing like it has run}.

    `device`: only what ran on this kind (cpu, cuda), or this card (cuda: NVIDIA H200). `processes`: how many a training
    and a test will have; those that ran on fewer or more are taken to share the same work.
    """
    finished = {
        kind: _Finished(r for r in store.results(kind) if str(r.environment.get("device", "")).startswith(device))
        for kind in {job.kind for job in jobs}
    }
    by_job = {job.key: finished[job.kind].seconds_of_similar(job) for job in jobs}
    shared_by = {job.key: processes if KINDS[job.kind].trains else 1 for job in jobs}
    return {key: None if seconds is None else seconds / shared_by[key] for key, seconds in by_job.items()}


def work(result: Result) -> float:
    """Seconds of a job; of one that was interrupted those of all its attempts, which a training adds up itself."""
    trained = result.value("train_seconds")
    return max(result.seconds, trained.value if trained is not None else 0.0)


def processes_of(result: Result) -> int:
    """How many processes a job ran on, each with a GPU of its own where there are any."""
    return int(result.environment.get("processes", 1))


class _Finished:
    """Durations of finished jobs, times their processes, found by what they have in common with another; each lookup takes
    the same time."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._seconds: dict[str, list[float]] = {}
        for result in results:
            seconds = work(result) * processes_of(result)
            for likeness in _likenesses(result.job):
                self._seconds.setdefault(likeness, []).append(seconds)
        self._medians: dict[str, float] = {}

    def seconds_of_similar(self, job: Job) -> float | None:
        """The median of the jobs that have most in common with this one; None where none has enough."""
        for likeness in _likenesses(job):
            if likeness in self._medians:
                return self._medians[likeness]
            if likeness in self._seconds:
                from statistics import median  # loads slowly

                return self._medians.setdefault(likeness, median(self._seconds[likeness]))
        return None


def _likenesses(job: Job) -> Iterator[str]:
    """What similar jobs share, the most similar first: all of the configuration; all but the recipe and backbone; all but the
    method's options besides; all but the method, too."""
    config = job.config
    model, data = config.get("model") or {}, config.get("data") or {}
    name, options = model.get("name"), model.get("options")
    yield job.identity
    where = [config.get("profile"), config.get("convention"), config.get("input"), data]
    for traits in ([*where, name, options], [*where, name], where):
        yield json.dumps(traits, sort_keys=True)
