"""Names of what lies outside the checkout: `path/to/file.py:NAME` (a method, context, backbone or dataset), `path/to/file.yaml`
(a dataset).

A path counts from the table that says it; once read it is absolute. Keys, reports and exports leave the folder out: the same
file elsewhere is the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import ROOT
from harness.errors import UserError
from harness.files import read_json

COPIES = "outside.json"
"""In a snapshot of the code: `files`, {path of a file outside the checkout: copy, module}; `folder`, where paths begin."""
_NAME = re.compile(r"(?P<path>.+\.py):(?P<name>[^/:]*)|(?P<yaml>.+\.ya?ml)")
_LONGEST = 4000  # characters of a path


def is_outside(name: str) -> bool:
    """Whether a name is that of a file outside the checkout."""
    return _NAME.fullmatch(name) is not None


def file_of(name: str) -> str:
    """The path in a name of something outside the checkout."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return match["path"] or match["yaml"]


def located(name: str, near: Path | None) -> str:
    """A name with its path made absolute: counted from the folder `near`, or from the current one where only there is such a
    file. Other names are left as they are."""
    match = _NAME.fullmatch(name)
    if match is None or len(name) > _LONGEST:
        return name
    path = os.path.expanduser(match["path"] or match["yaml"])
    beside = os.path.abspath(os.path.join(near or "", path))
    here = os.path.abspath(path)
    place = here if os.path.isfile(here) and not os.path.isfile(beside) else beside
    return place if match["yaml"] else f"{place}:{match['name']}"


def beside(name: str, folder: Path) -> str:
    """A name of a Python file's entry with its path counted from a folder; other names are left as they are."""
    return os.path.abspath(os.path.join(folder, os.path.expanduser(name))) if ".py:" in name else name


def located_inside(value: Any, near: Path | None) -> Any:
    """JSON with every text that names a Python file's entry located, at any depth."""
    if isinstance(value, str):
        return located(value, near) if ".py:" in value else value
    if isinstance(value, Mapping):
        return {key: located_inside(inner, near) for key, inner in value.items()}
    return [located_inside(inner, near) for inner in value] if isinstance(value, list | tuple) else value


def without_folder(name: str) -> str:
    """A name as keys and reports have it: `file.py:NAME`, `file.yaml`. What has no absolute path is left as it is."""
    return name.rpartition("/")[2] if name.startswith("/") and is_outside(name) else name


def without_folders(value: Any) -> Any:
    """JSON with every name in it as keys have it, at any depth."""
    if isinstance(value, str):
        return without_folder(value)
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    return [without_folders(inner) for inner in value] if isinstance(value, list | tuple) else value


def original(path: str) -> Path:
    """The file that a path means; in a snapshot of the code, where it begins in the folder where the snapshot was made."""
    return Path(os.path.abspath(os.path.join(_copies().get("folder", ""), os.path.expanduser(path))))


def copy_of(file: Path, subject: str) -> tuple[Path, str] | None:
    """(the file in this snapshot of the code, its module) of a file outside; None in a checkout, which reads the file itself.

    UserError where the snapshot lacks it; `subject` names what is looked for.
    """
    if not _copies():
        return None
    copy = _copies()["files"].get(str(file))
    if copy is None:
        raise UserError(f"{subject}: the job's copy of the code has no {file}; name it in the table")
    return ROOT / copy["copy"], copy["module"]


def _copies() -> dict[str, Any]:
    """The record of the snapshot that this is a part of; empty in a checkout."""
    global _record
    if _record is None:
        _record = read_json(ROOT / COPIES) or {}
    return _record


_record: dict[str, Any] | None = None
