"""Reads images and label maps; an error names the file and what is wrong with it."""

from __future__ import annotations

import functools
import io
import os
import stat
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from harness.data.annotations import own_reader
from harness.data.layout import IGNORE, Layout
from harness.errors import DataError

FORBIDDEN = 254
"""What a raw value outside the declaration becomes; never seen outside this module."""
MAX_PIXELS = 1 << 26
"""Pixels of an image or a label map; a file that claims more is broken or hostile (ADE20K's largest has a third of it)."""
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of headers that say the size
_PALETTE = 3  # PNG colour type: indices into a palette


def read_bytes(path: str) -> bytes:
    """A file's content; DataError where it cannot be read, or is no file: a pipe would be read for ever."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(f"{path}: is no file but a folder, a pipe or a device; get the file again")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _check(path: str, data: bytes) -> None:
    """DataError for a file that is truncated, found by its end marker since decoders fill what is missing with grey without
    an error; and for one that claims more pixels than MAX_PIXELS, before they are allocated."""
    if not data:
        raise DataError(f"{path}: the file is empty; get it again")
    if data[:2] == b"\xff\xd8":
        if b"\xff\xd9" not in data[-1024:]:
            raise DataError(f"{path}: truncated JPEG (no end marker in its {len(data)} bytes); get the file again")
        width, height = _jpeg_size(data)
    elif data[:4] == b"\x89PNG":
        if b"IEND" not in data[-1024:]:
            raise DataError(f"{path}: truncated PNG (no end marker in its {len(data)} bytes); get the file again")
        width, height = _png_size(path, data)
    else:
        width, height = _other_size(path, data)
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: claims {width}×{height} pixels; no more than {MAX_PIXELS} are read; get the file again"
        )


def _png_size(path: str, data: bytes) -> tuple[int, int]:
    """Width and height that a PNG claims. DataError where a chunk claims more bytes than the file has: OpenCV allocates them."""
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        place += 12 + length
        if data[place - length - 8 : place - length - 4] == b"IEND":
            break
    if place > len(data) or data[12:16] != b"IHDR":
        raise DataError(f"{path}: damaged PNG (its chunks are not those of a whole file); get the file again")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height that a JPEG's frame header claims; (0, 0) where there is none, which its decoder says."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(data[place + 7 : place + 9], "big"), int.from_bytes(
                data[place + 5 : place + 7], "big"
            )
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, 0


def _other_size(path: str, data: bytes) -> tuple[int, int]:
    """Width and height of a picture that is neither JPEG nor PNG. DataError for one of floating-point numbers: OpenCV would
    make eight bits of them, black or white."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size, kind, form = picture.size, picture.mode, picture.format
    except Image.DecompressionBombError:
        raise DataError(f"{path}: claims more than the {MAX_PIXELS} pixels that are read; get the file again") from None
    except Exception as error:  # of any of its plug-ins
        raise DataError(f"{path}: cannot be decoded as an image; get the file again") from error
    if kind == "F":
        raise DataError(f"{path}: a {form} file of floating-point numbers; pictures have integers of 8 or 16 bits")
    return size


def _decode(path: str, data: bytes, flags: int) -> np.ndarray:
    _check(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path}: cannot be decoded ({error}); get the file again") from error
    if pixels is None:
        raise DataError(f"{path}: cannot be decoded as an image; get the file again")
    return pixels


def read_image(path: str) -> np.ndarray:
    """The image as uint8 [H, W, 3] in OpenCV's order (blue, green, red)."""
    return read_colours(path, read_bytes(path))


def read_colours(path: str, data: bytes) -> np.ndarray:
    """A picture's content as uint8 [H, W, 3] (blue, green, red); `path` is named in errors."""
    return _decode(path, data, cv2.IMREAD_COLOR)


def read_raw_label(path: str) -> np.ndarray:
    """The label map of a picture as it is stored: [H, W], uint8 or uint16, raw values of the dataset."""
    data = read_bytes(path)
    is_png = data[:4] == b"\x89PNG" and len(data) > 25
    if is_png and data[25] == _PALETTE:
        _check(path, data)
        return _palette_indices(path, data)
    raw = _decode(path, data, cv2.IMREAD_UNCHANGED)
    if raw.ndim != 2:
        raise DataError(f"{path}: a label map must have one channel, this has {raw.shape[2]}")
    if raw.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: a label map of {raw.dtype}; labels are integers of 8 or 16 bits")
    if is_png and data[24] < 8:  # OpenCV spreads the values of 1, 2 and 4 bits over 0 … 255
        raw //= 255 // ((1 << data[24]) - 1)
    return raw


def _palette_indices(path: str, data: bytes) -> np.ndarray:
    """The palette indices of a PNG, which are the labels; OpenCV would return colours."""
    if b"PLTE" not in data[: data.find(b"IDAT")]:
        raise DataError(f"{path}: a PNG of palette indices without its palette; get the file again")
    try:
        return np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))
    except Exception as error:  # zlib's and struct's among them
        raise DataError(f"{path}: cannot be decoded ({error}); get the file again") from error


class LabelReader:
    """Reads label maps of one layout as training ids."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        fill = IGNORE if layout.undeclared == "ignore" else FORBIDDEN
        self.table = _table(tuple(layout.labels.items()), fill)
        self.read_raw = _raw_reader(layout)

    def read(self, path: str) -> np.ndarray:
        """The label map as uint8 [H, W] of training ids and IGNORE; DataError on a value outside the declaration."""
        return self.map(path, self.read_raw(path))

    def map(self, path: str, raw: np.ndarray) -> np.ndarray:
        """Raw values [H, W] -> training ids; `path` is named in errors."""
        small = raw.dtype == np.uint8  # the table's last entry is for all values beyond it
        label = cv2.LUT(raw, self.table[:256]) if small else np.take(self.table, raw, mode="clip")
        forbidden = label == FORBIDDEN
        if forbidden.any():
            values = np.unique(raw[forbidden])
            values = [int(v) for v in values if int(v) not in self.layout.labels]
            listing = ", ".join(map(self.layout.value_text, values[:10])) + (", …" if len(values) > 10 else "")
            word = ("colour" if self.layout.colours else "label") + ("" if len(values) == 1 else "s")
            allowed_values = f"{self.layout.allowed_values()} (layout '{self.layout.name}')"
            raise DataError(f"{path}: {word} {listing} outside the allowed values {allowed_values}")
        return label


def _raw_reader(layout: Layout) -> Callable[[str], np.ndarray]:
    """What reads a label file of the layout as raw values [H, W]."""
    if layout.has_own_reader:
        return own_reader.find(layout.annotations).load()
    return layout.annotation_module().read if layout.annotations else read_raw_label


@functools.cache
def _table(labels: tuple[tuple[int, int], ...], fill: int) -> np.ndarray:
    """{raw value: training id} as an array, one longer than the largest value; `fill` is what other values become."""
    table = np.full(max(256, max((raw for raw, _ in labels), default=0) + 2), fill, np.uint8)
    for raw, training in labels:
        assert training == IGNORE or training < FORBIDDEN
        table[raw] = training
    return table


def raw_values(layout: Layout) -> np.ndarray:
    """Training id -> raw value of a layout [256]: the first declared one. IGNORE becomes a void value, or that of class 0
    where the layout has none."""
    first: dict[int, int] = {}
    for raw, training in layout.labels.items():
        first.setdefault(training, raw)
    values = np.zeros(256, np.min_scalar_type(max(first.values())))
    for training, raw in first.items():
        values[training] = raw
    values[IGNORE] = first.get(IGNORE, first[0])
    return values


def read_pair(pair: Any, labels: LabelReader) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [H, W, 3] and training ids uint8 [H, W] of a `layout.Pair`; DataError where their sizes differ."""
    image, label = read_image(pair.image), labels.read(pair.label)
    if image.shape[:2] != label.shape:
        sizes = (
            f"the image has {image.shape[1]}×{image.shape[0]} pixels, the label map {label.shape[1]}×{label.shape[0]}"
        )
        raise DataError(f"{pair.label}: {sizes} ({pair.image}); an image and its label map must be of one size")
    return image, label
