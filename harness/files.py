"""Atomic file writes (a temporary name in the same folder, then a rename) and checked reading of JSON files.

A reader sees the old file or the new one, never half of it. Whatever goes wrong, the temporary file is removed, and a
failed write is an OutputError that says which file, why, and what to do next.

Every JSON record of the results folder is read here and checked against a shape. One that does not fit (damaged by a disk or by
hand) counts as absent and is remembered in `DAMAGED`, so that a command can say at its end what it left out.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import OutputError

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NUMBERS = itertools.count()
_TEMPORARY = re.compile(r"\.([0-9]{1,9})\.[0-9]+\.tmp\Z")  # the end of a temporary name: process, number
_DAY = 86_400.0
_WORD = re.compile(r"[\w.+-]{1,200}")


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
    write_bytes(path, text.encode("utf-8", "backslashreplace"), durable=durable, advice=advice)


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


DAMAGED: dict[Path, str] = {}
"""{file: what is wrong} of the records that this process could not read."""


def read_json(path: Path, shape: Any = dict, *, cache: bool = False) -> Any:
    """The JSON record in a file, which has this shape (see `fits`; an object by default); None where there is none or it is
    damaged. `cache`: made again without a word where it is damaged."""
    try:
        return _record(path.read_bytes(), shape)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if not cache:
            DAMAGED[path] = (isinstance(error, OSError) and error.strerror) or "damaged, or of another version"
        return None


def read_jsonl(path: Path, shape: Any = dict) -> list[Any]:
    """The records of a file that has one per line, oldest first; none where there is no file. A last line that was cut off
    is left out; another one that is damaged is, too, and the file is remembered."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        DAMAGED[path] = getattr(error, "strerror", None) or "cannot be read"
        return []
    records, damaged = [], 0
    for line in lines:
        try:
            records.append(_record(line, shape))
        except ValueError:
            damaged += bool(line.strip()) and line is not lines[-1]
    if damaged:
        DAMAGED[path] = f"{damaged} of {len(records) + damaged} lines damaged"
    return records


def _record(content: bytes, shape: Any) -> Any:
    """The JSON value of this shape in a text; ValueError where there is none."""
    text = content.decode()
    try:
        record = json.loads(text)
        if not fits(record, shape):
            raise ValueError("not a record of this kind")
    except RecursionError:
        raise ValueError("nested without end") from None
    return record


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value has a shape: a type (`int` and `float` take no bool); a tuple of shapes, one of which fits; `[shape]`:
    a list of such; a dictionary of the keys that must be there, or may with a `?` behind, and under `...` what others hold
    where there may be any; None; or a function that says so."""
    if isinstance(shape, type):
        return isinstance(value, shape) and not (isinstance(value, bool) and shape in (int, float))
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(entry, shape[0]) for entry in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _has_fields(value, shape)
    return value is None if shape is None else bool(shape(value))


def _has_fields(value: dict[str, Any], shape: dict[Any, Any]) -> bool:
    named = {key.removesuffix("?"): inner for key, inner in shape.items() if key is not ...}
    if any(key is not ... and not key.endswith("?") and key not in value for key in shape):
        return False
    return all(
        fits(entry, named[name]) if name in named else ... in shape and fits(entry, shape[...])
        for name, entry in value.items()
    )


def is_finite(value: Any) -> bool:
    """A shape: a number that is neither infinite nor absurd."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def is_time(value: Any) -> bool:
    """A shape: seconds of a duration, or since the epoch."""
    return is_finite(value) and 0 <= value < 1e11


def is_number(value: Any) -> bool:
    """A shape: a number that fits a float, which NaN and infinities do."""
    return isinstance(value, float) or (fits(value, int) and abs(value) < 1e300)


def is_word(value: Any) -> bool:
    """A shape: a key, a number or a name of this project's own, safe in a path."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def is_shallow(value: Any, depth: int = 40) -> bool:
    """A shape: an object whose values are nested at most so deep."""
    return isinstance(value, dict) and _nested_within(value, depth)


def _nested_within(value: Any, depth: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_nested_within(entry, depth - 1) for entry in inner)
    return True


def put_aside(path: Path) -> None:
    """Renames a file that cannot be read to `NAME.damaged`, where there is one, before another takes its place."""
    with contextlib.suppress(OSError):
        os.replace(path, path.with_name(f"{path.name}.damaged"))


def remove_abandoned_files(folder: Path) -> None:
    """Removes what killed processes left of writes in a folder: temporary files and folders whose process is gone, or, of other
    machines, older than a day."""
    for path in folder.glob(".*.tmp"):
        found = _TEMPORARY.search(path.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):
            own = path.name[: found.start()].endswith(f".{os.uname().nodename}")
            if _is_alive(int(found[1])) if own else time.time() - path.stat().st_mtime < _DAY:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


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
