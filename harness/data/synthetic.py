"""Embedded scenes with co-occurring classes, in any dataset's own layout and raw values.

Even classes are grounds (sky, road), each followed by the class that comes with it (aeroplane, car). Companions of
neighbouring grounds look alike, so that the ground tells them apart; low classes are frequent, high ones rare; some
pixels are void where the dataset has a void value. Everything follows from the parameters: two writers agree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np

from harness.data import catalog, instances
from harness.data.layout import IGNORE, Dataset, Layout
from harness.data.reading import raw_values
from harness.errors import OutputError, UserError, nearest
from harness.recipe import Synthetic

_HABIT = 0.85  # how often an object stands on its own ground
_RARITY = 0.6  # exponent of the power law by which grounds become rarer


def write_once(dataset: Dataset, scenes: Synthetic, cache: Path) -> Path:
    """Writes the scenes below `cache` unless they are there, and returns their folder. Safe in several processes."""
    code = Path(__file__).read_bytes()
    facts = repr((dataset.name, dataset.layouts[0], dataset.splits, scenes.model_dump(mode="json"))).encode()
    name = f"{dataset.name}-{hashlib.sha256(code + facts).hexdigest()[:12]}"
    folder = Path(cache) / "synthetic" / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".tmp", dir=folder.parent))
        try:
            write(dataset, scenes, aside, dataset.layouts[0])
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # else another process was first
            raise OutputError(f"cannot write scenes to {folder}: {error.strerror or error}") from error
    return folder


def synthesize(name: str, out: Path, *, scenes: Synthetic | None = None, layout: str | None = None) -> Path:
    """Writes a small copy of the dataset `name` below the data folder `out`, as its official download would lie there.

    Raises UserError when something is there already, or for an unknown layout.
    """
    dataset = catalog.find(name)
    chosen = next((one for one in dataset.layouts if layout in (None, one.name)), None)
    if chosen is None:
        raise UserError(
            f"dataset '{name}' has no layout '{layout}'.{nearest(layout, [o.name for o in dataset.layouts])}"
        )
    folder = Path(out) / dataset.folder
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; scenes are only written to a new folder, so that no data is lost")
    try:
        write(dataset, scenes or Synthetic(), folder / chosen.top, chosen)
    except OSError as error:
        raise OutputError(f"cannot write scenes to {folder}: {error.strerror or error}") from error
    return folder


def write(dataset: Dataset, scenes: Synthetic, out: Path, layout: Layout) -> None:
    """Writes every split of `dataset` in `layout` under `out`, with the layout's raw label values."""
    if dataset.task == "detection":
        return instances.write(dataset, scenes, out, layout)
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
    save(out / layout.label_path(split, id), raw_values(layout)[label])


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes an image or a label map in the format of its name (.jpg, .png, .mat)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat":
        from harness.data.mat import write_matrix

        path.write_bytes(write_matrix("S", pixels))
        return
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(path.suffix, pixels, quality)
    assert done
    path.write_bytes(data.tobytes())


def scene(rng: np.random.Generator, num_classes: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One scene: image uint8 [H, W, 3] (BGR) and training ids uint8 [H, W] with IGNORE."""
    label = _arrange(rng, num_classes, size)
    image = _paint(rng, label)
    if rng.random() < 0.7:  # a void patch: the image shows something there, the label does not say what
        height, width = size
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        cv2.ellipse(label, (x, y), (max(1, width // 16), max(1, height // 16)), 0, 0, 360, IGNORE, -1)
    return image, label


def _arrange(rng: np.random.Generator, num_classes: int, size: tuple[int, int]) -> np.ndarray:
    """Two or three bands of ground, each with its companion objects on it."""
    height, width = size
    grounds = (num_classes + 1) // 2
    chance = 1.0 / np.arange(1, grounds + 1) ** _RARITY
    bands = min(int(rng.integers(2, 4)), grounds)
    chosen = rng.choice(grounds, size=bands, replace=False, p=chance / chance.sum())
    label = np.full(size, 2 * chosen[0], np.uint8)
    columns = np.arange(width)
    tops = [0]
    for band in range(1, bands):
        top = height * band / bands + rng.uniform(-0.1, 0.1) * height
        wave = 0.05 * height * np.sin(2 * np.pi * (columns / width * rng.uniform(0.5, 2) + rng.random()))
        label[np.arange(height)[:, None] >= (top + wave)[None, :]] = 2 * chosen[band]
        tops.append(int(top))
    for top, ground in zip(tops, chosen):
        for _ in range(int(rng.integers(1, 4))):
            pair = ground if rng.random() < _HABIT else int(rng.integers(0, grounds))
            companion = min(2 * int(pair) + 1, num_classes - 1)
            centre = (int(rng.integers(0, width)), int(top + rng.uniform(0.05, 0.95) * height / bands))
            half = (int(width * rng.uniform(0.05, 0.12)) + 1, int(height * rng.uniform(0.06, 0.12)) + 1)
            if companion % 4 == 1:
                cv2.ellipse(label, centre, half, 0, 0, 360, companion, -1)
            else:
                corners = [(c - h, c + h) for c, h in zip(centre, half)]
                cv2.rectangle(label, (corners[0][0], corners[1][0]), (corners[0][1], corners[1][1]), companion, -1)
    return label


def _paint(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Colour, stripes and noise by class, under one light."""
    height, width = label.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.zeros((height, width, 3), np.float32)
    for k in np.unique(label).tolist():
        own = np.random.default_rng(k)  # the look of a class is the same in every scene
        look = k if k % 2 == 0 else 4 * (k // 4) + 1  # companions of two neighbouring grounds share a colour
        hsv = np.array([[[look * 0.618034 % 1 * 180, 110 + 35 * (look % 4), 120 + 25 * (look % 5)]]], np.uint8)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
        angle, period = own.uniform(0, np.pi), own.uniform(3, 12)
        stripes = 18 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        mask = label == k
        image[mask] = colour + stripes[mask][:, None]
    image = image * rng.uniform(0.8, 1.15) + rng.normal(0, 7, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
