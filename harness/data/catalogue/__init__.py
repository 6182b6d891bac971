"""Every dataset by name: one file each in this folder, which declares `DATASET`, found by the file's name.

An unusual convention would change scores unnoticed, so each declaration says what the official download
holds (`layouts`), which raw value means which class (`Layout.labels`) and where that comes from (`source`, `note`).
Adding a dataset is adding one file (README.md). Declarations are data: what a job uses of one is in its key
(harness.data.key_parts), and no code is found from here. Nothing heavy: `plan` and `list` import this.
Files whose names begin with `_` hold what several datasets share.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

from harness.data.layout import IGNORE, Dataset
from harness.errors import UserError, nearest

_sound: dict[str, Dataset] = {}  # declarations that contradict nothing, each looked at once


@functools.cache
def names() -> list[str]:
    """Names of all datasets, sorted; imports none of them."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def find(name: str) -> Dataset:
    """The dataset called `name`; raises UserError with the nearest valid name, or where its file declares none so called."""
    if name not in names():
        raise UserError(f"unknown dataset '{name}'.{nearest(name, names())} (python -m harness list datasets)")
    file = Path(__file__).parent / f"{name}.py"
    try:
        declaration = getattr(importlib.import_module(f"{__name__}.{name}"), "DATASET", None)
    except Exception as error:  # whatever a file of someone's own may raise
        line = _line_in(error, file)
        raise UserError(f"{file}:{line}: dataset '{name}' cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(declaration, Dataset) or declaration.name != name:
        raise UserError(f"{file} must declare DATASET, a harness.data.layout.Dataset called '{name}' like its file")
    if _sound.get(name) is not declaration:
        problems = [*_contradictions(declaration)]
        if problems:
            raise UserError(f"{file}: " + "; ".join(problems))
        _sound[name] = declaration
    return declaration


def _line_in(error: Exception, file: Path) -> int:
    """The line of `file` where an error arose; 1 where it arose elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 1
    frames = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            frames.append(trace.tb_lineno)
        trace = trace.tb_next
    return frames[-1] if frames else 1


def _contradictions(dataset: Dataset) -> Iterator[str]:
    """What in a declaration would fail, or be silently wrong, once its files are read."""
    classes = dataset.num_classes
    if not classes or not dataset.splits or not dataset.layouts:
        yield "DATASET needs at least one class, one split and one layout"
    if len(dataset.palette) != classes:
        yield f"'palette' has {len(dataset.palette)} colours for {classes} classes; give one per class"
    if len(set(dataset.classes)) < classes:
        yield "'classes' names one class twice"
    for pair in dataset.mirror_pairs:
        if not all(0 <= k < classes for k in pair):
            yield f"'mirror_pairs' exchanges {pair}, but training ids are 0..{classes - 1}"
    for layout in dataset.layouts:
        outside = sorted({k for k in layout.labels.values() if k != IGNORE and not 0 <= k < classes})
        if outside:
            allowed = f"0..{classes - 1} and {IGNORE}"
            yield f"layout '{layout.name}' maps raw values to the training ids {outside}; allowed are {allowed}"
