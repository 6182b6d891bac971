"""Small-sample statistics without a statistics package: Student's t, exactly, and the largest of K normal draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN for no values, and infinities stay what they are."""
    return sum(values) / len(values) if values else math.nan


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1); NaN below two values."""
    if len(values) < 2:
        return math.nan
    if len(set(values)) == 1:
        return 0.0  # also where the mean itself is rounded
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))


def t_cdf(t: float, dof: int) -> float:
    """P(T ≤ t) for Student's t with `dof` ≥ 1 degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4, finite sums)."""
    angle = math.atan(abs(t) / math.sqrt(dof))
    cosine = math.cos(angle) ** 2
    total, term = 0.0, 1.0 if dof % 2 == 0 else math.cos(angle)
    for i in range(dof // 2):
        total += term
        term *= cosine * ((2 * i + 1) / (2 * i + 2) if dof % 2 == 0 else (2 * i + 2) / (2 * i + 3))
    within = math.sin(angle) * total
    if dof % 2:
        within = 2 / math.pi * (angle + within)
    return 0.5 + math.copysign(within / 2, t)


@functools.cache
def t_quantile(probability: float, dof: int) -> float:
    """The t below which a share `probability` (0.5 ≤ p < 1) of Student's distribution lies, by bisection."""
    low, high = 0.0, 1.0
    while t_cdf(high, dof) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, dof) < probability else (low, middle)
    return (low + high) / 2


@functools.cache
def best_of(k: int) -> tuple[float, float]:
    """(mean, variance) of the largest of `k` independent standard normal draws: (0.8463, 0.5595) for 3."""
    steps, reach = 4000, 9.0
    width = 2 * reach / steps
    first = second = 0.0
    for i in range(steps + 1):
        x = -reach + i * width
        below = (1 + math.erf(x / math.sqrt(2))) / 2
        density = k * below ** (k - 1) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        first += x * density * width
        second += x * x * density * width
    return first, second - first**2
