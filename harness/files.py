"""Files written so that a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import OutputError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk or a quota that is full: once there is room, what failed with them goes on."""


def write_json(path: Path, record: Any) -> None:
    """Writes JSON aside and renames it; OutputError (nothing changed) when the folder or the disk refuses."""
    aside = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("w", encoding="utf-8") as file:
            json.dump(record, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise output_error(path, error) from error


def append_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Adds a line of JSON per record, apart from a line that an earlier writer left half; OutputError as in `write_json`."""
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            written = path.read_bytes()
            half = bool(written) and not written.endswith(b"\n")
            file.write(b"\n" * half + text.encode())
    except OSError as error:
        raise output_error(path, error) from error


def temporary_path(path: Path) -> Path:
    """Where a file is written before it takes its name: apart from what other processes and nodes write."""
    import socket  # only for what writes

    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def output_error(path: Path, error: OSError) -> OutputError:
    """What a person is told when the results folder takes no more."""
    if error.errno in FULL:
        return OutputError(
            f"the disk is full: {path} could not be written; make room and repeat the command, finished jobs are kept"
        )
    return OutputError(
        f"{path} cannot be written ({error.strerror}); choose another folder with --results DIR or HARNESS_RESULTS"
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is none or it is not whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


@contextlib.contextmanager
def output_errors(folder: Path, then: str) -> Iterator[None]:
    """Turns a failed write under `folder` into an OutputError that says why and, with `then`, what is still there."""
    try:
        yield
    except OSError as error:
        why = "the disk is full" if error.errno in FULL else (error.strerror or str(error))
        raise OutputError(f"cannot write to {folder}: {why}. {then}") from error
