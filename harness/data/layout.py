"""What a declaration of a dataset consists of: its classes and splits (Dataset), its files and raw values (Layout)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from harness.errors import UserError, nearest
from harness.jobs.tasks import SEGMENTATION
from harness.spec import IGNORE as IGNORE  # label maps are read with it


@dataclass(frozen=True)
class Layout:
    """Where the files of a split lie below the dataset's folder, and what the values in its label files mean.

    `image` and `label` are paths with `{split}` (renamed by `folders`) and `{id}`; an id may contain `/`. A `label`
    without `{id}` is one annotation file for the whole split (detection), `labels` then means categories. `listing`
    names the text file with the ids of a split, where the folders do not say it. `top` is the folder that the
    official archive makes; it may be left out. `labels` maps every raw value that may occur to a training id or IGNORE.
    `ids` is the form of an id where scenes are written in this layout.
    `annotations` names the module that reads and writes label files which are no pictures: `read(path)` to raw values
    and `write(path, raw)`; or, for detection, `scan`, `check` and `write` of annotation files. It is imported only by
    jobs whose data lie in this layout. Or it names a function outside the checkout, `path/to/file.py:NAME`, that gives the
    raw values of a label file (harness.data.annotations.own_reader). `colours`: raw values are colours, 0xRRGGBB.
    `undeclared`: what a raw value that is not in `labels` is: an "error", or to "ignore".
    """

    name: str
    image: str
    label: str
    labels: Mapping[int, int]
    folders: Mapping[str, str] = field(default_factory=dict)
    listing: str = ""
    top: str = ""
    ids: str = "{split}_{number:06d}"
    annotations: str = ""
    colours: bool = False
    undeclared: Literal["error", "ignore"] = "error"

    def annotation_module(self) -> ModuleType:
        """The module that `annotations` names; imports it."""
        return importlib.import_module(self.annotations)

    @property
    def has_own_reader(self) -> bool:
        """Whether a function outside the checkout reads the label files."""
        return ".py:" in self.annotations

    def of_scenes(self) -> Layout:
        """The layout in which scenes are written and read: this one, or PNGs where its own reader can only read."""
        if not self.has_own_reader:
            return self
        return replace(self, annotations="", label="labels_of_scenes/{split}/{id}.png")

    @property
    def one_file_per_split(self) -> bool:
        """Whether one file annotates a whole split; else every image has a label map."""
        return "{id}" not in self.label

    def image_path(self, split: str, id: str) -> str:
        return self.image.format(split=self.folders.get(split, split), id=id)

    def label_path(self, split: str, id: str) -> str:
        return self.label.format(split=self.folders.get(split, split), id=id)

    def listing_path(self, split: str) -> str:
        return self.listing.format(split=self.folders.get(split, split))

    def allowed_values(self) -> str:
        """The raw label values that may occur, for people: `0..33, 255`, or colours."""
        if self.colours:
            return ", ".join(map(self.value_text, self.labels))
        runs: list[list[int]] = []
        for value in sorted(self.labels):
            if runs and value == runs[-1][1] + 1:
                runs[-1][1] = value
            else:
                runs.append([value, value])
        return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in runs)

    def value_text(self, value: int) -> str:
        """A raw label value, for people: a number, or [red, green, blue] as a declaration has it."""
        return str([*value.to_bytes(3, "big")]) if self.colours else str(value)


@dataclass(frozen=True)
class Dataset:
    """One dataset. `splits` gives published numbers of images; `folder` is its place under the data folder; `mirror_pairs` are
    training ids that a horizontal flip exchanges (left and right arm); `task` is what it is annotated for; `place` is the folder
    of one that is declared outside the checkout, and comes before the data folder's where it is there."""

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    splits: Mapping[str, int | None]
    layouts: tuple[Layout, ...]
    folder: str
    licence: str
    source: str
    note: str = ""
    mirror_pairs: tuple[tuple[int, int], ...] = ()
    task: Literal["segmentation", "detection"] = "segmentation"
    place: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def expects(self, split: str) -> str:
        """What the dataset's folder must contain for `split`, one line per known layout."""
        self.check_split(split)
        lines = []
        for layout in self.layouts:
            paths = [layout.image_path(split, "ID"), layout.label_path(split, "ID")]
            if layout.listing:
                paths.append(layout.listing_path(split))
            folder = self.place or self.folder
            top = f"{layout.top}/" if layout.top else ""
            lines.append(f"{layout.name}: " + ", ".join(f"{folder}/{top}{path}" for path in paths))
        return "\n".join(lines)

    def check_task(self) -> None:
        """Raises UserError where there are no label maps to train or test a segmentation model with."""
        if self.task != SEGMENTATION.name:
            raise UserError(
                f"dataset '{self.name}' is a {self.task} dataset: it has boxes and instances and no label maps, so no "
                "segmentation model can be trained, tested or shown on it (data prepare, verify and synthesize take it)"
            )

    def check_split(self, split: str) -> None:
        if split not in self.splits:
            tail = nearest(split, self.splits, label="splits are")
            raise UserError(f"dataset '{self.name}' has no split '{split}'.{tail}")


@dataclass(frozen=True)
class Root:
    """A dataset found on disk: `path` is the folder that the layout's paths are relative to."""

    dataset: Dataset
    layout: Layout
    path: Path


class Pair(NamedTuple):
    """One image and its label map."""

    id: str
    image: str
    label: str
