"""Estimated duration of pending jobs from the stored durations of similar ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.jobs.job import Job
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


def durations(jobs: Sequence[Job], store: Store, *, device: str = "") -> dict[str, float | None]:
    """{key: seconds that the most similar finished jobs took, their median; None where nothing like it has run}.

    `device`: only what ran on this kind (cpu, cuda).
    """
    results_by_identity = {
        kind: [r for r in store.results(kind) if str(r.environment.get("device", "")).startswith(device)]
        for kind in {job.kind for job in jobs}
    }
    from statistics import median  # loads slowly

    by_job: dict[str, float | None] = {}
    for job in jobs:
        like = _similar(job, results_by_identity[job.kind])
        by_job[job.key] = median(map(work, like)) if like else None
    return by_job


def work(result: Result) -> float:
    """Seconds of a job; of one that was interrupted those of all its attempts, which a training adds up itself."""
    trained = result.value("train_seconds")
    return max(result.seconds, trained.value if trained is not None else 0.0)


def _similar(job: Job, results: Sequence[Result]) -> list[Result]:
    def traits(config: Mapping[str, Any]) -> list[Any]:
        model, data = config["model"], config.get("data") or {}
        return [
            config.get("profile"),
            config.get("convention"),
            config.get("input"),
            data,
            model["name"],
            model["options"],
        ]

    same = [r for r in results if r.job.identity == job.identity]
    job_traits = traits(job.config)
    for depth in (6, 5, 4):
        if same:
            return same
        same = [r for r in results if traits(r.job.config)[:depth] == job_traits[:depth]]
    return same
