"""A confusion matrix as a picture inside a cell's page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

_MOST_PIXELS = 600  # side of a drawn confusion matrix


def picture(file: Path) -> tuple[str, str] | None:
    """(PNG as a data address, what it shows) of a saved confusion matrix [truth, prediction]; None where none can be read.

    Every row is divided by its sum; dark: a large share. Empty rows stay white. A last row more than there are columns counts
    pixels without a label and is left out.
    """
    import numpy as np
    from PIL import Image

    try:
        counts = np.load(file, allow_pickle=False)
    except Exception:  # whatever a damaged file makes of its reader
        return None
    if counts.ndim != 2 or counts.dtype.kind not in "iuf" or not counts.size:
        return None
    if counts.shape[0] - counts.shape[1] not in (0, 1):
        return None
    counts = counts[: counts.shape[1]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = np.sqrt(np.clip(np.nan_to_num(shares.astype(np.float64)), 0, 1))[..., None]
    pixels = (255 + shade * (np.array([1, 60, 110]) - 255)).astype(np.uint8)
    factor = max(1, _MOST_PIXELS // len(counts))
    out = io.BytesIO()
    Image.fromarray(pixels.repeat(min(factor, 16), axis=0).repeat(min(factor, 16), axis=1)).save(
        out, "PNG", optimize=True
    )
    words = f"{len(counts)} × {len(counts)} classes, truth down, prediction across; each row is the share of its true pixels"
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}", words
