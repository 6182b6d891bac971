"""How declarations write classes, colours and raw values. The standard library alone."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

from harness.data.layout import IGNORE


def names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.replace("\n", " ").split(","))


def colours(text: str) -> tuple[tuple[int, int, int], ...]:
    digits = bytes.fromhex("".join(text.split()))
    return tuple((digits[i], digits[i + 1], digits[i + 2]) for i in range(0, len(digits), 3))


def distinct(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours for classes without official ones: hues a golden ratio apart, in three brightnesses."""
    colours = []
    for k in range(count):
        rgb = colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.55 + 0.4 * (k % 2), 0.95 - 0.2 * (k % 3))
        colours.append((int(255 * rgb[0]), int(255 * rgb[1]), int(255 * rgb[2])))
    return tuple(colours)


def raw(ids: Iterable[int], *, ignore: Iterable[int] = ()) -> dict[int, int]:
    """Raw values `ids` become training ids 0, 1, …; those of `ignore` become IGNORE."""
    return dict.fromkeys(ignore, IGNORE) | {value: k for k, value in enumerate(ids)}
