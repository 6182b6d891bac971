"""How long pending jobs will take, from how long similar ones took; and how times and counts are written for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.jobs.job import Job
from harness.store.store import Result, Store


@dataclass(frozen=True)
class Estimate:
    """How long the pending jobs will take: `seconds` of work for `known` jobs; nothing like the `unknown` ones ever ran."""

    seconds: float
    known: int
    unknown: int

    def wall(self, slots: int) -> float:
        """Seconds on `slots` parallel slots, if the work divides evenly."""
        return self.seconds / max(1, slots)


def estimate(jobs: Sequence[Job], store: Store) -> Estimate:
    """From stored durations of the most similar finished jobs; a job like no other is counted as unknown."""
    known = [seconds for seconds in durations(jobs, store).values() if seconds is not None]
    return Estimate(sum(known), len(known), len(jobs) - len(known))


def durations(jobs: Sequence[Job], store: Store, *, device: str = "") -> dict[str, float | None]:
    """{key: seconds that the most similar finished jobs took, their median; None where nothing like it has run}.

    `device`: only what ran on this kind (cpu, cuda).
    """
    finished = {
        kind: [r for r in store.results(kind) if str(r.environment.get("device", "")).startswith(device)]
        for kind in {job.kind for job in jobs}
    }
    from statistics import median  # loads slowly

    found: dict[str, float | None] = {}
    for job in jobs:
        like = _similar(job, finished[job.kind])
        found[job.key] = median(map(work, like)) if like else None
    return found


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
    wanted = traits(job.config)
    for depth in (6, 5, 4):
        if same:
            return same
        same = [r for r in results if traits(r.job.config)[:depth] == wanted[:depth]]
    return same
