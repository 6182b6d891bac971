"""Label maps as pictures whose colours mean classes (CamVid's, Cityscapes' `color` files): raw values are 0xRRGGBB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from harness.data.annotations.label_maps import read_bytes, read_colours
from harness.errors import DataError

_DEEP = 16  # bits per channel in a PNG's header


def read(path: str) -> np.ndarray:
    """The colours of a picture as uint32 [H, W], 0xRRGGBB; transparency is left out, a palette is resolved. DataError for a
    file that cannot be read, for one that was compressed with loss, which changes colours, and for 16 bits per channel."""
    data = read_bytes(path)
    if data[:2] == b"\xff\xd8" or (data[:4] == b"RIFF" and data[12:16] == b"VP8 "):
        kind = "JPEG" if data[:1] == b"\xff" else "lossy WebP"
        raise DataError(f"{path}: a {kind} file changes colours, so they mean no class; label maps are PNG")
    if data[:4] == b"\x89PNG" and data[24:25] == bytes([_DEEP]):
        raise DataError(f"{path}: a PNG of 16 bits per channel; colours have 8")
    opaque = cv2.cvtColor(read_colours(path, data), cv2.COLOR_BGR2BGRA)  # four bytes per pixel: one number
    return opaque.view("<u4")[..., 0] & np.uint32(0xFFFFFF)


def write(path: Path, raw: np.ndarray) -> None:
    """Writes colours [H, W], 0xRRGGBB, as a PNG."""
    codes = np.ascontiguousarray(raw, dtype="<u4")
    success, data = cv2.imencode(".png", np.ascontiguousarray(codes.view(np.uint8).reshape(*codes.shape, 4)[..., :3]))
    assert success
    path.write_bytes(data.tobytes())
