"""Training curves for figures: one value of each line, thinned, and averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.store import curve

POINTS = 100
"""Points of a drawn line; a longer training is averaged over stretches of iterations."""


@dataclass(frozen=True)
class Band:
    """A curve over seeds: at each iteration the mean and the smallest and largest value (equal for one seed)."""

    iterations: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


def points(folder: Path, key: str = "loss") -> list[tuple[int, float]]:
    """(iteration, value) of the lines of a training's curve that have the key with a finite number."""
    pairs = [(record["iteration"], record.get(key)) for record in curve.read(folder)]
    return [(i, float(value)) for i, value in pairs if isinstance(value, int | float) and math.isfinite(value)]


def thin(line: Sequence[tuple[int, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means of equal stretches, each at its middle."""
    if len(line) <= most:
        return [(float(x), y) for x, y in line]
    kept_points = []
    for i in range(most):
        part = line[i * len(line) // most : (i + 1) * len(line) // most]
        kept_points.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return kept_points


def band(folders: Sequence[Path], key: str = "loss") -> Band | None:
    """The curves of one cell's trainings together, as far as all of them go; None where none can be read."""
    curves = [line for folder in folders if (line := points(folder, key))]
    if not curves:
        return None
    length = min(map(len, curves))
    lines = [thin(line[:length]) for line in curves]
    values = list(zip(*([y for _, y in line] for line in lines)))
    return Band(
        tuple(x for x, _ in lines[0]),
        tuple(sum(v) / len(v) for v in values),
        tuple(map(min, values)),
        tuple(map(max, values)),
        len(curves),
    )
