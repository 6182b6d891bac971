"""Training curves for figures: one value of each line, thinned, and averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.store import curve

POINTS = 100
"""Points of a drawn line; a longer training is averaged over stretches of iterations."""

_TERM = "terms/"


@dataclass(frozen=True)
class Band:
    """A curve over seeds: at each iteration the mean and the smallest and largest value (equal for one seed)."""

    iterations: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int


def points(folder: Path, key: str = "loss") -> list[tuple[int, float]]:
    """(iteration, value) of the lines of a training's curve that have the key with a finite number; `terms/main` is one
    term of the loss."""
    pairs = [(record["iteration"], _value(record, key)) for record in curve.read(folder)]
    return [(i, float(value)) for i, value in pairs if isinstance(value, int | float) and math.isfinite(value)]


def _value(record: Mapping[str, Any], key: str) -> Any:
    if not key.startswith(_TERM):
        return record.get(key)
    terms = record.get("terms")
    return terms.get(key.removeprefix(_TERM)) if isinstance(terms, Mapping) else None


@dataclass(frozen=True)
class Loss:
    """Which value of the curves is one quantity for all of them, and what to call it."""

    key: str
    words: str


def comparable_loss(folders: Iterable[Path]) -> Loss:
    """The loss that these trainings can be compared by: the sum where all add up the same terms, else the first term
    that all of them have. Where they share none the sums are of different terms, and the words say so."""
    terms = [names for folder in folders if (names := _terms(folder))]
    if all({*names} == {*terms[0]} for names in terms):
        several = " + ".join(terms[0]) if terms and len(terms[0]) > 1 else ""
        return Loss("loss", f"Training loss, {several}" if several else "Training loss")
    shared = [name for name in terms[0] if all(name in names for names in terms)]
    if not shared:
        return Loss("loss", "Training loss, sums of different terms")
    return Loss(_TERM + shared[0], f"Training loss, term “{shared[0]}” alone")


def _terms(folder: Path) -> list[str]:
    first = next((record for record in curve.losses(folder) if isinstance(record.get("terms"), Mapping)), None)
    return [*first["terms"]] if first is not None else []


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
