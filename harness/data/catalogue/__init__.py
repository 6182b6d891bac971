"""Every dataset by name: one file each in this folder, which declares `DATASET`, found by the file's name.

An unusual convention would change scores unnoticed, so each declaration says what the official download
holds (`layouts`), which raw value means which class (`Layout.labels`) and where that comes from (`source`, `note`).
Adding a dataset is adding one file (README.md). Declarations are data: what a job uses of one is in its key
(harness.data.key_parts), and no code is found from here. Nothing heavy: `plan` and `list` import this.
Files whose names begin with `_` hold what several datasets share.
Outside the checkout a dataset is a YAML file (harness.data.declaration), a `Dataset` in a Python file, `path/to/file.py:NAME`,
or what an installed package offers in the entry-point group `harness.datasets`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from harness.data.layout import IGNORE, Dataset
from harness.errors import UserError, nearest
from harness.jobs import outside, outside_names
from harness.jobs.key import read_imports
from harness.jobs.outside_names import beside

_sound: dict[str, Dataset] = {}  # declarations that contradict nothing, each looked at once


@functools.cache
def names() -> list[str]:
    """Names of all datasets, sorted; imports none of them."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def plugin_names() -> list[str]:
    """Names of the datasets that installed packages offer, sorted; imports none of them."""
    return sorted({*_plugins()} - {*names()})


def find(name: str) -> Dataset:
    """The dataset called `name`, or declared by the file that it names. UserError with the nearest valid name, or where its file
    declares none so called; Problems with the errors of a YAML file."""
    if outside_names.is_outside(name):
        return _outside(name)
    if name in names():
        file = Path(__file__).parent / f"{name}.py"
        declaration = _imported(f"{__name__}.{name}", "DATASET", file, name)
        if not isinstance(declaration, Dataset) or declaration.name != name:
            raise UserError(f"{file} must declare DATASET, a harness.data.layout.Dataset called '{name}' like its file")
        return _checked(name, declaration, str(file))
    if name in _plugins():
        point = _plugins()[name]
        return _checked(name, _of_plugin(point), f"{point.group}: {name} = {point.value}")
    known = [*names(), *plugin_names()]
    raise UserError(
        f"unknown dataset '{name}'.{nearest(name, known)}; or a file, my_data.yaml or my_data.py:NAME "
        "(python -m harness list datasets)"
    )


def _checked(name: str, declaration: Dataset, where: str) -> Dataset:
    if _sound.get(name) is not declaration:
        problems = [*_contradictions(declaration)]
        if problems:
            raise UserError(f"{where}: " + "; ".join(problems))
        _sound[name] = declaration
    return declaration


def _imported(module: str, attribute: str, file: Path, name: str) -> Any:
    """What a module declares under a name, None where nothing; UserError with the line where it cannot be imported."""
    try:
        loaded = (
            outside.load_anew(module, file, read_imports)
            if module.startswith(outside.PREFIX)
            else importlib.import_module(module)
        )
    except UserError:  # of a helper's ambiguous name, say
        raise
    except Exception as error:  # whatever a file of someone's own may raise
        line = _line_in(error, file)
        raise UserError(f"{file}:{line}: dataset '{name}' cannot be read: {type(error).__name__}: {error}") from error
    return getattr(loaded, attribute, None)


@functools.cache
def _plugins() -> dict[str, EntryPoint]:
    """The datasets that installed packages offer: `harness.datasets`, NAME = "package.module:DATASET"."""
    return {point.name: point for point in entry_points(group="harness.datasets")}


def _of_plugin(point: EntryPoint) -> Dataset:
    try:
        declaration = point.load()
    except Exception as error:  # whatever an installed package may raise
        raise UserError(
            f"dataset '{point.name}' ({point.value}) cannot be read: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(declaration, Dataset):
        raise UserError(f"dataset '{point.name}': {point.value} is a {type(declaration).__name__}, no Dataset")
    return declaration


def _outside(name: str) -> Dataset:
    """The dataset of a file outside the checkout; read again when the file has changed."""
    file, subject = (
        outside_names.original(outside_names.file_of(name)),
        f"dataset '{outside_names.without_folder(name)}'",
    )
    place, _ = outside_names.copy_of(file, subject) or (file, "")
    outside.check_file(place, subject)
    return _read_outside(name, file, place, place.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read_outside(name: str, file: Path, place: Path, modified: int) -> Dataset:
    if place.suffix != ".py":
        from harness.data.declaration import read_dataset

        declared = read_dataset(place, file)
    else:
        attribute = name.rpartition(":")[2]
        declared = _imported(outside.module_name(file), attribute, place, attribute)
        if not isinstance(declared, Dataset):
            raise UserError(f"{place} must declare {attribute}, a harness.data.layout.Dataset")
        layouts = tuple(replace(o, annotations=beside(o.annotations, file.parent)) for o in declared.layouts)
        declared = replace(declared, place=str(file.parent / declared.folder), layouts=layouts)
    for layout in declared.layouts:
        if layout.has_own_reader:
            from harness.data.annotations import own_reader

            own_reader.find(layout.annotations)
    problems = [*_contradictions(declared)]
    if problems:
        raise UserError(f"{file}: " + "; ".join(problems))
    return declared


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
        if layout.has_own_reader and layout.one_file_per_split:
            yield f"layout '{layout.name}': a label reader of one's own reads a file per image; 'label' needs {{id}}"
        if outside:
            allowed = f"0..{classes - 1} and {IGNORE}"
            yield f"layout '{layout.name}' maps raw values to the training ids {outside}; allowed are {allowed}"
