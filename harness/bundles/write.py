"""Writes a bundle: a results folder's measurements and what belongs to them, as one archive with a digest per file."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.bundles.contents import MANIFEST, SCHEMA, job_files, job_folders
from harness.data.files import read_manifest
from harness.errors import UserError
from harness.files import atomic_file, read_json
from harness.store.store import Store

_CHUNK = 1 << 20
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of every entry: the same store gives the same bytes


@dataclass(frozen=True)
class Written:
    """What a bundle holds: finished jobs, their measurements, failed jobs, weights, and records that could not be read."""

    jobs: int
    measurements: int
    failed: int
    weights: int
    damaged: int


def write(store: Store, bundle: Path, *, with_weights: bool = False) -> Written:
    """Writes the bundle, a zip archive. UserError for another name, OutputError where it cannot be written.

    Records that cannot be read stay out. No path of this machine is written: logs and requests stay, as do half-done trainings.
    """
    if bundle.suffix != ".zip":
        raise UserError(f"{bundle}: a bundle is a zip archive; give it a name that ends in .zip")
    digests: dict[str, str] = {}
    finished = measurements = failed = weight_files = damaged = 0
    data: dict[str, str] = {}
    with atomic_file(bundle, advice="make room or choose another file") as file, zipfile.ZipFile(file, "w") as archive:
        for folder in job_folders(store.root):
            result = store.result_in(folder)
            if result is None and (folder / "result.json").exists():
                damaged += 1
                continue
            for path in job_files(folder, with_weights=with_weights):
                name = path.relative_to(store.root).as_posix()
                content = None if path.name != "failure.json" else _failure_without_log(path)
                if path.name == "failure.json" and content is None:
                    damaged += 1
                    continue
                digests[name] = _add(archive, name, path if content is None else content)
                weight_files += path.suffix == ".pt"
                failed += path.name == "failure.json"
            finished += result is not None
            measurements += len(result.measurements) if result is not None else 0
            data |= result.job.data_digests if result is not None else {}
        for name, record in _data_manifests(store, set(data.values())):
            digests[name] = _add(archive, name, _json(record))
        _add(archive, MANIFEST, _json(_manifest(digests, finished, with_weights)))
    return Written(finished, measurements, failed, weight_files, damaged)


def _manifest(digests: Mapping[str, str], jobs: int, with_weights: bool) -> dict[str, Any]:
    commit, dirty = environment.commit()
    return {
        "format": "segmentation-harness bundle",
        "schema": SCHEMA,
        "commit": commit + ("+" if dirty else ""),
        "written": time.strftime("%Y-%m-%d", time.gmtime()),
        "jobs": jobs,
        "weights": with_weights,
        "files": dict(sorted(digests.items())),
    }


def _data_manifests(store: Store, wanted: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifests of the datasets that the results name, as far as this results folder keeps them; without their paths."""
    paths = [*(store.cache / "manifests").glob("*.json"), *(store.root / "manifests").glob("*.json")]
    known: set[str] = set()
    for path in sorted(paths):
        manifest = read_manifest(path)
        if manifest.digest in wanted - known:
            known.add(manifest.digest)
            files = {name: [size, 0, digest] for name, (size, _, digest) in sorted(manifest.files.items())}
            yield f"manifests/{manifest.digest}.json", {"files": files}


def _failure_without_log(path: Path) -> bytes | None:
    """A failure's record without the path of its log, which stays; None where it cannot be read."""
    record = read_json(path)
    return None if record is None else _json({name: value for name, value in record.items() if name != "log"})


def _json(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=True, indent=1).encode()


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> str:
    """Adds a file to the archive and returns its SHA-256; weights, which do not shrink, are stored as they are."""
    entry = zipfile.ZipInfo(name, _FIRST_DAY)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".pt") else zipfile.ZIP_DEFLATED
    digest = hashlib.sha256()
    with archive.open(entry, "w", force_zip64=True) as target:
        for chunk in _chunks(content):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _chunks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk
