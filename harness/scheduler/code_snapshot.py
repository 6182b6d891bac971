"""A copy of the code that a run was planned with: what is edited meanwhile in the checkout does not reach its jobs.

FOLDER/DIGEST/{harness, methods}/…        the checkout
FOLDER/DIGEST/outside/HASH/…              methods, backbones and datasets outside the checkout, with the helpers that they import
FOLDER/DIGEST/PACKAGE/…                   plug-ins: their Python files, and links to what else they hold
FOLDER/DIGEST/{commit.json, outside.json, lock}
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import ROOT, environment
from harness.data import catalogue
from harness.data.annotations import own_reader
from harness.errors import UserError
from harness.files import atomic_folder, temporary_path
from harness.jobs import outside, outside_names
from harness.jobs.job import Job
from harness.jobs.key import Code, changes, read_imports
from harness.jobs.outside_names import COPIES
from methods import backbones, registry

PACKAGES = ("harness", "methods")
_ABANDONED = 86400.0  # seconds after which a half-written copy is nobody's


@dataclass
class _Content:
    """The files of a snapshot, by their paths in it. `entries`: {module: path} of what lies outside the checkout."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        hasher = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            hasher.update(f"{path}\0{len(content)}\0".encode() + content)
        for path, target in sorted(self.links.items()):
            hasher.update(f"{path}\0→{target}\0".encode())
        return hasher.hexdigest()[:16]


def snapshot(
    folder: Path, jobs: Iterable[Job] = (), *, cache: Path | None = None, root: Path = ROOT, compiled: bool = False
) -> Path:
    """The folder below `folder` that holds the code of these jobs; written unless it is there already.

    `cache`: of digests; `compiled`: with byte code. UserError where code was edited after the jobs' keys were made,
    OutputError where the copy cannot be written.
    """
    jobs = list(jobs)
    content = _content(jobs, root)
    place = folder / content.digest()
    if not place.is_dir():
        with atomic_folder(place) as aside:
            _write(content, aside)
            if compiled:
                compileall.compile_dir(aside, quiet=2, stripdir=str(aside), prependdir=str(place))
    check(jobs, Code(cache, place), {module: place / path for module, path in content.entries.items()})
    return place


def check(jobs: Iterable[Job], code: Code, places: Mapping[str, Path]) -> None:
    """UserError unless this code is that of the jobs' keys; `places`: files of modules outside the checkout."""
    for job in {id(job.parts.get("code")): job for job in jobs}.values():
        parts = job.parts.get("code") or {}
        modules = [module for module in parts if module.partition(".")[0] in PACKAGES]
        used = outside_modules([job]) if places and len(modules) < len(parts) else {}
        files = {module: place for module, place in places.items() if module in used}
        found = code.closure(modules, files) if parts else {}
        if found != parts:
            lines = [line.removeprefix("code").strip() for line in changes({"code": parts}, {"code": found})]
            raise UserError(
                f"the code was edited since the jobs were planned ({', '.join(lines[:3])}); repeat the command"
            )


def _content(jobs: Iterable[Job], root: Path) -> _Content:
    content = _Content()
    for file in sorted(f for package in PACKAGES for f in (root / package).rglob("*.py")):
        content.files[file.relative_to(root).as_posix()] = file.read_bytes()
    copies: dict[str, dict[str, str]] = {}
    for module, file in outside_modules(jobs).items():
        _add_outside(module, file, content, copies)
    for file in _dataset_files(jobs):
        if file.suffix == ".py":  # with the helpers that it imports
            _add_outside(outside.module_name(file), file, content, copies)
            continue
        below = f"outside/{_short_digest(str(file.parent))}/{file.name}"
        content.files[below] = file.read_bytes()
        copies[str(file)] = {"module": outside.module_name(file), "copy": below}
    commit, dirty = environment.commit()
    folder = os.getcwd() if copies else ""  # paths of methods may begin there
    content.files["commit.json"] = _json({"commit": commit, "dirty": dirty})
    content.files[COPIES] = _json({"folder": folder, "files": copies})
    return content


def outside_modules(jobs: Iterable[Job]) -> dict[str, Path]:
    """{module: file} of what the jobs use that lies outside the checkout: methods, contexts, backbones and label readers by path,
    and plug-ins."""
    jobs = list(jobs)
    modules: dict[str, Path] = {}
    models = {
        json.dumps(job.config["model"], sort_keys=True): job.config["model"] for job in jobs if "model" in job.config
    }
    for model in models.values():
        with contextlib.suppress(UserError):  # unknown, or gone since it was planned: `check`, or the job, says so
            for entry in registry.dependencies(model["name"], model["options"], model.get("kind", "method")):
                modules[entry.module] = entry.file
        with contextlib.suppress(UserError):
            family = backbones.family_of(model.get("backbone") or "")
            modules |= {family.module: family.file} if family is not None else {}
    modules |= _label_readers(jobs)
    return {module: file for module, file in modules.items() if module.partition(".")[0] not in PACKAGES}


def _label_readers(jobs: Iterable[Job]) -> dict[str, Path]:
    """{module: file} of the readers outside the checkout that are in the keys of these jobs."""
    found: dict[str, Path] = {}
    in_keys = {module for job in jobs for module in job.parts.get("code") or {} if module.startswith(outside.PREFIX)}
    names = {str((job.config.get("data") or {}).get("name", "")) for job in jobs} if in_keys else set()
    for name in names - {""}:
        with contextlib.suppress(UserError):  # gone since it was planned: `check`, or the job, says so
            for layout in catalogue.find(name).layouts:
                if layout.has_own_reader:
                    reader = own_reader.find(layout.annotations)
                    found |= (
                        {reader.module: reader.file}
                        if {*outside.without_places({reader.module: ""})} <= in_keys
                        else {}
                    )
    return found


def _dataset_files(jobs: Iterable[Job]) -> list[Path]:
    """The files outside the checkout that declare the jobs' datasets."""
    names = {str((job.config.get("data") or {}).get("name", "")) for job in jobs}
    files = {outside_names.original(outside_names.file_of(name)) for name in names if outside_names.is_outside(name)}
    return sorted(file for file in files if file.is_file())


def _add_outside(module: str, file: Path, content: _Content, copies: dict[str, dict[str, str]]) -> None:
    code = outside.find(module, file, read_imports)
    top = module.partition(".")[0]
    by_path = top.startswith(outside.PREFIX)
    if code.root is None:
        content.files[f"{top}.py"] = file.read_bytes()
        content.entries[module] = f"{top}.py"
        return
    below = f"outside/{_short_digest(str(code.root))}" if by_path else top
    for part in code.files.values() if by_path else _package_files(code.root):
        path = f"{below}/{part.relative_to(code.root).as_posix()}"
        if part.suffix == ".py":
            content.files[path] = part.read_bytes()
        else:
            content.links[path] = str(part)
    content.entries[module] = f"{below}/{file.relative_to(code.root).as_posix()}"
    if by_path:
        copies[str(file)] = {"module": module, "copy": content.entries[module]}


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _package_files(root: Path) -> Iterator[Path]:
    return (file for file in sorted(root.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True).encode()


def _write(content: _Content, folder: Path) -> None:
    for path, text in {**content.files, "lock": b""}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text)
        (folder / path).chmod(0o444)
    for path, target in content.links.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)


# ----------------------------------------------------------------------------------------------------- while it is used


def hold(place: Path) -> int | None:
    """A file descriptor that keeps a snapshot from being swept, also in processes that inherit it; None where it was swept."""
    try:
        lock = os.open(place / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there
        fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        if os.path.samestat(os.fstat(lock), os.stat(place / "lock")):
            return lock
    except FileNotFoundError:
        pass
    os.close(lock)
    return None


def sweep(folder: Path, keep: Path) -> None:
    """Removes the snapshots that nobody holds, apart from `keep`, and what killed writers left of theirs."""
    for place in folder.glob("*"):
        if place.name.startswith("."):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(place)
        elif place != keep:
            with contextlib.suppress(OSError), (place / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                aside = temporary_path(place)
                place.rename(aside)
                shutil.rmtree(aside)
