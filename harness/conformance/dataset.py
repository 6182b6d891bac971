"""What a dataset owes the machine: its declaration, its files, and that both say the same."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.conformance.clause import Broken, Clause, NotApplicable
from harness.data import catalogue, files
from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.layout import IGNORE, Dataset, Pair, Root
from harness.data.scenes import scene
from harness.data.selection import choose
from harness.data.synthetic import write_pair
from harness.data.verify import check
from harness.errors import DataError
from harness.jobs.kinds import Data

_LISTED = 10  # problems that a clause prints
_READ_TWICE = 5  # label files of a split


@dataclass(frozen=True)
class DatasetSubject:
    """A dataset by its name, and so many images of each split that are read (None: all)."""

    name: str
    data_dir: Path | None
    cache: Path
    images: int | None = 100

    @property
    def dataset(self) -> Dataset:
        return catalogue.find(self.name)

    def root(self) -> Root:
        """The dataset on disk; MissingError where it is not here."""
        return files.locate(Data(name=self.name), data_dir=self.data_dir, cache=self.cache)

    @functools.cached_property
    def chosen(self) -> dict[str, list[Pair]]:
        """{split: pairs that are read}, evenly spread."""
        root = self.root()
        found = {split: files.scan(root, split)[0] for split in root.dataset.splits}
        return {split: choose(pairs, self.images or len(pairs)) if pairs else [] for split, pairs in found.items()}

    def label_maps_only(self) -> None:
        """NotApplicable for a dataset of boxes."""
        if self.dataset.layouts[0].one_file_per_split:
            raise NotApplicable("its annotations are no label maps")


def _several(problems: list[str]) -> str:
    more = f"\n     … and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return "\n     ".join(problems[:_LISTED]) + more


# ------------------------------------------------------------------------------------------------------------- clauses


def it_is_declared(subject: DatasetSubject) -> None:
    catalogue.find(subject.name)


def label_maps_survive_its_layout(subject: DatasetSubject) -> None:
    subject.label_maps_only()
    dataset = subject.dataset
    image, label = scene(np.random.default_rng(0), dataset.num_classes, (48, 64))
    label[:8, :8] = np.arange(64).reshape(8, 8) % dataset.num_classes
    for layout in dataset.layouts:
        if layout.has_own_reader:
            continue  # it only reads
        split = next(iter(dataset.splits))
        with tempfile.TemporaryDirectory() as folder:
            write_pair(Path(folder), layout, split, "0", image, label)
            place = str(Path(folder) / layout.label_path(split, "0"))
            read = LabelReader(layout).read(place)
        void = IGNORE in layout.labels.values()
        wrong = (read != label) & ((label != IGNORE) | void)
        if wrong.any():
            found = sorted({(int(a), int(b)) for a, b in zip(label[wrong], read[wrong])})[:5]
            raise Broken(f"layout '{layout.name}': training ids written and read again differ: {found}")
    if any(layout.has_own_reader for layout in dataset.layouts):
        _own_reader_keeps_its_contract(subject)


def _own_reader_keeps_its_contract(subject: DatasetSubject) -> None:
    """Broken where it gives two label maps of one file, or changes it."""
    read = LabelReader(subject.root().layout).read_raw  # refuses what is no array of integers [H, W]
    for pairs in subject.chosen.values():
        for pair in pairs[:_READ_TWICE]:
            before = Path(pair.label).read_bytes()
            first = read(pair.label)
            kept = first.copy()
            first[:] = 0  # what a caller does with a map must not reach the next one
            if not np.array_equal(read(pair.label), kept):
                raise Broken(
                    f"{pair.label}: read twice, it gives two label maps; the same file has to give the same values"
                )
            if Path(pair.label).read_bytes() != before:
                raise Broken(f"{pair.label}: reading changed the file")


def its_files_are_there(subject: DatasetSubject) -> None:
    root, empty = subject.root(), []
    for split in root.dataset.splits:
        if not files.scan(root, split)[0]:
            empty.append(split)
    if empty:
        raise Broken(
            f"no image of split {', '.join(empty)} under {root.path}; it expects {root.dataset.expects(empty[0])}"
        )


def every_image_has_its_label_map(subject: DatasetSubject) -> None:
    root, problems = subject.root(), []
    for split in root.dataset.splits:
        problems += files.scan(root, split)[1]
    if problems:
        raise Broken(_several(problems))


def splits_have_as_many_images_as_declared(subject: DatasetSubject) -> None:
    root, problems = subject.root(), []
    if not any(root.dataset.splits.values()):
        raise NotApplicable("no numbers are declared")
    for split, number in root.dataset.splits.items():
        found = len(files.scan(root, split)[0])
        if number is not None and number != found:
            problems.append(f"split '{split}' has {found} complete pairs, declared are {number}")
    if problems:
        raise Broken(_several(problems))


def files_are_sound(subject: DatasetSubject) -> None:
    root, problems = subject.root(), []
    for pairs in subject.chosen.values():
        problems += check(root, pairs, {})
    if problems:
        raise Broken(_several(problems))


def every_class_occurs(subject: DatasetSubject) -> None:
    subject.label_maps_only()
    root, seen = subject.root(), np.zeros(256, bool)
    reader, unlabelled, read = LabelReader(root.layout), [], 0
    for pairs in subject.chosen.values():
        for pair in pairs:
            try:
                present = np.unique(read_pair(pair, reader)[1])
            except DataError:  # another clause says it
                continue
            seen[present] = True
            read += 1
            if present.tolist() == [IGNORE]:
                unlabelled.append(pair.label)
    if read and len(unlabelled) == read:
        raise Broken("no pixel of the images that were read is labelled: are the values of 'ignore' those of classes?")
    absent = [name for k, name in enumerate(root.dataset.classes) if not seen[k]]
    if absent and subject.images is None:
        raise Broken(f"no pixel of any split is {', '.join(absent[:20])}")
    if absent:
        raise NotApplicable(
            f"not seen in the {read} images that were read: {', '.join(absent[:20])} (--images all reads every one)"
        )


def no_image_is_in_two_splits(subject: DatasetSubject) -> None:
    root = subject.root()
    by_size: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for split in root.dataset.splits:
        for pair in files.scan(root, split)[0]:
            by_size[os.path.getsize(pair.image)].append((split, pair.image))
    problems = []
    for alike in by_size.values():
        if len({split for split, _ in alike}) < 2:
            continue
        contents: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        for split, image in alike:
            contents[hashlib.sha256(Path(image).read_bytes()).digest()].append((split, image))
        for same in contents.values():
            if len({split for split, _ in same}) > 1:
                problems.append(" and ".join(f"{image} ({split})" for split, image in same[:3]) + " are one image")
    if problems:
        raise Broken(_several(problems))


def _clauses(*pairs: tuple[str, Callable[[DatasetSubject], None]]) -> tuple[Clause[DatasetSubject], ...]:
    return tuple(Clause(promise, check) for promise, check in pairs)


CLAUSES = _clauses(
    ("its declaration contradicts nothing", it_is_declared),
    (
        "label maps are read as they were written; by a reader of its own, the same each time",
        label_maps_survive_its_layout,
    ),
    ("every split has images", its_files_are_there),
    ("every image has a label map, and every label map an image", every_image_has_its_label_map),
    ("splits have as many images as declared", splits_have_as_many_images_as_declared),
    ("files are whole, of one size in pairs, and hold declared values alone", files_are_sound),
    ("every class occurs", every_class_occurs),
    ("no image is in two splits", no_image_is_in_two_splits),
)
