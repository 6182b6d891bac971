"""Opens a bundle: refuses a hostile archive before anything of it is used, and finds records that were damaged on the way."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.bundles.contents import MANIFEST, SCHEMA, largest
from harness.data.archives import unpack
from harness.errors import DataError, UserError
from harness.files import output_errors, read_json, temporary_path

_SHAPE = {"format": str, "schema": int, "files": {...: str}, ...: object}


@dataclass(frozen=True)
class OpenBundle:
    """An unpacked bundle: a folder laid out like a results folder, and the files whose digest is not the manifest's."""

    root: Path
    damaged: tuple[str, ...] = field(default=())


@contextlib.contextmanager
def opened(bundle: Path, scratch: Path) -> Iterator[OpenBundle]:
    """The content of a bundle, in a folder inside `scratch` that is removed at the end.

    UserError for what is no bundle or no safe archive (links, paths out of the folder, sizes that cannot be, names that no
    bundle holds, files that the manifest lacks), before any of it is used; OutputError where the disk has no room.
    """
    _check_names(bundle)
    folder = temporary_path(scratch / "bundle")
    try:
        with output_errors(scratch):
            folder.mkdir(parents=True)
        try:
            unpack(bundle, folder)
        except DataError as error:
            raise UserError(f"not safe to open as a bundle: {error}") from error
        yield OpenBundle(folder, tuple(_damaged(bundle, folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_bundle(path: Path) -> bool:
    """Whether a path names a file that may be a bundle."""
    return path.suffix == ".zip" and path.is_file()


def _check_names(bundle: Path) -> None:
    """UserError for a file that is no zip archive, and for an entry that no bundle holds or that is too large for its kind."""
    if bundle.suffix != ".zip":
        raise UserError(f"{bundle}: a bundle's name ends in .zip (python -m harness export NAME.zip)")
    if not bundle.is_file():
        raise UserError(f"{bundle}: there is no such file")
    try:
        with zipfile.ZipFile(bundle) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    except Exception as error:  # a damaged archive makes zipfile raise a dozen types
        raise UserError(
            f"{bundle}: damaged, or no zip archive ({error or type(error).__name__}); get it again"
        ) from None
    if MANIFEST not in sizes:
        raise UserError(
            f"{bundle}: has no {MANIFEST}, so it is no bundle; python -m harness export {bundle.name} writes one"
        )
    for name, size in sizes.items():
        most = largest(name)
        if most is None:
            raise UserError(
                f"{bundle}: holds {name[:120]!r}, which no bundle of this version holds; nothing was imported"
            )
        if size > most:
            raise UserError(
                f"{bundle}: {name[:120]!r} claims {size} bytes, at most {most} are read; nothing was imported"
            )


def _damaged(bundle: Path, folder: Path) -> Iterator[str]:
    """The names of files whose content is not what the manifest says; UserError where the two list different files."""
    record = read_json(folder / MANIFEST, _SHAPE)
    if record is None or record["format"] != "segmentation-harness bundle":
        raise UserError(f"{bundle}: its {MANIFEST} cannot be read as that of a bundle; get it again")
    if record["schema"] != SCHEMA:
        raise UserError(
            f"{bundle}: is of schema {record['schema']}, this version reads {SCHEMA}; use the version that wrote it"
        )
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    differing = sorted(there ^ record["files"].keys())
    if differing:
        where = "is not in its manifest" if differing[0] in there else "is missing"
        raise UserError(f"{bundle}: {differing[0]} {where}; nothing was imported, get it again")
    for name, expected in record["files"].items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                yield name
