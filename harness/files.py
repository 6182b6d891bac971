"""Atomic file writes (a temporary name in the same folder, then a rename) and reading of JSON files.

A reader sees the old file or the new one, never half of it. Whatever goes wrong, the temporary file is removed, and a
failed write is an OutputError that says which file, why, and what to do next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import OutputError

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NUMBERS = itertools.count()


@contextlib.contextmanager
def atomic_file(
    path: Path, *, name: Callable[[], Path] | None = None, durable: bool = True, advice: str = ""
) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends without an error; else what was there stays. OutputError.

    `name` is asked for the name at the end, where it depends on the content (a digest); it lies in the same folder.
    `durable`: on the disk before it is renamed, so that it survives a power cut; False for what is soon replaced or
    easily made again. `advice`: what an error tells a person to do.
    """
    aside = temporary_path(path)
    with output_errors(path, advice):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(aside, "wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(aside, path if name is None else name())
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False, advice: str = "") -> Iterator[Path]:
    """A new folder that takes its name when the block ends without an error; else what was there stays. OutputError.

    Where there is a folder already it is replaced, or, without `replace`, kept: another process was first with the same.
    """
    aside, old = temporary_path(path), temporary_path(path)
    with output_errors(path, advice):
        try:
            aside.mkdir(parents=True)
            yield aside
            if replace and path.is_dir():
                os.rename(path, old)
            try:
                os.rename(aside, path)
            except OSError:
                if replace or not path.is_dir():
                    raise
        finally:
            if old.is_dir() and not path.exists():
                os.rename(old, path)
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, content: bytes, *, durable: bool = True, advice: str = "") -> None:
    """Replaces a file by this content; OutputError (nothing changed) when the folder or the disk refuses."""
    with atomic_file(path, durable=durable, advice=advice) as file:
        file.write(content)


def write_text(path: Path, text: str, *, durable: bool = True, advice: str = "") -> None:
    """Replaces a file by this text, UTF-8 with its line ends as they are; OutputError as in `write_bytes`."""
    write_bytes(path, text.encode(), durable=durable, advice=advice)


def write_json(path: Path, record: Any, *, durable: bool = True) -> None:
    """Replaces a file by this record as JSON; OutputError as in `write_bytes`."""
    write_bytes(path, _json(record), durable=durable)


def _json(record: Any) -> bytes:
    """Half letters (of a file's name that is no UTF-8, say) are written as JSON's own escapes and come back the same."""
    return json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")


def create_json(path: Path, record: Any) -> bool:
    """Writes this record as JSON where there is no such file yet; whether it did. Of several writers one does. OutputError."""
    aside = temporary_path(path)
    try:
        write_json(aside, record)
        with output_errors(path):
            try:
                os.link(aside, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without hard links
                if path.exists():
                    return False
                os.replace(aside, path)
        return True
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def append_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Adds a line of JSON per record, apart from a line that an earlier writer left half; OutputError as in `write_bytes`."""
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                text = text if file.read(1) == b"\n" else f"\n{text}"
            file.write(text.encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is none or it is not whole."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other thread, process or node writes to: `.NAME.HOST.PID.NUMBER.tmp`."""
    return path.with_name(f".{path.name[:100]}.{os.uname().nodename}.{os.getpid()}.{next(_NUMBERS)}.tmp")


def remove_temporary_files(folder: Path, start: str) -> None:
    """Removes what processes killed in the middle of a write left of files whose names begin with `start`.

    Only for a folder that nobody else writes to.
    """
    for path in folder.glob(f".{start}*.tmp"):
        path.unlink(missing_ok=True)


def is_full_disk(error: BaseException) -> bool:
    """Whether a disk or a quota is full: once there is room, what failed with this error goes on."""
    return isinstance(error, OSError) and error.errno in _FULL_DISK


@contextlib.contextmanager
def output_errors(path: Path, advice: str = "") -> Iterator[None]:
    """Turns a failed write of `path` inside the block into an OutputError that says which file, why and what to do."""
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            advice = advice or "make room and repeat the command, finished jobs are kept"
            raise OutputError(f"the disk is full: {path} could not be written; {advice}") from error
        advice = advice or "choose another folder with --results DIR or HARNESS_RESULTS"
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {advice}") from error


def _sync_folder(folder: Path) -> None:
    """Puts a new name on the disk, where the file system can do that for a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
