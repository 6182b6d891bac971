"""What a job uses of a dataset, as JSON for its key: the content of its files, and what its declaration makes of them.

Declarations are data: a job's key holds what it uses of one declaration, and no key covers the catalogue's code. What moves
no number (title, colours, licence, source, note, published counts) is not used. How many images each split has follows from the
files; it stands beside their digest so that a result says it where the data are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.data import catalogue, files
from harness.data.annotations import own_reader
from harness.data.completeness import count_text
from harness.data.layout import IGNORE, Dataset, Layout
from harness.errors import MissingError, UserError
from harness.jobs.key import digest
from harness.jobs.kinds import Data
from harness.jobs.outside_names import without_folder

_SHORT = 16  # hexadecimal digits of a fact's digest: short enough to compare by eye, long enough to be unique


@dataclass(frozen=True)
class UsedData:
    """`facts` of a dataset by their names; `reader`: the module that reads its label files, or '', and its file where that is
    outside the checkout; `missing`: why the dataset cannot be used here, or '', and then the `source` that it can be had from."""

    facts: dict[str, str]
    reader: str = ""
    reader_file: Path | None = None
    missing: str = ""
    source: str = ""


def used_of(data: Data, *, data_dir: Path | None, cache: Path) -> UsedData:
    """What a job on `data` uses. Raises DataError where the dataset is half there; where it is absent, that is a fact."""
    dataset = catalogue.find(data.name)
    try:
        embedded = data.scenes() is not None  # not located: that would write them
        layout = dataset.layouts[0].of_scenes()
        if embedded:
            found = {"files": files.digest(data, data_dir=data_dir, cache=cache)}
        else:
            root = files.locate(data, data_dir=data_dir, cache=cache)
            layout, manifest = root.layout, files.manifest(root, cache)
            found = {"files": manifest.digest, "images": count_text(files.counts(root, manifest.files))}
    except MissingError as error:
        absent = {"files": "absent", **_of_dataset(dataset)}
        only = dataset.layouts[0] if len(dataset.layouts) == 1 else None
        reader = _reader(only) if only is not None and only.has_own_reader else ("", None)
        return UsedData(absent, *reader, missing=str(error), source=dataset.source)
    return UsedData({**found, **_of_dataset(dataset), **_of_layout(layout)}, *_reader(layout))


def _reader(layout: Layout) -> tuple[str, Path | None]:
    """The module that reads a layout's label files, or '', and its file where that is outside the checkout."""
    if not layout.has_own_reader:
        return layout.annotations, None
    own = own_reader.find(layout.annotations)
    return own.module, own.file


def check_declaration(data: Data, facts: Mapping[str, str], *, data_dir: Path | None, cache: Path) -> None:
    """UserError unless the dataset is declared as it was when a key with these facts was made."""
    declared = _of_dataset(catalogue.find(data.name))
    if "layout" in facts:
        embedded = data.scenes() is not None
        root = None if embedded else files.locate(data, data_dir=data_dir, cache=cache)
        declared |= _of_layout(catalogue.find(data.name).layouts[0].of_scenes() if root is None else root.layout)
    edited = [name for name, fact in declared.items() if facts.get(name, fact) != fact]
    if edited:
        raise UserError(
            f"the declaration of dataset '{data.name}' was edited since the job was planned ({', '.join(edited)}); "
            "repeat the command"
        )


def check_files(data: Data, facts: Mapping[str, str], *, data_dir: Path | None, cache: Path) -> None:
    """UserError unless the dataset's files are those that a key with these facts was made of; reads each of them once."""
    if data.scenes() is not None:
        return
    root = files.locate(data, data_dir=data_dir, cache=cache)
    if files.manifest(root, cache).digest != facts["files"]:
        raise UserError(
            f"the copy of dataset '{data.name}' at {root.path} on this node is not what the job was planned with: copy it anew "
            "(rsync -a --delete), or leave 'data' out of the cluster file"
        )


def _of_dataset(dataset: Dataset) -> dict[str, str]:
    return {
        "classes": digest(list(dataset.classes))[:_SHORT],
        "mirror pairs": digest([list(pair) for pair in dataset.mirror_pairs])[:_SHORT],
        "splits": ", ".join(dataset.splits),  # in their order, from which embedded scenes are drawn
        "task": dataset.task,
    }


def _of_layout(layout: Layout) -> dict[str, str]:
    paths = [layout.image, layout.label, layout.listing, layout.ids, sorted(layout.folders.items())]
    mapping = [list(item) for item in sorted(layout.labels.items())]
    others = ["others", IGNORE] if layout.undeclared == "ignore" else []
    return {
        "layout": layout.name,
        "paths": digest(paths)[:_SHORT],
        "label mapping": digest([*mapping, *others])[:_SHORT],
        "label reader": without_folder(layout.annotations),
    }
