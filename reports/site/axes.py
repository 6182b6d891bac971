"""Axes of inline drawings: round ticks, and the place of a value. Colours are the page's, so drawings are dark with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from harness.text import format_decimals


@dataclass(frozen=True)
class Axis:
    """Values `low` … `high` on pixels `start` … `end`; pixels may run against the values."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + (self.end - self.start) * share

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """(value, label) of at most about `most` round values inside the axis; labels are never equal."""
        span = self.high - self.low
        if not span > 0 or not math.isfinite(span):
            return [(self.low, format_decimals(self.low, 2))]
        step = round_step(span / max(most, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(i * step, format_decimals(i * step, decimals)) for i in range(first, last + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def text(x: float, y: float, words: str, anchor: str = "middle", look: str = "") -> str:
    of = f' class="{look}"' if look else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of}>{escape(words)}</text>'


def horizontal(axis: Axis, y: float, *, grid_from: float | None = None, most: int = 6) -> list[str]:
    """A horizontal axis at height `y` with labels below; grid lines up to `grid_from`."""
    parts = [f'<line class="axis" x1="{axis.start:.1f}" x2="{axis.end:.1f}" y1="{y}" y2="{y}"/>']
    for value, label in axis.ticks(most):
        x = axis(value)
        top = y - 4 if grid_from is None else grid_from
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}"/>')
        parts.append(text(x, y + 16, label, look="soft"))
    return parts


def vertical(axis: Axis, x: float, grid_to: float, most: int = 5) -> list[str]:
    """Labels left of `x` and grid lines to `grid_to`."""
    parts = []
    for value, label in axis.ticks(most):
        y = axis(value)
        parts.append(f'<line class="axis" x1="{x}" x2="{grid_to}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(x - 6, y + 4, label, "end", "soft"))
    return parts


def drawing(width: int, height: int, parts: list[str], words: str) -> str:
    """An inline SVG that screen readers read as `words`."""
    return (
        f'<svg class="drawing" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">'
        f"{''.join(parts)}</svg>"
    )
