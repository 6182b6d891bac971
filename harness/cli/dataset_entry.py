"""What the declaration of one dataset says, and whether the dataset is here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.data import catalogue, files
from harness.data.layout import Dataset, Layout
from harness.errors import UserError
from harness.jobs.kinds import Data
from harness.table.recipes import dataset_name


def lines(name: str, data_dir: Path | None) -> Iterator[str]:
    """Classes, splits with their published numbers of images, files, source and place of a dataset, which is named as recipes
    of tables in the current folder name it. UserError where there is none of that name."""
    located = dataset_name(name, Path())
    dataset = catalogue.find(located)
    yield f"{name}  {dataset.title}, {dataset.num_classes} classes, {dataset.task}"
    yield f"  classes: {', '.join(dataset.classes)}"
    yield f"  images: {', '.join(_split(*split) for split in dataset.splits.items())}"
    alternatives = "" if len(dataset.layouts) == 1 else f", in one of {len(dataset.layouts)} layouts"
    yield f"  files{'' if dataset.place else ', below the data folder'}{alternatives}:"
    for layout in dataset.layouts:
        yield f"    {layout.name}, label values {layout.allowed_values()}"
        yield from (f"      {path}" for path in _paths(dataset, layout))
    yield f"  source: {dataset.source}"
    yield f"  licence: {dataset.licence}"
    if dataset.note:
        yield f"  note: {dataset.note}"
    yield f"  here: {_place(located, dataset, data_dir)}"


def _split(name: str, images: int | None) -> str:
    return f"{name} {images}" if images is not None else name


def _paths(dataset: Dataset, layout: Layout) -> Iterator[str]:
    """The patterns of a layout's files: SPLIT is a split's folder, ID an image; and folders with other names than their
    splits."""
    top = "/".join(filter(None, (dataset.place or dataset.folder, layout.top)))
    for pattern in dict.fromkeys((layout.image, layout.label, layout.listing)):
        if pattern:
            yield f"{top}/{pattern.format(split='SPLIT', id='ID')}"
    renamed = {split: folder for split, folder in layout.folders.items() if split in dataset.splits and split != folder}
    if renamed:
        yield f"(SPLIT is {', '.join(f'{folder} for {split}' for split, folder in renamed.items())})"


def _place(located: str, dataset: Dataset, data_dir: Path | None) -> str:
    data = Data(name=located)
    if data.scenes() is not None:
        return "yes, drawn by the harness where they are needed"
    if data_dir is None and not dataset.place:
        return "not known, no data folder is set (--data DIR or HARNESS_DATA)"
    try:
        root = files.locate(data, data_dir=data_dir, cache=Path())  # the cache is for drawn scenes alone
    except UserError as error:
        return f"no: {str(error).partition('. It must contain')[0]}"
    return f"yes, {root.path} (layout '{root.layout.name}')"
