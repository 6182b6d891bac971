"""Unpacking official downloads: nothing outside the target folder, nothing half written, resumable."""

from __future__ import annotations

import functools
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.errors import DataError
from harness.files import atomic_file

ADVICE = "make room or choose another data folder (--data DIR or HARNESS_DATA), then repeat the command to go on"
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_Entry = tuple[str, int, Callable[[], IO[bytes]]]  # name, size, how to open it


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)


def unpack(archive: Path, target: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Unpacks a zip or tar archive below `target`; files that are there in full size already are left alone.

    Raises DataError naming the entry for one that would leave `target`, for a link, and for a damaged archive.
    """
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as contents:
                _unpack_all(archive, list(_zip_entries(archive, contents)), target, progress)
        else:
            with tarfile.open(archive) as contents:
                _unpack_all(archive, list(_tar_entries(archive, contents)), target, progress)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError) as error:
        raise DataError(f"{archive}: damaged or unsupported archive ({error}); get it again") from error


def _zip_entries(archive: Path, contents: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in contents.infolist():
        if info.external_attr >> 16 & 0o170000 == 0o120000:
            raise DataError(f"{archive}: entry '{info.filename}' is a link; archives of datasets hold files only")
        if not info.is_dir():
            yield info.filename, info.file_size, functools.partial(contents.open, info)


def _tar_entries(archive: Path, contents: tarfile.TarFile) -> Iterator[_Entry]:
    for member in contents.getmembers():
        if not (member.isfile() or member.isdir()):
            raise DataError(
                f"{archive}: entry '{member.name}' is a link or device; archives of datasets hold files only"
            )
        if member.isfile():
            yield member.name, member.size, functools.partial(_open_member, contents, member)


def _open_member(opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = opened.extractfile(member)
    assert file is not None  # it is a regular file
    return file


def _unpack_all(archive: Path, entries: list[_Entry], target: Path, progress: Callable[[int, int], None]) -> None:
    inside = target.resolve()
    for name, _, _ in entries:  # before the first byte is written
        if not (inside / name).resolve().is_relative_to(inside) or Path(name).is_absolute() or "\\" in name:
            raise DataError(f"{archive}: entry '{name}' would be written outside {target}; nothing was unpacked")
    for done, (name, size, opener) in enumerate(entries, start=1):
        place = target / name
        if not (place.is_file() and place.stat().st_size == size):
            with opener() as source:
                write_stream(place, source)
        progress(done, len(entries))


def write_stream(place: Path, source: IO[bytes]) -> None:
    """Writes a file of a dataset; OutputError (nothing changed) where it cannot. Not synchronised with the disk, since
    there are ten thousands: `data verify` finds what a power cut damages."""
    with atomic_file(place, durable=False, advice=ADVICE) as file:
        shutil.copyfileobj(source, file, 1 << 20)
