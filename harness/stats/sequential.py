"""Intervals that stay valid when repetitions are added one by one and looked at each time, up to LOOKS of them.

A group-sequential design with one nominal level for every look (Pocock, Biometrika 64, 1977; in the terms of Lan and
DeMets, Biometrika 70, 1983, the spending that follows from it), for Student's t and for a target that is itself noisy:
a published value of one run or of a few. With probability at least 1 − ALPHA none of the upper ends that anybody could look
at lies below the true difference, and likewise for the lower ends, so whoever stops when a verdict pleases errs no more
often than who decides beforehand. `benchmarks/test_verdicts.py` measures both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.stats.small_samples import deviation, t_quantile

ALPHA = 0.05
"""How often the true difference may lie beyond one given end of the interval, at any of all looks."""

LOOKS = 20
"""Repetitions up to which the intervals are valid together."""

FIRST_LOOK_ALONE = 3
"""Repetitions from which a spread known from them alone gives an interval; of two it would be of no use and cost level."""

MIN_POOLED_DOF = 6
"""Degrees of freedom from which a spread of other cells is used."""

OUTLYING = 2.0
"""A cell whose own spread is this many times the pooled one keeps its own: it is not one of them."""

# {variance of the target, in units of one repetition's: level of each look}; the quantile at ALPHA of the smallest p-value
# of all looks, over 400 000 simulated sequences, and then cut until a million others keep it; pooled with the least degrees
# of freedom allowed
_LEVELS_ALONE = {0.0: 0.0088, 0.05: 0.0103, 0.1: 0.0113, 0.2: 0.0124, 1 / 3: 0.0133, 0.5: 0.0139, 1.0: 0.0151}
_LEVELS_POOLED = {0.0: 0.0078, 0.05: 0.0093, 0.1: 0.0103, 0.2: 0.0119, 1 / 3: 0.0133, 0.5: 0.0146, 1.0: 0.0172}


@dataclass(frozen=True)
class Spread:
    """Standard deviation between repetitions in the unit of the scores, and the degrees of freedom behind it.

    `pooled`: from other cells as well, which share this one's recipe; `about` says which.
    """

    value: float
    dof: int
    pooled: bool = False
    about: str = field(default="", compare=False)


def level(noise: float, *, pooled: bool) -> float:
    """The one-sided level of each look; `noise` is the target's variance in units of one repetition's."""
    levels = _LEVELS_POOLED if pooled else _LEVELS_ALONE
    return levels[max(known for known in levels if known <= noise + 1e-9)]


def factor(n: int, noise: float, dof: int, *, pooled: bool, share: float = 1.0) -> float:
    """Half the width of the interval after `n` repetitions, in standard deviations; infinite where there is none yet.

    `share` of the level is spent: less than 1 where several comparisons are made. ValueError beyond LOOKS repetitions.
    """
    if n > LOOKS:
        raise ValueError(f"{n} repetitions: the intervals are valid up to {LOOKS}")
    if n < 1 or (not pooled and n < FIRST_LOOK_ALONE) or dof < 1:
        return math.inf
    return t_quantile(1 - share * level(noise, pooled=pooled), dof) * math.sqrt(1 / n + noise)


def own_spread(*cells: Sequence[float]) -> Spread:
    """The spread of the repetitions of one cell, or of several that test the same trainings.

    The latter vary together: their variances are averaged and count as the degrees of freedom of one.
    """
    known = [values for values in cells if len(values) > 1]
    if not known:
        return Spread(math.nan, 0)
    dofs = [len(values) - 1 for values in known]
    squares = sum(dof * deviation(values) ** 2 for dof, values in zip(dofs, known))
    return Spread(math.sqrt(squares / sum(dofs)), max(dofs))


def pooled_spread(own: Sequence[float], others: Sequence[Spread], about: str = "") -> Spread:
    """The spread of a cell's repetitions, pooled with `others`: of independent trainings under the same recipe.

    Variances are weighted by their degrees of freedom. The cell's own spread stands alone where the others have fewer than
    MIN_POOLED_DOF or where its own is more than OUTLYING times theirs; NaN where there is none at all.
    """
    elsewhere = sum(other.dof for other in others)
    alone = own_spread(own)
    if elsewhere < MIN_POOLED_DOF:
        return alone
    squares = sum(other.dof * other.value**2 for other in others if other.dof)
    if alone.dof and alone.value > OUTLYING * math.sqrt(squares / elsewhere):
        return alone
    dof = elsewhere + alone.dof
    squares += alone.dof * alone.value**2 if alone.dof else 0.0
    return Spread(math.sqrt(squares / dof), dof, pooled=True, about=about)
