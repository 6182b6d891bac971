"""Writes embedded scenes (`harness.data.scenes`) in any dataset's layout and raw values. Two processes may write at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from harness.data import catalogue
from harness.data.annotations.label_maps import raw_values
from harness.data.layout import Dataset, Layout
from harness.data.scenes import save, scene
from harness.errors import UserError, nearest
from harness.files import atomic_folder
from harness.recipes.profile import Synthetic

# the files whose change makes other scenes
_WRITERS = ("synthetic.py", "scenes.py", "annotations/label_maps.py")


def write_once(dataset: Dataset, scenes: Synthetic, cache: Path) -> Path:
    """Writes the scenes below `cache` unless they are there, and returns their folder. Safe in several processes."""
    layout = dataset.layouts[0].of_scenes()
    writers = [Path(__file__).parent / name for name in _WRITERS]
    writers += [Path(str(layout.annotation_module().__file__))] if layout.annotations else []
    code = b"".join(file.read_bytes() for file in writers)
    facts = repr((dataset.name, layout, dataset.splits, scenes.model_dump(mode="json"))).encode()
    name = f"{dataset.name}-{hashlib.sha256(code + facts).hexdigest()[:12]}"
    folder = Path(cache) / "synthetic" / name
    if not folder.is_dir():
        with atomic_folder(folder) as aside:
            write(dataset, scenes, aside, layout)
    return folder


def synthesize(name: str, out: Path, *, scenes: Synthetic | None = None, layout: str | None = None) -> Path:
    """Writes a small copy of the dataset `name` below the data folder `out`, as its official download would lie there.

    Raises UserError when something is there already, or for an unknown layout.
    """
    dataset = catalogue.find(name)
    selected_layout = next((candidate for candidate in dataset.layouts if layout in (None, candidate.name)), None)
    if selected_layout is None:
        raise UserError(
            f"dataset '{name}' has no layout '{layout}'.{nearest(layout, [o.name for o in dataset.layouts])}"
        )
    if selected_layout.has_own_reader:
        raise UserError(
            f"dataset '{dataset.name}': its label files are read by a function of its own, which cannot write them; "
            "--profile smoke trains on scenes all the same"
        )
    folder = Path(out) / dataset.folder
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; scenes are only written to a new folder, so that no data is lost")
    with atomic_folder(folder, replace=True, advice="make room or choose another folder with --out DIR") as aside:
        write(dataset, scenes or Synthetic(), aside / selected_layout.top, selected_layout)
    return folder


def write(dataset: Dataset, scenes: Synthetic, out: Path, layout: Layout) -> None:
    """Writes every split of `dataset` in `layout` under `out`, with the layout's raw label values."""
    if layout.one_file_per_split:
        return layout.annotation_module().write(dataset, scenes, out, layout)
    for number_of_split, split in enumerate(dataset.splits):
        count = scenes.train_images if split == "train" else scenes.test_images
        ids = []
        for number in range(count):
            rng = np.random.default_rng([number_of_split, number, dataset.num_classes])
            image, label = scene(rng, dataset.num_classes, scenes.size)
            id = layout.ids.format(split=layout.folders.get(split, split), number=number)
            ids.append(id)
            write_pair(out, layout, split, id, image, label)
        if layout.listing:
            listing = out / layout.listing_path(split)
            listing.parent.mkdir(parents=True, exist_ok=True)
            listing.write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")


def write_pair(out: Path, layout: Layout, split: str, id: str, image: np.ndarray, label: np.ndarray) -> None:
    """Writes an image [H, W, 3] (BGR) and its training ids [H, W] where `layout` has them, in its raw values."""
    save(out / layout.image_path(split, id), image)
    path, raw = out / layout.label_path(split, id), raw_values(layout)[label]
    if layout.annotations:
        path.parent.mkdir(parents=True, exist_ok=True)
        layout.annotation_module().write(path, raw)
    else:
        save(path, raw)
