"""How well repetitions agree with a published value: a graded result, and a word for it with stated error rates.

Every result says the smallest margin within which the two means agree with 95 % confidence, however many looks were taken
(`sequential`). A table's margin then only picks the word:

    reproduced              the means differ by less than the margin
    agrees as one run can   the published value is what a run of ours would give, and the means differ by less than LOOSE
                            margins; more cannot be had of one published run, whose own noise no number of seeds removes
    not reproduced          the means differ by more than the margin
    inconclusive            none of these yet

Each of the three is wrong of at most ALPHA of the cells of which it is not true: equivalence by two one-sided tests
(Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.stats.sequential import ALPHA, LOOKS, Spread, factor
from harness.stats.small_samples import best_of, mean

LOOSE = 3.0
"""Margins within which `agrees as one run can` holds: with one published run and seeds that differ by 0.3 points, 1.5."""

FEW_RUNS = 3
"""Runs assumed behind a published mean or best value whose number the paper does not say; the field's usual one."""

BEST_SHARE = {"pooled": 0.5, "alone": 0.18}
"""Shares of the level spent on a best value of up to ten runs: its distribution has a longer tail than the normal one taken
for it, and the correction is a multiple of a spread that few repetitions know badly. Found by simulation."""


class Word(StrEnum):
    REPRODUCED = "reproduced"
    AS_ONE_RUN = "agrees as one run can"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Target:
    """How a published value lies about the mean it estimates, in standard deviations of one run: `shift` ± √`noise`."""

    shift: float
    noise: float

    def with_spread(self, ratio: float) -> Target:
        """The same value of runs whose standard deviation is `ratio` times that of ours."""
        return Target(self.shift * ratio, self.noise * ratio**2)

    def factor(self, n: int, dof: int, *, pooled: bool) -> float:
        """Half the width of the interval of the difference after `n` repetitions, in standard deviations."""
        noise, share = self.noise, 1.0
        if self.shift:
            share = BEST_SHARE["pooled" if pooled else "alone"]
            noise += self.shift**2 / (2 * dof) if dof else 0.0  # of the correction by an estimated spread
        return factor(n, noise, dof, pooled=pooled, share=share)


def target(statistic: str, runs: int | None = None) -> Target:
    """Of a `single` run (also where it is `unknown`), the `mean` or `median` of `runs`, or the `best` of `runs`."""
    if statistic in ("single", "unknown"):
        return Target(0.0, 1.0)
    count = runs or FEW_RUNS
    if statistic == "best":
        return Target(*best_of(count))
    return Target(0.0, (math.pi / 2 if statistic == "median" and count > 2 else 1.0) / count)


@dataclass(frozen=True)
class Agreement:
    """`interval`: of our mean minus the paper's. `within`: the smallest margin in which both agree; infinite without one."""

    word: Word
    interval: tuple[float, float]
    margin: float

    @property
    def within(self) -> float:
        return max(abs(end) for end in self.interval)

    def grade(self) -> str:
        """`agrees within ±0.9 (95 %)`, whatever the word."""
        if not math.isfinite(self.within):
            return "no interval yet"
        return f"agrees within ±{math.ceil(10 * self.within - 1e-9) / 10:.1f} ({1 - ALPHA:.0%})".replace("%", " %")


def word(low: float, high: float, margin: float) -> Word:
    """What an interval of the difference amounts to."""
    if -margin < low and high < margin:
        return Word.REPRODUCED
    if low > margin or high < -margin:
        return Word.NOT_REPRODUCED
    if low <= 0 <= high and max(-low, high) < LOOSE * margin:
        return Word.AS_ONE_RUN
    return Word.INCONCLUSIVE


def agreement(values: Sequence[float], published: float, spread: Spread, *, margin: float, of: Target) -> Agreement:
    """Judges 1 to LOOKS repetitions against a published value in the same unit; of more, the first LOOKS.

    ValueError for no repetition, for one that is no finite number and for a margin that is not positive.
    """
    values = values[:LOOKS]
    if not values or not all(math.isfinite(value) for value in values) or not margin > 0:
        raise ValueError(f"cannot judge {len(values)} repetitions {list(values)} with margin {margin}")
    half = of.factor(len(values), spread.dof, pooled=spread.pooled)
    half = half * spread.value if math.isfinite(half) else math.inf
    if half == 0:
        half = math.inf  # identical repetitions say nothing of how much they vary
    difference = mean(values) - published + (of.shift * spread.value if of.shift else 0.0)
    interval = (difference - half, difference + half)
    return Agreement(word(*interval, margin), interval, margin)


MANY_RUNS = (2, 3, 5, 10)
"""Numbers of runs that are tried where a paper says `best` or `mean` and not of how many."""

SPREADS = {"half our spread": 0.5, "twice our spread": 2.0}
"""Spreads of the paper's own runs that are tried, as multiples of ours: no paper here prints its own."""


def sensitivity(
    values: Sequence[float],
    published: float,
    spread: Spread,
    *,
    margin: float,
    statistic: str,
    runs: int | None = None,
) -> list[tuple[str, Word]]:
    """The word under other assumptions on what a paper does not say: what its value is of how many runs, and their spread."""
    assumed: list[tuple[str, Target]] = []
    if statistic == "unknown":
        assumed += [("a mean of many runs", Target(0.0, 0.0))]
        assumed += [(f"the best of {k}", target("best", k)) for k in (3, 10)]
    elif statistic != "single" and runs is None:
        assumed += [(f"the {statistic} of {k}", target(statistic, k)) for k in MANY_RUNS]
    basis = target(statistic, runs)
    assumed += [(f"of runs with {name}", basis.with_spread(ratio)) for name, ratio in SPREADS.items()]
    return [(name, agreement(values, published, spread, margin=margin, of=of).word) for name, of in assumed]


# ------------------------------------------------------------------------------------------------------- claims


class Direction(StrEnum):
    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


def direction(differences: Sequence[float], spread: Spread, *, comparisons: int = 1) -> Direction:
    """Whether paired differences (in favour of a claim) are above zero, at any look.

    A claim of several `comparisons` holds when each does at the full level (intersection-union) and fails when one is
    refuted at its share of the level (Bonferroni).
    """
    differences = differences[:LOOKS]
    centre, n = mean(differences), len(differences)
    full, part = (factor(n, 0.0, spread.dof, pooled=spread.pooled, share=s) for s in (1.0, 1 / comparisons))
    if not math.isfinite(full) or spread.value == 0:
        return Direction.UNDECIDED
    if centre - full * spread.value > 0:
        return Direction.HOLDS
    return Direction.FAILS if centre + part * spread.value < 0 else Direction.UNDECIDED


# --------------------------------------------------------------------------------------------------- many cells


def chance(groups: Sequence[int]) -> tuple[float, int]:
    """How many cells would be called reproduced wrongly if none were: expected, and at most with 95 %.

    `groups`: how many cells there are in each group that shares its trainings, which are wrong together at worst; groups
    are independent of each other. The expectation holds however cells depend on each other.
    """
    distribution = [1.0]  # of the number of wrong cells
    for size in groups:
        shifted = [0.0] * size + [ALPHA * share for share in distribution]
        for count, share in enumerate(distribution):
            shifted[count] += (1 - ALPHA) * share
        distribution = shifted
    most, below = 0, distribution[0]
    while below < 1 - ALPHA - 1e-12:
        most += 1
        below += distribution[most]
    return ALPHA * sum(groups), most


def headline(groups: Sequence[Sequence[Word]]) -> str:
    """A table's result in a sentence: `5 of 8 cells reproduced; expected by chance 0.4 …`; "" where no cell is judged.

    `groups`: the words of cells that share their trainings, together. Of the cells called reproduced, at least as many as
    the sentence says are so with 95 % for the table as a whole: with fewer, more than chance's 95 % would be wrong.
    """
    words = [word for group in groups for word in group]
    if not words:
        return ""
    positive = sum(word == Word.REPRODUCED for word in words)
    alike = sum(word == Word.AS_ONE_RUN for word in words)
    expected, most = chance([len(group) for group in groups])
    surely = max(positive - most, 0)
    more = f"; {alike} more {'agrees' if alike == 1 else 'agree'} as one run can" if alike else ""
    no_accident = f", so at least {surely} {'is' if surely == 1 else 'are'} no accident" if positive else ""
    return (
        f"{positive} of {len(words)} judged {'cell' if len(words) == 1 else 'cells'} reproduced; expected by chance"
        f" {expected:.2g}, at most {most} with 95 %{no_accident}{more}"
    )
