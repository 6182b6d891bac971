"""Label maps in MATLAB's level-5 files (COCO-Stuff 10k, PASCAL-Context): one named matrix, nothing else.

Follows "MAT-File Format" (MathWorks, level 5): a 128-byte header, then tagged elements, each possibly compressed by
zlib. Reads and writes real numeric matrices of two dimensions; that is all these datasets hold where labels are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from harness.errors import DataError

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_LARGEST = 1 << 28  # bytes; a label map is far smaller, a file that claims more is broken or hostile


def read_matrix(path: str, data: bytes, names: tuple[str, ...]) -> np.ndarray:
    """The first matrix called one of `names`, as uint8 or uint16 [H, W]; `path` is named in errors."""
    try:
        if len(data) < _HEADER or data[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
            raise ValueError("not a MATLAB level-5 file")
        order = "<" if data[126:128] == b"IM" else ">"
        for kind, content in _elements(memoryview(data)[_HEADER:], order):
            if kind == _COMPRESSED:
                kind, content = next(_elements(memoryview(_inflate(content)), order))
            if kind != _MATRIX:
                continue
            name, matrix = _matrix(content, order, names)
            if matrix is not None:
                return _as_labels(name, matrix)
    except (ValueError, struct.error, zlib.error, StopIteration) as error:
        raise DataError(f"{path}: cannot be read as a MATLAB label map ({error}); get the file again") from error
    raise DataError(f"{path}: holds no matrix called {' or '.join(names)}; is it a label map of this dataset?")


def _inflate(content: memoryview) -> bytes:
    engine = zlib.decompressobj()
    inflated = engine.decompress(content, _LARGEST)
    if not engine.eof:
        raise ValueError("a compressed element is cut short or too large")
    return inflated


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of each element; small ones keep up to four bytes in their tag."""
    at = 0
    while at + 8 <= len(data):
        (tag,) = struct.unpack_from(order + "I", data, at)
        if tag >> 16:
            yield tag & 0xFFFF, data[at + 4 : at + 4 + min(tag >> 16, 4)]
            at += 8
            continue
        (length,) = struct.unpack_from(order + "I", data, at + 4)
        if at + 8 + length > len(data):
            raise ValueError("an element is cut short")
        yield tag, data[at + 8 : at + 8 + length]
        at += 8 + length if tag == _COMPRESSED else 8 + (length + 7) // 8 * 8


def _matrix(content: memoryview, order: str, names: tuple[str, ...]) -> tuple[str, np.ndarray | None]:
    parts = _elements(content, order)
    _, flags = next(parts)
    _, shape = next(parts)
    _, raw_name = next(parts)
    name = bytes(raw_name).decode("latin-1")
    class_id = struct.unpack_from(order + "I", flags)[0] & 0xFF
    if name not in names or class_id not in _CLASSES:
        return name, None
    height, width = struct.unpack_from(order + "2i", shape)
    if len(shape) != 8 or height < 0 or width < 0:
        raise ValueError(f"matrix '{name}' does not have two dimensions")
    stored, values = next(parts)
    if stored not in _TYPES:
        raise ValueError(f"matrix '{name}' holds no numbers")
    numbers = np.frombuffer(values, np.dtype(order + _TYPES[stored]))
    if len(numbers) != height * width:
        raise ValueError(f"matrix '{name}' has {len(numbers)} values for {height} × {width} pixels")
    return name, numbers.reshape(width, height).T


def _as_labels(name: str, matrix: np.ndarray) -> np.ndarray:
    if matrix.size and (matrix.min() < 0 or matrix.max() > 65535 or (matrix != np.floor(matrix)).any()):
        raise ValueError(f"matrix '{name}' holds values that are no labels")
    small = not matrix.size or matrix.max() <= 255
    return np.ascontiguousarray(matrix, dtype=np.uint8 if small else np.uint16)


def write_matrix(name: str, matrix: np.ndarray) -> bytes:
    """A level-5 file that holds `matrix` (uint8 or uint16 [H, W]) as `name`, compressed."""
    class_id, stored = (9, 2) if matrix.dtype == np.uint8 else (11, 4)
    body = (
        _element(6, struct.pack("<II", class_id, 0))
        + _element(5, struct.pack("<2i", *matrix.shape))
        + _element(1, name.encode("latin-1"))
        + _element(stored, np.ascontiguousarray(matrix.T).astype(f"<u{matrix.dtype.itemsize}").tobytes())
    )
    packed = zlib.compress(_element(_MATRIX, body))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    return header + struct.pack("<II", _COMPRESSED, len(packed)) + packed


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)
