"""The record of submissions on the shared folder, complete enough for any front end to continue another's run.

    results/slurm/TOKEN/arrays/N.json   the jobs of one array, written before sbatch is called and again with its number
    results/slurm/TOKEN/notes/          what jobs report: N.INDEX.RESTART.started and .ended
    results/slurm/TOKEN/outcomes.jsonl  attempts that ended badly, and why: with the notes, the attempt table
    results/slurm/TOKEN/slurm/          sbatch scripts and Slurm's own output
    results/slurm/code/DIGEST/          snapshots of the code

A token sorts by time. Nothing is changed in place: files are written atomically, outcomes are appended.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.files import (
    append_jsonl,
    is_finite,
    is_word,
    output_errors,
    read_json,
    read_jsonl,
    write_json,
)
from harness.scheduler.slurm.causes import Silence
from harness.store.store import Store

_ARRAY = {"keys": [is_word], "tried": [{...: int}], "id": (is_word, None)}
_NOTE = {"exit?": int, "cause?": str, "requeued?": bool, ...: object}
_OUTCOME = {
    **{"array": int, "index": int, "key": is_word, "task": str, "cause": str, "detail": str, "node": str},
    **{"again": bool, "time": is_finite},
}


@dataclass
class Array:
    """Jobs submitted as one array (one job: as a plain job). `id` is Slurm's number once it is known."""

    folder: Path  # of the submission
    number: int
    keys: list[str]
    tried: list[dict[str, int]]  # how often each has met which cause before
    id: str | None = None

    @property
    def name(self) -> str:
        """The name of its jobs in Slurm, unlike any other's."""
        return f"{self.folder.name}-{self.number}"

    @property
    def file(self) -> Path:
        return self.folder / "arrays" / f"{self.number}.json"

    def write(self) -> None:
        record = {"keys": self.keys, "tried": self.tried, "id": self.id}
        write_json(self.file, record)

    @classmethod
    def read(cls, file: Path) -> Array | None:
        record = read_json(file, _ARRAY) if file.stem.isdecimal() else None
        if record is None:
            return None
        return cls(file.parent.parent, int(file.stem), record["keys"], record["tried"], record["id"])

    def task(self, index: int) -> str:
        """Slurm's id of one of its jobs."""
        assert self.id is not None
        return f"{self.id}_{index}" if len(self.keys) > 1 else self.id

    def attempts(self) -> Iterator[Attempt]:
        for index, (key, past_causes) in enumerate(zip(self.keys, self.tried)):
            yield Attempt(key, self, index, dict(past_causes))


@dataclass
class Attempt:
    """One attempt at a job: its place in an array and its reported state."""

    key: str
    array: Array
    index: int
    past_causes: dict[str, int] = field(default_factory=dict)
    restart: int = -1  # the last start that was reported; -1: none
    end_report: Mapping[str, Any] | None = None  # the report of that start's end
    gone_since: float | None = None  # monotonic time at which Slurm first called it over
    silence: Silence = field(default_factory=Silence)

    @property
    def has_started(self) -> bool:
        return self.restart >= 0

    @property
    def task(self) -> str:
        """What Slurm calls it."""
        return self.array.task(self.index)

    @property
    def prefix(self) -> str:
        """Of its notes."""
        return f"{self.array.number}.{self.index}"

    @property
    def log(self) -> Path:
        """Slurm's own output of the job."""
        return self.array.folder / "slurm" / f"{self.task}_0_log.err"


_TOKEN = "h%Y%m%d-%H%M%S-%f"  # and four random digits


def _moment(token: str) -> datetime.datetime | None:
    """When a submission was made, as its name says; None for a name that is none."""
    try:
        return datetime.datetime.strptime(token.rpartition("-")[0], _TOKEN)
    except ValueError:
        return None


class Ledger:
    """All submissions of one results folder."""

    def __init__(self, store: Store) -> None:
        self.root = store.root / "slurm"
        self.code = self.root / "code"
        self._notes: dict[Path, set[str]] = {}

    def new(self) -> Path:
        """The folder of a new submission; its name is the token."""
        earlier = [when for f in self.root.glob("h*") if (when := _moment(f.name)) is not None]
        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)
        if earlier:  # clocks are set back, and those of two front ends differ: what comes later is called later
            now = max(now, max(earlier) + datetime.timedelta(microseconds=1))
        folder = self.root / f"{now.strftime(_TOKEN)}-{uuid.uuid4().hex[:4]}"
        with output_errors(folder):
            for part in ("arrays", "notes", "slurm"):
                (folder / part).mkdir(parents=True)
        return folder

    def submissions(self) -> list[Path]:
        """Folders of submissions that are not over, oldest first."""
        folders = sorted(f.parent for f in self.root.glob("h*/arrays"))
        return [folder for folder in folders if not (folder / "closed").exists()]

    def arrays(self, folder: Path) -> list[Array]:
        files = sorted((f for f in (folder / "arrays").glob("*.json") if f.stem.isdecimal()), key=lambda f: int(f.stem))
        return [array for file in files if (array := Array.read(file)) is not None]

    def open_attempts(self) -> dict[str, Attempt]:
        """{key: its last attempt} of jobs whose attempt no front end has closed; finished ones may be among them."""
        entries: dict[str, Attempt] = {}
        for folder in self.submissions():
            over = {(o["array"], o["index"]) for o in self.outcomes(folder)}
            for array in self.arrays(folder):
                for attempt in array.attempts():
                    if (array.number, attempt.index) not in over:
                        entries[attempt.key] = attempt
        return entries

    def close(self, folder: Path) -> None:
        """Marks a submission as over."""
        with contextlib.suppress(OSError):
            (folder / "closed").touch()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One front end at a time decides what is submitted."""
        with output_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("w")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # -------------------------------------------------------------------------------------------------------- reports

    def news(self, folder: Path) -> list[tuple[str, int, str]]:
        """Notes of a submission that are new to this process: (prefix, restart, started | ended), in time's order."""
        names_read = self._notes.setdefault(folder, set())
        try:
            names = set(os.listdir(folder / "notes")) - names_read
        except OSError:
            return []
        names_read |= names
        entries = []
        for name in names:
            parts = name.split(".")
            if len(parts) == 4 and parts[2].isdigit() and parts[3] in ("started", "ended"):
                entries.append((f"{parts[0]}.{parts[1]}", int(parts[2]), parts[3]))
        return sorted(entries, key=lambda note: (note[0], note[1], note[2] != "started"))

    def forget(self, folder: Path) -> None:
        """The next `news` returns all notes again."""
        self._notes.pop(folder, None)

    def note(self, folder: Path, prefix: str, restart: int, kind: str) -> dict[str, Any]:
        return read_json(folder / "notes" / f"{prefix}.{restart}.{kind}", _NOTE) or {}

    def outcomes(self, folder: Path) -> list[dict[str, Any]]:
        """How attempts ended that left no result."""
        return read_jsonl(folder / "outcomes.jsonl", _OUTCOME)

    def waits(self, last: int = 20) -> list[float]:
        """Seconds that jobs of the last submissions waited for their first start, by the clock of the shared folder."""
        entries = []
        for folder in sorted(f.parent for f in self.root.glob("h*/arrays"))[-last:]:
            handed = {f.stem: f.stat().st_mtime for f in (folder / "arrays").glob("*.json")}
            for note in (folder / "notes").glob("*.0.started"):
                if (number := note.name.partition(".")[0]) in handed:
                    entries.append(max(0.0, note.stat().st_mtime - handed[number]))
        return entries

    def record(self, attempt: Attempt, cause: str, detail: str, *, again: bool, node: str = "") -> None:
        """Records how an attempt ended."""
        task = attempt.task if attempt.array.id is not None else ""
        outcome = AttemptOutcome(
            attempt.array.number, attempt.index, attempt.key, task, cause, detail, node, again, time.time()
        )
        append_jsonl(attempt.array.folder / "outcomes.jsonl", [asdict(outcome)])


@dataclass(frozen=True)
class AttemptOutcome:
    """A line of the attempt table. `again`: the job was submitted once more."""

    array: int
    index: int
    key: str
    task: str
    cause: str
    detail: str
    node: str
    again: bool
    time: float
