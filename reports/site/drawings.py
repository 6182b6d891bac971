"""Small drawings of a cell's page as SVG text or PNG bytes: values beside the published one, a curve, a confusion matrix."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from harness.text import format_decimals, number
from reports.cell_report import CellReport
from reports.figures.curves import Band

_WIDE, _HIGH = 640, 220
_MOST_PIXELS = 600  # side of a drawn confusion matrix


def strip(cell: CellReport) -> str:
    """Every repetition as a dot, the published value as a line with its margin; '' without both."""
    finite = [v for v in cell.values if math.isfinite(v)]
    if cell.published is None or not finite:
        return ""
    paper, margin = cell.published.value, cell.verdict.margin or 0.0
    marks = [*finite, paper - margin, paper + margin]
    low, high = min(marks), max(marks)
    room = (high - low) * 0.08 or abs(paper) * 0.01 or 1.0

    def at(value: float) -> float:
        return 10 + (_WIDE - 20) * (value - low + room) / (high - low + 2 * room)

    parts = []
    if margin:
        parts.append(
            f'<rect x="{at(paper - margin):.1f}" y="12" width="{at(paper + margin) - at(paper - margin):.1f}" height="24" '
            'fill="currentColor" opacity="0.12"/>'
        )
    parts.append(
        f'<line x1="{at(paper):.1f}" x2="{at(paper):.1f}" y1="8" y2="40" stroke="currentColor" stroke-width="2"/>'
    )
    parts += [f'<circle cx="{at(v):.1f}" cy="24" r="5" fill="#0173B2" fill-opacity="0.75"/>' for v in finite]
    band = ", band: margin" if margin else ""
    values_text = ", ".join(number(v, 5) for v in finite[:8])
    words = f"published {cell.published.printed} (line{band}), measured {values_text}"
    # the words stand below the drawing, which a narrow screen makes small
    return f"<figure>{_svg(48, parts, words)}<figcaption>{escape(words)}</figcaption></figure>"


def curve(band: Band, quantity: str = "training loss") -> str:
    """A training curve over iterations, with the range over seeds."""
    low, high = min(band.low), max(band.high)
    first, last = band.iterations[0], band.iterations[-1]

    def x(value: float) -> float:
        return 56 + (_WIDE - 66) * (value - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return 10 + (_HIGH - 40) * (high - value) / ((high - low) or 1)

    line = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in zip(band.iterations, band.mean))
    edge = [f"{x(i):.1f},{y(v):.1f}" for i, v in zip(band.iterations, band.high)]
    edge += [f"{x(i):.1f},{y(v):.1f}" for i, v in reversed(list(zip(band.iterations, band.low)))]
    parts = [f'<polygon points="{" ".join(edge)}" fill="#0173B2" opacity="0.18"/>'] if band.seeds > 1 else []
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0173B2" stroke-width="2"/>')
    for value in (low, high):
        parts.append(
            f'<text x="50" y="{y(value) + 4:.1f}" font-size="12" text-anchor="end" fill="currentColor">{number(value)}</text>'
        )
    for value, anchor in ((first, "start"), (last, "end")):
        parts.append(
            f'<text x="{x(value):.1f}" y="{_HIGH - 8}" font-size="12" text-anchor="{anchor}" fill="currentColor">'
            f"{format_decimals(value, 0)}</text>"
        )
    return _svg(_HIGH, parts, f"{quantity} from {number(band.mean[0])} to {number(band.mean[-1])}")


def _svg(height: int, parts: Sequence[str], words: str) -> str:
    return (
        f'<svg class="drawing" viewBox="0 0 {_WIDE} {height}" role="img" aria-label="{escape(words)}">'
        f"{''.join(parts)}</svg>"
    )


def confusion(file: Path) -> tuple[str, str] | None:
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
