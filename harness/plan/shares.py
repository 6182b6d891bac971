"""How the batch of a training is shared by its processes: whether it divides, and whether the shares are worth a GPU each."""

from __future__ import annotations

from collections.abc import Iterable

from harness.jobs.job import Job
from harness.plan.planner import Plan
from harness.text import plural

SMALL = 4
"""Images per process and pass below which a GPU mostly waits: for its launches, and for the other processes' statistics."""


def block_uneven(plan: Plan, processes: int) -> None:
    """Blocks the trainings whose batch cannot be divided evenly among so many processes."""
    for job in plan.jobs.values():
        if job.kind != "train":
            continue
        batch, parts = job.config["recipe"]["batch_size"], job.config["recipe"]["accumulate"]
        if batch % (processes * parts):
            among = f"{processes} processes" + (f" in {parts} parts each" if parts > 1 else "")
            reason = f"its batch of {batch} images cannot be shared evenly by {among}; take a number that divides it"
            plan.blocked.setdefault(job.key, reason)


def warnings(jobs: Iterable[Job], processes: int) -> list[str]:
    """A line for each kind of trainings whose processes see very few images at once; none for a single process.

    Synchronised statistics are those of the whole batch all the same, and only time is lost; local ones are of these images
    alone, which moves numbers.
    """
    counts: dict[tuple[int, bool], int] = {}
    for job in jobs if processes > 1 else ():
        if job.kind == "train":
            recipe = job.config["recipe"]
            images = recipe["batch_size"] // (processes * recipe["accumulate"])
            if images < SMALL:
                kind = images, recipe["batch_norm"] == "local"
                counts[kind] = counts.get(kind, 0) + 1
    lines = []
    for (images, local), count in sorted(counts.items()):
        why = (
            "batch norm sees these alone (batch_norm: local), so the numbers differ from those of one process"
            if local
            else "the numbers are those of one process, but most of the time goes into waiting for each other"
        )
        lines.append(
            f"warning: {plural(count, 'training')} on {processes} processes of {plural(images, 'image')} each: {why}; "
            "fewer GPUs per job cost less (plan --gpu-memory GIB says how few hold the batch)"
        )
    return lines
