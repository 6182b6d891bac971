"""Training-time transforms on uint8 arrays, with the field's arithmetic (OpenCV, as mmsegmentation's pipelines).

Functions take their random parameters as arguments; `augment` draws them. Images are uint8 [H, W, 3] in OpenCV's
order (blue, green, red), label maps uint8 [H, W] of training ids with IGNORE. Brightness and contrast are tables over
the 256 grey levels, which gives the same integers as float arithmetic per pixel at a fraction of its cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from harness.data.layout import IGNORE
from harness.recipes.segmentation import Augmentation

cv2.setNumThreads(0)  # a job has its share of the cores; OpenCV's threads per image would compete for them

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32, (0.5, 1.5), (0.5, 1.5), 18
"""Ranges of the photometric distortion (SSD, Liu et al. 2016, as mmsegmentation's PhotoMetricDistortion)."""
_RANGES = {"contrast_about_mean": CONTRAST, "saturation": SATURATION, "brightness": (-BRIGHTNESS, BRIGHTNESS)}
_CROP_TRIES = 10
_LEVELS = np.arange(256, dtype=np.float32)


class Sample(NamedTuple):
    """One training sample. `valid` is the image's place in it: top, left, height, width; the rest is padding."""

    image: np.ndarray  # uint8 [3, H, W], red, green, blue; 0 where padded
    target: np.ndarray  # uint8 [H, W], IGNORE where padded
    valid: tuple[int, int, int, int]


class Photometric(NamedTuple):
    """The random parameters of one image; None: not applied. `hue` in OpenCV's half degrees."""

    brightness: float | None = None
    contrast: float | None = None
    contrast_first: bool = False
    saturation: float | None = None
    hue: int | None = None


def target_size(
    size: Sequence[int], base: Sequence[int] | None, *, keep_ratio: bool = True, factor: float = 1.0
) -> tuple[int, int]:
    """(height, width) of an image of `size` = (height, width) resized to `base`, scaled by `factor`.

    With `keep_ratio`, `base` is (long, short) and the image becomes as large as fits within it; else (height, width);
    None: the image's own size, cut off to whole pixels when it is scaled (as TensorFlow's segmentation codes do).
    """
    if base is None:
        return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))
    scaled = [int(side * factor) for side in base]
    if not keep_ratio:
        return max(1, scaled[0]), max(1, scaled[1])
    by = min(max(scaled) / max(size), min(scaled) / min(size))
    return max(1, int(size[0] * by + 0.5)), max(1, int(size[1] * by + 0.5))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear without antialiasing (OpenCV's; torchvision's antialiased one gives other numbers)."""
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_and_crop(
    image: np.ndarray, size: tuple[int, int], corner: tuple[int, int], crop: tuple[int, int]
) -> np.ndarray:
    """`resize_image(image, size)` cut to at most `crop` from `corner` = (top, left), without resizing what lies below
    and to the right of the cut: the same integers for less work."""
    ends = [min(start + length, side) for start, length, side in zip(corner, crop, size)]
    scales = [new / old for new, old in zip(size, image.shape)]
    rows, columns = (min(math.ceil(end / scale) + 2, old) for end, scale, old in zip(ends, scales, image.shape))
    part = cv2.resize(image[:rows, :columns], None, fx=scales[1], fy=scales[0], interpolation=cv2.INTER_LINEAR)
    return part[corner[0] : ends[0], corner[1] : ends[1]]


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour, since label values are categorical."""
    if label.shape == size:
        return label
    return cv2.resize(label, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def rotate(image: np.ndarray, label: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotates about the centre (anticlockwise when positive) and keeps the size; outside is black and IGNORE.

    Bicubic for the image, as the released IDRNet code does for LIP.
    """
    height, width = label.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=(0, 0, 0))
    return turned, cv2.warpAffine(label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)


def dominated(label: np.ndarray, cat_max_ratio: float) -> bool:
    """Whether fewer than two classes are there, or one holds at least `cat_max_ratio` of the valid pixels."""
    counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel()
    counts[IGNORE] = 0
    return np.count_nonzero(counts) < 2 or bool(counts.max() / counts.sum() >= cat_max_ratio)


def crop_corner(
    label: np.ndarray, size: tuple[int, int], cat_max_ratio: float, draw: Callable[[int, int], int]
) -> tuple[int, int]:
    """(top, left) of a random crop of at most `size`; drawn again, ten times at most, while one class dominates it.

    `draw(low, high)` gives an integer in [low, high).
    """
    margins = [max(have - want, 0) for have, want in zip(label.shape, size)]
    top, left = draw(0, margins[0] + 1), draw(0, margins[1] + 1)
    if cat_max_ratio >= 1:
        return top, left
    for _ in range(_CROP_TRIES):
        if not dominated(label[top : top + size[0], left : left + size[1]], cat_max_ratio):
            break
        top, left = draw(0, margins[0] + 1), draw(0, margins[1] + 1)
    return top, left


def flip_label(label: np.ndarray, mirror_pairs: Sequence[tuple[int, int]] = ()) -> np.ndarray:
    """Mirrors a label map and exchanges the classes that mean left and right."""
    mirror = cv2.flip(label, 1)
    if not mirror_pairs:
        return mirror
    table = np.arange(256, dtype=np.uint8)
    for a, b in mirror_pairs:
        table[a], table[b] = b, a
    return cv2.LUT(mirror, table)


def draw_photometric(rng: np.random.Generator) -> Photometric:
    """Each distortion with probability one half; contrast comes first or last."""
    brightness, contrast, saturation, hue, first = rng.integers(0, 2, 5)
    return Photometric(
        rng.uniform(-BRIGHTNESS, BRIGHTNESS) if brightness else None,
        rng.uniform(*CONTRAST) if contrast else None,
        bool(first),
        rng.uniform(*SATURATION) if saturation else None,
        int(rng.integers(-HUE, HUE)) if hue else None,
    )


def _scale(levels: np.ndarray, scale: float, offset: float = 0.0) -> np.ndarray:
    """Truncates to a grey level, as the float pipeline does after each distortion."""
    return np.clip(levels.astype(np.float32) * scale + offset, 0, 255).astype(np.uint8)


def photometric(image: np.ndarray, parameters: Photometric) -> np.ndarray:
    """Brightness, contrast, saturation, hue (in this order, contrast possibly last)."""
    levels = _LEVELS.astype(np.uint8)
    if parameters.brightness is not None:
        levels = _scale(levels, 1.0, parameters.brightness)
    if parameters.contrast is not None and parameters.contrast_first:
        levels = _scale(levels, parameters.contrast)
    if parameters.brightness is not None or (parameters.contrast is not None and parameters.contrast_first):
        image = cv2.LUT(image, levels)
    if parameters.saturation is not None:
        image = _in_hsv(image, 1, _scale(_LEVELS, parameters.saturation))
    if parameters.hue is not None:
        image = _in_hsv(image, 0, ((np.arange(256) + parameters.hue) % 180).astype(np.uint8))
    if parameters.contrast is not None and not parameters.contrast_first:
        image = cv2.LUT(image, _scale(_LEVELS, parameters.contrast))
    return image


def draw_distortions(rng: np.random.Generator, names: Sequence[str]) -> list[tuple[str, float]]:
    """Draws the distortions of an image and their strengths, each with probability one half."""
    return [(name, float(rng.uniform(*_RANGES[name]))) for name in names if rng.random() < 0.5]


def distort(image: np.ndarray, operations: Sequence[tuple[str, float]], mean: Sequence[float]) -> np.ndarray:
    """Applies distortions in order. `mean` is the grey level per channel that contrast leaves as it is."""
    for name, amount in operations:
        if name == "brightness":
            image = cv2.LUT(image, _scale(_LEVELS, 1.0, amount))
        elif name == "contrast_about_mean":
            tables = [_scale(_LEVELS, amount, (1 - amount) * centre) for centre in mean]
            image = cv2.LUT(image, np.stack(tables, axis=-1)[None])
        else:
            image = _in_hsv(image, 1, _scale(_LEVELS, amount))
    return image


def _in_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """Applies a table to hue (channel 0, values 0..179) or saturation (channel 1, 0..255) of an image."""
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)))
    planes[channel] = cv2.LUT(planes[channel], table)
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR)


def pad(image: np.ndarray, label: np.ndarray, size: tuple[int, int], where: str) -> Sample:
    """Puts a BGR image in the middle (`centre`) or the top left (`corner`) of `size`, as RGB planes."""
    height, width = label.shape
    if (height, width) == size:
        return Sample(to_planes(image), label, (0, 0, height, width))
    top, left = ((size[0] - height) // 2, (size[1] - width) // 2) if where == "centre" else (0, 0)
    inside = np.s_[top : top + height, left : left + width]
    planes, target = np.zeros((3, *size), np.uint8), np.full(size, IGNORE, np.uint8)
    planes[:, *inside] = to_planes(image)
    target[inside] = label
    return Sample(planes, target, (top, left, height, width))


def to_planes(image: np.ndarray) -> np.ndarray:
    """BGR [H, W, 3] -> RGB [3, H, W]."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, [planes[2], planes[1], planes[0]])
    return planes


def augment(
    image: np.ndarray,
    label: np.ndarray,
    how: Augmentation,
    rng: np.random.Generator,
    mirror_pairs: Sequence[tuple[int, int]] = (),
) -> Sample:
    """A training sample of size `how.crop` from one image [H, W, 3] (BGR) and its label map [H, W]."""
    factor = float(rng.choice(how.scales)) if how.scales else float(rng.uniform(*how.ratio))
    mean = cv2.mean(image)[:3] if how.photometric not in (True, False) else ()
    size = target_size(label.shape, how.resize, keep_ratio=how.keep_ratio, factor=factor)
    label = resize_label(label, size)
    top, left = crop_corner(label, how.crop, how.cat_max_ratio, lambda low, high: int(rng.integers(low, high)))
    image = resize_and_crop(image, size, (top, left), how.crop)
    label = label[top : top + how.crop[0], left : left + how.crop[1]]
    if rng.random() < how.flip:
        image, label = cv2.flip(image, 1), flip_label(label, mirror_pairs)
    if how.rotation_probability and rng.random() < how.rotation_probability:
        image, label = rotate(image, label, float(rng.uniform(-how.rotation_degrees, how.rotation_degrees)))
    if how.photometric is True:
        image = photometric(image, draw_photometric(rng))
    elif how.photometric:
        image = distort(image, draw_distortions(rng, how.photometric), mean)
    return pad(image, label, how.crop, how.pad)
