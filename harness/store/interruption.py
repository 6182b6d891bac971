"""Work that has stopped half-way: how far a job came, what it goes on from, and how long the rest takes.

Known from what the job left in its folder: the lock of its process, its last progress, the names of its checkpoints.
Nothing is loaded to know it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.files import fits, is_finite, read_json
from harness.jobs.job import Job
from harness.jobs.kinds import word
from harness.store.lock import busy
from harness.text import duration

CHECKPOINT = re.compile(r"checkpoint-(\d{8})-[0-9a-f]{64}\.pt")
"""The names of a training's checkpoints; the number is that of iterations done."""

READING = "reading every file once"
"""The progress of a training that checks its data first: its numbers are files."""

_UNITS = {"train": "iterations", "evaluate": "images", "latency": "passes"}


_PROGRESS: dict[Any, Any] = {
    **dict.fromkeys(("done?", "total?", "rate?", "time?"), is_finite),
    **{"text?": str, "left?": (is_finite, None), ...: object},
}


def read_progress(folder: Path) -> dict[str, Any] | None:
    """What the job in a folder last said of its progress; None where it has said nothing that can be read."""
    progress: dict[str, Any] | None = read_json(folder / "progress.json")
    return progress if fits(progress, _PROGRESS) else None


@dataclass(frozen=True)
class Interruption:
    """A job whose process is gone and that has not ended. What is not known is None."""

    kind: str
    done: float | None = None  # of `total`, as it last said
    total: float | None = None
    phase: str = ""  # what it did before its first iteration
    saved: int | None = None  # iterations done when it last saved
    seconds_left: float | None = None  # of the work from there on, at the rate of the last attempt

    def __str__(self) -> str:
        """`train stopped at 6/40 iterations; resumes from 5; about 12.0 s left`."""
        unit = _UNITS.get(self.kind, "")
        where = f"at {_number(self.done)}/{_number(self.total)} {unit}".rstrip()
        if self.phase:
            where = f"while {self.phase} ({_number(self.done)}/{_number(self.total)})"
        elif self.done is None and self.total is None:
            where = "before it said how far it was"
        again = "starts over" if self.saved is None else f"resumes from {self.saved}"
        left = "" if self.seconds_left is None else f"; about {duration(self.seconds_left)} left"
        return f"{word(self.kind)} stopped {where}; {again}{left}"


def interruption(job: Job, folder: Path) -> Interruption | None:
    """How far the unfinished job in `folder` has come; None where no process has begun it, or one runs it now."""
    progress = read_json(folder / "progress.json")
    saved = saved_iterations(folder)
    if (progress is None and saved is None and not (folder / "lock").exists()) or busy(folder):
        return None
    record = progress or {}
    done, total = _amount(record.get("done")), _amount(record.get("total"))
    if record.get("text") == READING:
        return Interruption(job.kind, done, total, READING, saved)
    reached = (
        done if done is None else max(done, saved or 0)
    )  # it saves once more when it is asked to stop, and says no more
    return Interruption(job.kind, reached, total, "", saved, _seconds_left(record, done, total, saved))


def saved_iterations(folder: Path) -> int | None:
    """Iterations that the newest checkpoint in `folder` has done; None without one. Its content is not read."""
    found = [int(m[1]) for path in folder.glob("checkpoint-*.pt") if (m := CHECKPOINT.fullmatch(path.name))]
    return max(found, default=None)


def _seconds_left(
    record: Mapping[str, Any], done: float | None, total: float | None, saved: int | None
) -> float | None:
    """The work from the checkpoint on, by the time that the job gave itself, or by its rate (items per second)."""
    if done is None or total is None or not done < total:
        return None
    left, rate = _amount(record.get("left")), _amount(record.get("rate"))
    todo = total - (saved or 0)
    if left:
        return left / (total - done) * todo
    return todo / rate if rate and saved is None else None


def _amount(value: object) -> float | None:
    """A number that a record says; None where it says none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value < float("inf") else None  # type: ignore[operator, return-value]


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
