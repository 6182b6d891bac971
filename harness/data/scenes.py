"""Draws synthetic scenes with co-occurring classes.

Even classes are grounds (sky, road), each followed by the class that comes with it (aeroplane, car). Companions of
neighbouring grounds look alike, so that the ground tells them apart; low classes are frequent, high ones rare; some
pixels are void. All randomness comes from the generator passed in.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from harness.data.layout import IGNORE

_HABIT = 0.85  # how often an object stands on its own ground
_RARITY = 0.6  # exponent of the power law by which grounds become rarer


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
    classes = rng.choice(grounds, size=bands, replace=False, p=chance / chance.sum())
    label = np.full(size, 2 * classes[0], np.uint8)
    columns = np.arange(width)
    tops = [0]
    for band in range(1, bands):
        top = height * band / bands + rng.uniform(-0.1, 0.1) * height
        wave = 0.05 * height * np.sin(2 * np.pi * (columns / width * rng.uniform(0.5, 2) + rng.random()))
        label[np.arange(height)[:, None] >= (top + wave)[None, :]] = 2 * classes[band]
        tops.append(int(top))
    for top, ground in zip(tops, classes):
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
        class_rng = np.random.default_rng(k)  # the look of a class is the same in every scene
        look = k if k % 2 == 0 else 4 * (k // 4) + 1  # companions of two neighbouring grounds share a colour
        hsv = np.array([[[look * 0.618034 % 1 * 180, 110 + 35 * (look % 4), 120 + 25 * (look % 5)]]], np.uint8)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
        angle, period = class_rng.uniform(0, np.pi), class_rng.uniform(3, 12)
        stripes = 18 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        mask = label == k
        image[mask] = colour + stripes[mask][:, None]
    image = image * rng.uniform(0.8, 1.15) + rng.normal(0, 7, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    """Writes an image or a label map in the format of its name (.jpg, .png)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    success, data = cv2.imencode(path.suffix, pixels, quality)
    assert success
    path.write_bytes(data.tobytes())
