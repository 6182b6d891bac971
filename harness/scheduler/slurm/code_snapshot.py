"""A copy of the code for jobs that wait in a queue: what is edited meanwhile in the checkout does not reach them."""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import shutil
from pathlib import Path

from harness import ROOT, environment
from harness.files import atomic_folder

PACKAGES = ("harness", "methods")


def snapshot(folder: Path, root: Path = ROOT) -> Path:
    """The folder below `folder` that holds this code; written unless it is there already. OutputError where it cannot be."""
    files = sorted(f for room in PACKAGES for f in (root / room).rglob("*.py"))
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    place = folder / hasher.hexdigest()[:16]
    if place.is_dir():
        return place
    with atomic_folder(place) as aside:
        for file in files:
            target = aside / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        commit, dirty = environment.commit()
        (aside / "commit.json").write_text(json.dumps({"commit": commit, "dirty": dirty}), encoding="utf-8")
        compileall.compile_dir(aside, quiet=2, stripdir=str(aside), prependdir=str(place))
        _make_read_only(aside)
    return place


def _make_read_only(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            (Path(folder) / name).chmod(0o444)
