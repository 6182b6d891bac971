"""What of a results folder travels in a bundle, and how large each kind of file may be.

manifest.json                            what the bundle holds: a digest per file
jobs/KIND/IDENTITY/KEY/result.json       measurements, seed, environment, and what the key was made of
                       failure.json      why a job failed, where it has no result
                       curve.jsonl, confusion.npy, features.npz
                       final-….pt        weights, on request
manifests/DIGEST.json                    the files of a dataset that the results were measured on, by digest
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness.store import weights

MANIFEST = "manifest.json"
SCHEMA = 1
_MIB = 1 << 20
_LARGEST = {
    "result.json": 64 * _MIB,
    "failure.json": _MIB,
    "curve.jsonl": 1024 * _MIB,
    "confusion.npy": 64 * _MIB,
    "features.npz": 1024 * _MIB,
}
_WEIGHTS = 64 * 1024 * _MIB
LARGEST_MANIFEST = 256 * _MIB
_JOB_FILE = re.compile(r"jobs/([\w-]{1,40})/([\w.+-]{1,20})/([\w.+-]{1,20})/([^/]+)")
_DATA_MANIFEST = re.compile(r"manifests/[0-9a-f]{32}\.json")


def largest(name: str) -> int | None:
    """How many bytes a file of this name in a bundle may have; None where no bundle holds a file of that name."""
    if name == MANIFEST or _DATA_MANIFEST.fullmatch(name):
        return LARGEST_MANIFEST
    found = _JOB_FILE.fullmatch(name)
    if found is None or {found[2], found[3]} & {".", ".."}:
        return None
    return _WEIGHTS if weights.FINAL.fullmatch(found[4]) else _LARGEST.get(found[4])


def job_folders(root: Path) -> Iterator[Path]:
    """The folders below a results folder that hold a finished or failed job, in the order of their names."""
    found = {path.parent for name in ("result.json", "failure.json") for path in root.glob(f"jobs/*/*/*/{name}")}
    yield from sorted(found)


def job_files(folder: Path, *, with_weights: bool) -> Iterator[Path]:
    """The files of a job's folder that travel; the record of its end comes last."""
    for name in ("curve.jsonl", "confusion.npy", "features.npz"):
        if (folder / name).is_file():
            yield folder / name
    if with_weights:
        yield from weights.files(folder)
    end = folder / "result.json"
    yield end if end.is_file() else folder / "failure.json"
