"""Training curves from the `curve.jsonl` that every training leaves: read, thinned, and averaged over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "curve.jsonl"
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


def read(folder: Path, key: str = "loss") -> list[tuple[int, float]]:
    """(iteration, value) of a training's curve; lines that are cut short or lack the key are left out."""
    points: list[tuple[int, float]] = []
    try:
        lines = (Path(folder) / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return points
    for text in lines:
        try:
            record = json.loads(text)
            iteration, value = int(record["iteration"]), float(record[key])
        except (ValueError, KeyError, TypeError):
            continue
        if math.isfinite(value):
            points.append((iteration, value))
    return points


def thin(points: Sequence[tuple[int, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means of equal stretches, each at its middle."""
    if len(points) <= most:
        return [(float(x), y) for x, y in points]
    found = []
    for i in range(most):
        part = points[i * len(points) // most : (i + 1) * len(points) // most]
        found.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return found


def band(folders: Sequence[Path], key: str = "loss") -> Band | None:
    """The curves of one cell's trainings together, as far as all of them go; None where none can be read."""
    curves = [c for folder in folders if (c := read(folder, key))]
    if not curves:
        return None
    length = min(map(len, curves))
    lines = [thin(curve[:length]) for curve in curves]
    values = list(zip(*([y for _, y in points] for points in lines)))
    return Band(
        tuple(x for x, _ in lines[0]),
        tuple(sum(v) / len(v) for v in values),
        tuple(map(min, values)),
        tuple(map(max, values)),
        len(curves),
    )
