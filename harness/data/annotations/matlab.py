"""Label maps in MATLAB's level-5 files (COCO-Stuff 10k, PASCAL-Context): one named matrix, the rest is not read."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from harness.data.annotations.label_maps import read_bytes
from harness.errors import DataError

NAMES = ("S", "LabelMap")
"""What the matrix is called in COCO-Stuff 10k, and in PASCAL-Context."""
_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)  # scipy's own has the time in it: the same map would give other files
_LEVEL_5 = (b"\x00\x01IM", b"\x01\x00MI")
_NUMBERS = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_LARGEST = 1 << 25  # pixels; a label map is far smaller, a file that claims more is broken or hostile


def read(path: str) -> np.ndarray:
    """The label map of a file as it is stored: [H, W], uint8 or uint16. DataError names the file."""
    return read_matrix(path, read_bytes(path))


def write(path: Path, raw: np.ndarray) -> None:
    """Writes raw values [H, W], uint8 or uint16, as COCO-Stuff 10k has them."""
    path.write_bytes(write_matrix(NAMES[0], raw))


def read_matrix(path: str, data: bytes, names: tuple[str, ...] = NAMES) -> np.ndarray:
    """The first matrix of numbers called one of `names`, as uint8 or uint16 [H, W]; `path` is named in errors."""
    from scipy.io import loadmat, whosmat  # loads slowly: only where there are such files

    try:
        if data[124:128] not in _LEVEL_5:
            raise ValueError("not a MATLAB level-5 file")
        for name, shape, kind in whosmat(io.BytesIO(data)):
            if name not in names or kind not in _NUMBERS:
                continue
            if len(shape) != 2 or math.prod(shape) > _LARGEST:
                raise ValueError(f"matrix '{name}' of {' × '.join(map(str, shape))} is no label map")
            return _as_labels(name, loadmat(io.BytesIO(data), variable_names=[name])[name])
    except Exception as error:  # scipy has a dozen types of them for damaged files, zlib's and struct's among them
        raise DataError(f"{path}: cannot be read as a MATLAB label map ({error}); get the file again") from error
    raise DataError(f"{path}: holds no matrix called {' or '.join(names)}; is it a label map of this dataset?")


def _as_labels(name: str, matrix: np.ndarray) -> np.ndarray:
    if matrix.size and (matrix.min() < 0 or matrix.max() > 65535 or (matrix != np.floor(matrix)).any()):
        raise ValueError(f"matrix '{name}' holds values that are no labels")
    small = not matrix.size or matrix.max() <= 255
    return np.ascontiguousarray(matrix, dtype=np.uint8 if small else np.uint16)


def write_matrix(name: str, matrix: np.ndarray) -> bytes:
    """A level-5 file that holds `matrix` (uint8 or uint16 [H, W]) as `name`, compressed; the same bytes every time."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {name: matrix}, do_compression=True)
    return _HEADER + file.getvalue()[len(_HEADER) :]
