"""Storage of measurements: a folder per job, a JSON file per finished job.

    results/jobs/KIND/IDENTITY/KEY/{job.json, result.json | failure.json, log.txt, progress.json, checkpoints, …}

`IDENTITY` is the job's configuration and `KEY` adds code, data and weights, so every version of one job lies together.
Writes are atomic: a reader never sees half a result, and two runs at once never lose one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.files import (
    DAMAGED,
    create_json,
    fits,
    is_number,
    is_shallow,
    is_time,
    is_word,
    output_errors,
    put_aside,
    read_json,
    remove_abandoned_files,
    temporary_path,
    write_json,
)
from harness.jobs.job import Job, Measurement

SCHEMA = 1
_TEXT = (str, None)
_TEXTS = ({...: str}, None)
_FILES = {"files": object, ...: object}


def _are_measurements(value: Any) -> bool:
    """Written out, since a store holds millions of them."""
    return isinstance(value, list) and all(
        type(m) is dict
        and type(m.get("name")) is str
        and (type(m.get("value")) is float or is_number(m.get("value")))
        and type(m.get("unit", "")) is str
        and type(m.get("convention", "")) is str
        and len(m) == 2 + ("unit" in m) + ("convention" in m)
        for m in value
    )


_MODEL = {"name?": str, "options?": dict, ...: object}
_JOB = {
    "kind": is_word,
    "config": {
        "model?": _MODEL,
        "data?": ({"name?": str, ...: object}, None),
        "recipe?": ({"train_split?": str, "test?": {"split?": str, ...: object}, ...: object}, None),
        "protocol?": ({"split?": str, ...: object}, None),
        "profile?": str,
        "seed?": int,
        ...: object,
    },
    "key": is_word,
    "identity": is_word,
    "parts": {"needs?": _TEXTS, "code?": _TEXTS, "data?": ({...: (str, None, _FILES)}, None), ...: object},
    "needs": [is_word],
}
_ENVIRONMENT: dict[Any, Any] = {
    "packages?": _TEXTS,
    **{f"{name}?": _TEXT for name in ("commit", "device", "driver", "host", "python", "system")},
    ...: object,
}
_RESULT = {
    "schema": int,
    "job": _JOB,
    "measurements": _are_measurements,
    "environment": _ENVIRONMENT,
    "started": is_time,
    "seconds": is_time,
    ...: object,
}
_FAILURE = {"cause": str, "message": str, "exit?": int, "time?": is_time, "log?": str}


@dataclass(frozen=True)
class Result:
    """A finished job: what it measured, where, when and for how long (seconds)."""

    job: Job
    measurements: tuple[Measurement, ...]
    environment: Mapping[str, Any]
    started: float  # seconds since the epoch
    seconds: float
    folder: Path = field(compare=False, default=Path())

    def value(self, name: str) -> Measurement | None:
        """The measurement called `name`."""
        return next((m for m in self.measurements if m.name == name), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "job": self.job.to_json(),
            "measurements": [m._asdict() for m in self.measurements],
            "environment": dict(self.environment),
            "started": self.started,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], folder: Path) -> Result:
        measurements = tuple([Measurement(**m) for m in record["measurements"]])
        job = Job.from_json(record["job"])
        return cls(job, measurements, record["environment"], record["started"], record["seconds"], folder)


@dataclass(frozen=True)
class Failure:
    """A job that ended without a result, and why. `cause`: error, exception, killed, out of memory, …"""

    cause: str
    message: str
    exit: int = 1
    time: float = 0.0
    log: str = ""


class Store:
    """The results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self.reports = root / "reports"

    def prepare(self) -> None:
        """Creates the folder and removes what killed writers left in it; OutputError where it cannot be written."""
        probe = temporary_path(self.root / "probe")
        with output_errors(self.root):
            try:
                self.cache.mkdir(parents=True, exist_ok=True)
                probe.write_text("x", encoding="utf-8")
            finally:
                with contextlib.suppress(OSError):
                    probe.unlink(missing_ok=True)
        for folder in (self.root, self.cache, *self.cache.glob("*/"), self.reports, self.root / "nightly"):
            remove_abandoned_files(folder)

    def folder(self, job: Job) -> Path:
        """The job's own folder (which need not exist)."""
        return self.root / "jobs" / job.kind / job.identity[:20] / job.key[:20]

    def result(self, job: Job) -> Result | None:
        """The job's result, if it has finished."""
        return self.result_in(self.folder(job))

    def failure(self, job: Job) -> Failure | None:
        """Why the job's last attempt failed, if it did and has not finished since."""
        record = read_json(self.folder(job) / "failure.json", _FAILURE)
        return Failure(**record) if record is not None else None

    def stale(self, job: Job) -> Result | None:
        """The newest result of the same configuration under another key: other code, data or weights."""
        results = (self.result_in(f) for f in self.folder(job).parent.glob("*") if f.name != job.key[:20])
        return max((r for r in results if r is not None), key=lambda r: r.started, default=None)

    def version(self, job: Job, key: str) -> Result | None:
        """The result of the job's configuration under this key."""
        return self.result_in(self.folder(job).parent / key[:20]) if key else None

    def versions(self, job: Job) -> list[Result]:
        """Every result of the job's configuration, whatever its code, data and weights; oldest first."""
        results = (self.result_in(folder) for folder in self.folder(job).parent.glob("*"))
        return sorted((r for r in results if r is not None), key=lambda r: r.started)

    def finish(
        self,
        job: Job,
        measurements: Sequence[Measurement],
        environment: Mapping[str, Any],
        started: float,
        seconds: float | None = None,
    ) -> Result:
        """Stores a finished job's measurements. `seconds`: duration by a monotonic clock (default: since `started`)."""
        folder = self.folder(job)
        took = time.time() - started if seconds is None else seconds
        result = Result(job, tuple(measurements), environment, started, took, folder)
        if self.result_in(folder) is None:
            put_aside(folder / "result.json")  # damaged, or of another version: not ours to destroy
        write_json(folder / "result.json", result.to_json())
        (folder / "failure.json").unlink(missing_ok=True)
        return result

    def fail(self, job: Job, failure: Failure, *, instead_of: Failure | None = None) -> Failure:
        """Stores why a job failed, unless that is stored already: the first cause stands. Returns the one that does.

        `instead_of`: the failure of an earlier attempt, which this one replaces.
        """
        path = self.folder(job) / "failure.json"
        while not create_json(path, asdict(failure)):
            standing = self.failure(job)
            if standing is not None and standing != instead_of:
                return standing
            with output_errors(path):
                path.unlink(missing_ok=True)  # of an earlier attempt, or not readable
        return failure

    def begin(self, job: Job, earlier: Failure | None) -> Failure | None:
        """Removes the traces of earlier attempts before a new one begins; to be called with the job's lock held.

        `earlier`: the failure that this attempt is to repeat. Where another one stands, another attempt has failed
        meanwhile: it stays and is returned, and this attempt is not to begin.
        """
        standing = self.failure(job)
        if standing is not None and standing != earlier:
            return standing
        remove_abandoned_files(self.folder(job))
        (self.folder(job) / "progress.json").unlink(missing_ok=True)
        if standing is not None:  # else one that is written at this moment would go
            (self.folder(job) / "failure.json").unlink(missing_ok=True)
        return None

    def results(self, kind: str = "*") -> Iterator[Result]:
        """All finished jobs of a kind, in no particular order."""
        for path in self.root.glob(f"jobs/{kind}/*/*/result.json"):
            result = self.result_in(path.parent)
            if result is not None:
                yield result

    def results_outside(self, jobs: Iterable[Job]) -> Iterator[Path]:
        """The folders of finished jobs of any configuration but these jobs'; their results are not read."""
        folders = {str(self.folder(job).parent) for job in jobs}
        for kind in _folders(self.root / "jobs"):
            for identity in _folders(kind.path):
                if identity.path not in folders:
                    yield from (
                        Path(f.path) for f in _folders(identity.path) if os.path.exists(f"{f.path}/result.json")
                    )

    def result_in(self, folder: Path) -> Result | None:
        """The result in a job's folder; None where there is none, or none that can be read."""
        return read_result(folder)


def read_result(folder: Path) -> Result | None:
    """The result in a job's folder; None where there is none, or none that this version can read."""
    path = folder / "result.json"
    record = read_json(path)
    if record is None:
        return None
    if record.get("schema") == SCHEMA and fits(record, _RESULT):
        job = record["job"]
        if is_shallow(job["config"]) and is_shallow(job["parts"]) and is_shallow(record["environment"]):
            return Result.from_json(record, folder)
    DAMAGED[path] = "damaged, or of another version"
    return None


def _folders(path: str | Path) -> list[os.DirEntry[str]]:
    """The folders in a folder, by name; none where there is no such folder."""
    try:
        with os.scandir(path) as entries:
            return sorted((e for e in entries if e.is_dir()), key=lambda e: e.name)
    except OSError:
        return []
