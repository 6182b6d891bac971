"""Unpacking official downloads: nothing outside the target folder, nothing half written, resumable.

An archive is judged by its headers before the first byte is written: names, kinds of entries, and sizes against each other,
the archive and the disk. What its headers leave out (an entry that is damaged or longer than it says) ends the reading.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.errors import DataError, OutputError, UserError
from harness.files import atomic_file

ADVICE = "make room or choose another data folder (--data DIR or HARNESS_DATA), then repeat the command to go on"
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

_MAX_ENTRIES = 2_000_000
_MAX_DIRECTORY = 100 << 20  # bytes of a zip's list of entries; of two million short names
_MAX_READ = 4 << 20  # bytes that tarfile may ask for at once; a longer header is a hostile one
_MAX_PADDING = 64 << 20  # bytes after a tar's last entry; GNU tar writes ten KiB
_MAX_RATIO, _RATIO_FROM = 200, 1 << 30  # what images and annotations never reach; small archives may
_MAX_NAME, _MAX_PATH = 255, 4000  # bytes; Linux's limits, with room for the name of a file that is being written
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA's memory is the archive's to choose
_CHUNK = 1 << 20
_LINK, _FILE_TYPES = 0o120000, (0, 0o100000)


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)


def unpack(archive: Path, target: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Unpacks a zip or tar archive below `target`; files that are there in full size already are left alone.

    A hard link to an earlier file of the archive becomes a copy of it. Raises DataError naming the entry for one that would
    leave `target`, for another kind of link, for sizes that cannot be, and for a damaged archive; OutputError where the
    disk has too little room.
    """
    try:
        with _opened(archive) as contents:
            entries = list(_entries(archive, contents))
            _check_names(archive, [entry.name for entry in entries], target)
            _check_room(archive, entries, target)
            for done, entry in enumerate(entries, start=1):
                place = target / entry.name
                if not _is_there(place, entry.size):
                    _write(archive, entry, place)
                progress(done, len(entries))
    except UserError:
        raise
    except (
        Exception
    ) as error:  # a damaged archive makes zipfile and tarfile raise a dozen types, struct's and zlib's too
        raise _damaged(archive, error) from error


def _damaged(archive: Path, reason: Exception | str) -> DataError:
    text = str(reason) or type(reason).__name__
    return DataError(f"{archive}: damaged or unsupported archive ({_printable(text, 300)}); get it again")


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if archive.name.endswith(".zip"):
        size = _directory_size(archive)
        if size > _MAX_DIRECTORY:
            raise DataError(f"{archive}: its list of entries takes {size >> 20} MiB; archives of datasets have fewer")
        with zipfile.ZipFile(archive) as zipped:
            yield zipped
        return
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(archive) if compressed else archive.open("rb") as source:
        bounded: Any = _BoundedReader(archive, source)
        with tarfile.open(fileobj=bounded, mode="r:") as contents:
            yield contents


def _directory_size(archive: Path) -> int:
    """Bytes that a zip's list of entries takes by its end record: zipfile reads it in one go."""
    with archive.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - (1 << 16) - 100))
        tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0
    if size == 0xFFFFFFFF:  # too large for this field: it stands in the record before
        place = tail.rfind(b"PK\x06\x06")
        size = int.from_bytes(tail[place + 40 : place + 48], "little") if place >= 0 else size
    return size


class _BoundedReader:
    """A tar archive's bytes. tarfile believes what a header says of its own length, and reads on and on at the end of the
    file: a read of too many bytes is refused, and so is the tenth beyond the end."""

    def __init__(self, archive: Path, source: gzip.GzipFile | IO[bytes]) -> None:
        self.archive, self.source, self.beyond = archive, source, 0

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _MAX_READ:
            raise DataError(f"{self.archive}: a header claims {count} bytes; archives of datasets have small ones")
        data = self.source.read(count)
        self.beyond = 0 if data else self.beyond + 1
        if self.beyond > 9:
            raise EOFError("it ends in the middle of a header")
        return data

    def finish(self) -> None:
        """Reads what follows the last entry, which is little: only then has gzip seen its check sum."""
        for _ in range(_MAX_PADDING // _CHUNK):
            if not self.source.read(_CHUNK):
                return
        raise DataError(f"{self.archive}: goes on for more than {size_text(_MAX_PADDING)} after its last entry")

    def seek(self, place: int, whence: int = 0) -> int:
        return self.source.seek(place, whence)

    def tell(self) -> int:
        return self.source.tell()

    def close(self) -> None:
        self.source.close()


def _entries(archive: Path, contents: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Entry]:
    """The files of an archive. Each is judged before the next header is looked for: that is where bombs are."""
    most = max(_RATIO_FROM, _MAX_RATIO * archive.stat().st_size)
    total = 0
    found: Callable[..., Iterator[_Entry]] = _zip_entries if isinstance(contents, zipfile.ZipFile) else _tar_entries
    for number, entry in enumerate(found(archive, contents)):
        total += entry.size
        if total > most:
            raise DataError(
                f"{archive}: entry '{_printable(entry.name)}' brings its contents to {size_text(total)} from an archive of "
                f"{size_text(archive.stat().st_size)}; nothing was unpacked, since no dataset packs so well"
            )
        if number >= _MAX_ENTRIES:
            raise DataError(f"{archive}: more than {_MAX_ENTRIES} entries; nothing was unpacked")
        yield entry


def _zip_entries(archive: Path, contents: zipfile.ZipFile) -> Iterator[_Entry]:
    end = 0
    for info in sorted(contents.infolist(), key=lambda info: info.header_offset):
        subject = f"{archive}: entry '{_printable(info.orig_filename)}'"
        kind = info.external_attr >> 16 & 0o170000
        if "\0" in info.orig_filename:  # zipfile cuts the name there
            raise DataError(f"{subject} has a NUL byte in its name; nothing was unpacked")
        if kind == _LINK:
            raise DataError(f"{subject} is a link; archives of datasets hold files only")
        if info.filename and info.is_dir():
            continue
        if kind not in _FILE_TYPES:
            raise DataError(f"{subject} is a device or pipe; archives of datasets hold files only")
        if info.flag_bits & 1:
            raise DataError(f"{subject} is encrypted; unpack the archive with its password, then give the folder")
        if info.compress_type not in _METHODS:
            raise DataError(
                f"{subject} is compressed by method {info.compress_type}, stored, deflate and bzip2 are read; unpack the "
                "archive yourself, then give the folder"
            )
        if info.header_offset < end:
            raise DataError(f"{subject} overlaps the entry before it; nothing was unpacked")
        end = info.header_offset + 30 + info.compress_size  # the fixed part of its header
        yield _Entry(info.filename, info.file_size, functools.partial(contents.open, info))


def _tar_entries(archive: Path, contents: tarfile.TarFile) -> Iterator[_Entry]:
    files: dict[str, tarfile.TarInfo] = {}
    for member in contents:
        subject = f"{archive}: entry '{_printable(member.name)}'"
        if member.size < 0:
            raise DataError(f"{subject} claims {member.size} bytes; nothing was unpacked")
        if member.isdir():
            continue
        source = files.get(member.linkname) if member.islnk() else member
        if source is None or not source.isfile():
            raise DataError(f"{subject} is a link or device; archives of datasets hold files only")
        if source.issparse():
            raise DataError(f"{subject} is a sparse file; archives of datasets hold whole files only")
        files[member.name] = source
        yield _Entry(member.name, source.size, functools.partial(_open_member, contents, source))
    bounded: Any = contents.fileobj
    bounded.finish()


def _open_member(contents: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = contents.extractfile(member)
    assert file is not None  # it is a regular file
    return file


def _check_names(archive: Path, names: list[str], target: Path) -> None:
    """DataError for the first name that cannot be a file's below `target`, and for two that cannot both be."""
    inside = target.resolve()
    for name in names:
        subject = f"{archive}: entry '{_printable(name)}'"
        reason = _unusable(name, inside)
        if reason:
            raise DataError(f"{subject} {reason}; nothing was unpacked")
        if not (inside / name).resolve().is_relative_to(inside) or Path(name).is_absolute() or "\\" in name:
            raise DataError(f"{subject} would be written outside {target}; nothing was unpacked")
    paths = [os.path.normpath(name) for name in names]
    known = set(paths)
    if len(known) < len(paths):
        twice = next(path for path, count in Counter(paths).items() if count > 1)
        raise DataError(f"{archive}: entry '{twice}' is there twice; nothing was unpacked")
    folders = {parent for path in known for parent in _parents(path)}
    for both in sorted(known & folders)[:1]:
        raise DataError(f"{archive}: entry '{both}' is a file and the folder of others; nothing was unpacked")


def _unusable(name: str, inside: Path) -> str:
    """Why no file can have this name below the folder, or ''."""
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:  # how tarfile and os tell of a byte that is no UTF-8
        return "has a name that is not UTF-8"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "has a NUL byte or another control character in its name"
    if not parts[-1] or set(parts) <= {b"", b"."}:
        return "has no name of a file"
    if max(map(len, parts)) > _MAX_NAME or len(os.fsencode(inside)) + len(name.encode()) > _MAX_PATH:
        return f"has a name that is too long (at most {_MAX_NAME} bytes a part, {_MAX_PATH} in all)"
    return ""


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _check_room(archive: Path, entries: list[_Entry], target: Path) -> None:
    """OutputError where the disk has not room for what is still to be written."""
    needed = sum(entry.size for entry in entries if not _is_there(target / entry.name, entry.size))
    folder = next(parent for parent in (target.absolute(), *target.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{archive}: unpacking takes {size_text(needed)}, {target} has room for {size_text(free)}; {ADVICE}"
        )


def _is_there(place: Path, size: int) -> bool:
    return place.is_file() and place.stat().st_size == size


def _write(archive: Path, entry: _Entry, place: Path) -> None:
    """Writes one entry; DataError where it cannot be read to its end, or is longer than its header says."""
    with atomic_file(place, durable=False, advice=ADVICE) as file:
        left = entry.size
        for chunk in _chunks(archive, entry):
            left -= len(chunk)
            if left < 0:
                break
            file.write(chunk)
        if left:
            more = "more" if left < 0 else f"{left} fewer"
            raise _damaged(archive, f"entry '{entry.name}' holds {more} than the {entry.size} bytes it claims")


def _chunks(archive: Path, entry: _Entry) -> Iterator[bytes]:
    """The content of an entry; an error of reading is one of the archive, and none of the file that is written."""
    try:
        with entry.open() as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except DataError:
        raise
    except Exception as error:
        raise _damaged(archive, error) from error


def write_stream(place: Path, source: IO[bytes]) -> None:
    """Writes a file of a dataset; OutputError (nothing changed) where it cannot. Not synchronised with the disk, since
    there are ten thousands: `data verify` finds what a power cut damages."""
    with atomic_file(place, durable=False, advice=ADVICE) as file:
        shutil.copyfileobj(source, file, _CHUNK)


def _printable(name: str, length: int = 80) -> str:
    """A name for a message: no control characters, no half letters, not a page long."""
    text = name.encode("utf-8", "backslashreplace").decode()
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-length // 3 :]}"


def size_text(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:.1f} MiB"
