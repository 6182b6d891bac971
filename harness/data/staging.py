"""Copies of datasets on a node's own disk, where thousands of small files open quickly.

    FOLDER/NAME-DIGEST/DATASET/…            one copy per content, for all jobs of a node; made by the first of them
    FOLDER/NAME-DIGEST/staged.json          is there with the digest once the copy is whole
    FOLDER/NAME-DIGEST.lock                 held exclusively while a copy is made or removed, shared while it is used

A copy is compared with the content digest in the job's key before it is used: in full when it is made, by sizes and times of
its files afterwards. Where room is missing, copies that no job uses are removed, the oldest first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from harness.data import catalogue, files
from harness.data.archives import SUFFIXES, size_text, unpack
from harness.errors import DataError, Exit, Interrupted, MissingError, OutputError, UserError
from harness.files import is_full_disk, output_errors, read_json, write_json
from harness.jobs.context import Context, Progress
from harness.jobs.kinds import Data
from harness.text import plural

_AT_ONCE = 16  # files that are copied at a time: a shared disk answers slowly, but many at once
_EVERY = 0.5  # seconds between two looks at a lock


class NoRoom(UserError):
    """A node's own disk has no room for a copy of a dataset."""

    exit = Exit.OUTPUT
    cause = "no room on the node"


@contextlib.contextmanager
def staged(data: Data, digest: str, folder: str, archives: str, context: Context) -> Iterator[Path]:
    """The data folder on this node that holds the dataset as a key's `digest` of its files has it, while the block runs.

    `folder` and `archives` may hold variables of the node. Where `archives` has one called DATASET.tar (.tar.gz, .zip), that is
    unpacked; else the files are copied. Raises NoRoom, UserError where the folder cannot be, or the dataset is not as planned,
    Interrupted when the job is asked to stop meanwhile.
    """
    base = _expanded(folder, "folder")
    name = catalogue.find(data.name).name
    place = base / f"{name}-{digest[:12]}"
    advice = "choose another folder under 'stage' in the cluster file, one on the node's own disk"
    with output_errors(base, advice):
        base.mkdir(parents=True, exist_ok=True)
        lock = _lock_of(place).open("a+")
    with lock:
        while True:
            _wait_for(lock, fcntl.LOCK_SH, context, name)
            if _is_whole(place, data, digest):
                break
            fcntl.flock(lock, fcntl.LOCK_UN)
            _wait_for(lock, fcntl.LOCK_EX, context, name)
            if not _is_whole(place, data, digest):  # nobody was quicker
                archive = _archive(_expanded(archives, "archives"), data) if archives else None
                _make(place, data, digest, archive, context)
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.utime(place)  # the oldest is removed first
        yield place


def _lock_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _expanded(text: str, key: str) -> Path:
    """A path with the node's variables; UserError for a variable that is not set there, or a path that is not absolute."""
    path = os.path.expanduser(os.path.expandvars(text))
    if "$" in path or not os.path.isabs(path):
        raise UserError(
            f"stage.{key}: '{text}' is {path} on {platform.node()}; expected is an absolute path, of variables that are set in a "
            "job there"
        )
    return Path(path)


def _wait_for(lock: TextIO, kind: int, context: Context, name: str) -> None:
    """Takes the lock; says so while another job copies."""
    while True:
        try:
            return fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            _check_stop(context)
            context.progress(Progress(0, 1, text=f"waits for another job's copy of {name}"))
            time.sleep(_EVERY)


def _check_stop(context: Context) -> None:
    if context.should_stop():
        raise Interrupted


def _is_whole(place: Path, data: Data, digest: str) -> bool:
    """Whether a copy was finished and still has every file: what tidies a node's disk removes old ones."""
    if (read_json(place / files.STAGED) or {}).get("digest") != digest:
        return False
    try:
        return _digest_of(place, data) == digest
    except (DataError, MissingError):
        return False


def _digest_of(place: Path, data: Data) -> str:
    return files.manifest(files.locate(data, data_dir=place, cache=place), place).digest


def _archive(folder: Path, data: Data) -> Path | None:
    """The archive of a dataset in a folder; None where there is none."""
    name = catalogue.find(data.name).folder
    return next((file for suffix in SUFFIXES if (file := folder / f"{name}{suffix}").is_file()), None)


def _make(place: Path, data: Data, digest: str, archive: Path | None, context: Context) -> None:
    """Makes the copy whose lock is held; what there was of it is removed first, and what fails leaves nothing."""
    shutil.rmtree(place, ignore_errors=True)
    source = f"the archive {archive}" if archive is not None else "its files"
    try:
        with output_errors(place):
            place.mkdir()
            write_json(place / files.STAGED, {})  # from here on the dataset is looked for in the copy
        if archive is not None:
            _unpack(archive, place, data, context)
        else:
            _copy(place, data, context)
        if _digest_of(place, data) != digest:
            advice = "pack it anew" if archive is not None else "the files were changed since"
            raise UserError(
                f"the copy of dataset '{catalogue.find(data.name).name}' at {place}, made of {source}, is not what the job was "
                f"planned with: {advice}; then repeat the command"
            )
        write_json(place / files.STAGED, {"digest": digest})
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        cause = error if isinstance(error, OSError) else error.__cause__
        if cause is not None and is_full_disk(cause):
            raise _no_room(place, data, None) from error
        raise


def _copy(place: Path, data: Data, context: Context) -> None:
    from concurrent.futures import ThreadPoolExecutor

    root = files.locate(data, data_dir=context.data_dir, cache=context.cache)
    target, names = place / root.dataset.folder, files.used_files(root)
    _make_room(place, data, sum((root.path / name).stat().st_size for name in names))
    for folder in {target / Path(name).parent for name in names}:
        folder.mkdir(parents=True, exist_ok=True)

    def copy(name: str) -> None:
        _check_stop(context)
        shutil.copy2(root.path / name, target / name)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for done, _ in enumerate(pool.map(copy, names), start=1):
                context.progress(Progress(0, 1, text=_text(root.dataset.name, done, len(names))))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _unpack(archive: Path, place: Path, data: Data, context: Context) -> None:
    _make_room(place, data, archive.stat().st_size)

    def progress(done: int, total: int) -> None:
        _check_stop(context)
        context.progress(Progress(0, 1, text=_text(catalogue.find(data.name).name, done, total)))

    try:
        unpack(archive, place, progress)
    except OutputError as error:
        raise _no_room(place, data, None) from error


def _text(name: str, done: int, total: int) -> str:
    return f"copies {name} to the node: {done} of {plural(total, 'file')}"


def _make_room(place: Path, data: Data, needed: int) -> None:
    """Removes other copies that nobody uses until there is room for so many bytes; NoRoom where that is not enough."""
    for other in _unused(place):
        if shutil.disk_usage(place).free >= needed:
            return
        with _lock_of(other).open("a+") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
    if shutil.disk_usage(place).free < needed:
        raise _no_room(place, data, needed)


def _unused(place: Path) -> Sequence[Path]:
    """The other copies on this disk, those first that were used longest ago."""
    others = [marker.parent for marker in place.parent.glob(f"*/{files.STAGED}") if marker.parent != place]

    def used(other: Path) -> float:
        with contextlib.suppress(FileNotFoundError):
            return other.stat().st_mtime
        return 0.0

    return sorted(others, key=used)


def _no_room(place: Path, data: Data, needed: int | None) -> NoRoom:
    base = place.parent
    takes = f"{size_text(needed)} are needed" if needed is not None else "that was not enough"
    free = size_text(shutil.disk_usage(base).free)
    return NoRoom(
        f"no room for dataset '{catalogue.find(data.name).name}' on node {platform.node()}: {base} has {free} free, {takes}; "
        "choose another folder under 'stage' in the cluster file, ask for local disk (gres: lscratch:100, or "
        "options: {tmp: 100G}), or leave 'stage' out"
    )
