"""Does a measured cell agree with the published one? Pure functions of numbers; nothing here reads or writes.

Counts (parameters, FLOPs) have no noise: they agree when they print the published digits. Everything else is judged by
equivalence testing (two one-sided tests, TOST; Schuirmann 1987): `reproduced` when the 90 % interval of measured minus
published lies inside ± margin, `not reproduced` when it lies wholly outside, and `inconclusive` between. So each of the
two is wrong at most one time in twenty. The margin is widened by half a printed digit; where the paper's value is a
single run its own noise widens the interval (a prediction interval), and where it is the best of several runs the
difference is corrected for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness.stats.small_samples import best_of, best_quantile, deviation, mean, t_quantile
from harness.text import format_decimals

REPRODUCED = "reproduced"
INFERRED = "reproduced (inferred module)"
FITTED = "fitted"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NOT_COMPARABLE = "not comparable"
OTHER_MACHINE = "other machine"
INVALID = "not a number"
UNPUBLISHED = "nothing published"

ALPHA = 0.05
"""How often each one-sided test may be wrong."""

BEST_OF = 3
"""Runs assumed behind a value that a paper calls its best without saying of how many; the usual number in this field."""

TYPICAL_SPREAD = 0.3
"""Standard deviation between seeds, in points of mIoU, that is assumed to say how many seeds are needed while one was run."""

ARITHMETIC = 0.1
"""Points by which one checkpoint's score differs between versions of torch and GPUs, as sssegmentation's README warns."""

_MOST_SEEDS = 100  # beyond this many, "more seeds" is no advice


@dataclass(frozen=True)
class Verdict:
    """`word` and why; `interval` is the 90 % interval of measured minus published that was compared with ± `margin`.

    `more` is how many further repetitions would decide an inconclusive cell if mean and spread stay; None if none would.
    """

    word: str
    reason: str = ""
    interval: tuple[float, float] | None = None
    margin: float | None = None
    more: int | None = None


NONE = Verdict("")
"""The verdict on a cell without a measurement."""


# ------------------------------------------------------------------------------------------------------- exact cells


def exact(value: float, text: str, rounding: str = "round", evidence: str = "", another: str = "") -> Verdict:
    """The verdict on a count in the printed unit against the published `text`.

    `evidence` says how it is known that this module is the paper's; `another` names the row whose published value this
    row, a different module, is compared with.
    """
    if not math.isfinite(value):
        return Verdict(INVALID, f"the count is {format_decimals(value, 0)}")
    decimals = len(text.partition(".")[2])
    if not _prints(value, text, decimals, rounding):
        reason = f"prints {format_decimals(value, decimals, rounding)}, not {text}"
        if another:
            reason = f"another module than the one behind the published value of {another}; {reason}"
        return Verdict(NOT_REPRODUCED, reason)
    if evidence == "fitted":
        return Verdict(FITTED, "the module was reconstructed to meet this number; that it does is no evidence")
    if evidence == "inferred":
        return Verdict(
            INFERRED, "prints the published digits; part of the module is inferred, not stated by any source"
        )
    if another:
        return Verdict(REPRODUCED, f"another module that prints the published digits of {another}")
    return Verdict(REPRODUCED, "prints the published digits")


def _prints(value: float, text: str, decimals: int, rounding: str) -> bool:
    # through the shortest decimal text: 42.215 means 42.215 here, not the binary number just below; a tie rounds either way
    distance = Fraction(repr(value)) - Fraction(text)
    step = Fraction(1, 10**decimals)
    if rounding == "truncate":
        return 0 <= (distance if not text.startswith("-") else -distance) < step
    return abs(distance) <= step / 2


# ----------------------------------------------------------------------------------------------- cells with noise


def judge_given_weights(value: float, text: str) -> Verdict:
    """The verdict on a test of given weights, in which nothing is random but the arithmetic of another machine."""
    wide = ARITHMETIC + 10.0 ** -len(text.partition(".")[2]) / 2
    if not math.isfinite(value):
        return Verdict(INVALID, "the score of the given weights is no finite number", margin=wide)
    gap = value - float(text)
    what = f"given weights, tested and not trained here, are {gap:+.2f} from the published value; margin ± {wide:.3g}"
    return Verdict(REPRODUCED if abs(gap) <= wide else NOT_REPRODUCED, what.replace("-", "−"), (gap, gap), wide)


def equivalence(
    values: Sequence[float],
    text: str,
    *,
    margin: float,
    statistic: str = "unknown",
    rounding: str = "round",
    best: int = BEST_OF,
) -> Verdict:
    """The verdict on repetitions (in the printed unit, one per seed) against the published `text`.

    `statistic` is what the paper's value is: `mean` or `median` of several runs is taken as exact, `single` and `unknown`
    as one run with the spread of ours, `best` as the best of `best` such runs.
    """
    step = 10.0 ** -len(text.partition(".")[2])
    published = float(text) + (math.copysign(step / 2, float(text)) if rounding == "truncate" else 0.0)
    wide = margin + step / 2
    bad = sum(not math.isfinite(v) for v in values)
    if bad:
        return Verdict(INVALID, f"{bad} of {len(values)} repetitions gave no finite number", margin=wide)
    paper = _Paper(statistic, best)
    n, gap, spread = len(values), mean(values) - published, deviation(values)
    if n < 2 or spread == 0:
        return _one_repetition(n, gap, paper, wide)
    interval = paper.interval(gap, spread, n)
    basis = f"90 % interval of the difference {_interval(interval)}, margin ± {wide:.3g}{_REMARKS[statistic]}"
    if paper.noise:
        place = "within" if interval[0] <= 0 <= interval[1] else "outside"
        basis += f"; the paper's value is {place} what such a run of ours would give"
    if -wide < interval[0] and interval[1] < wide:
        return Verdict(REPRODUCED, basis, interval, wide)
    if interval[0] > wide or interval[1] < -wide:
        return Verdict(NOT_REPRODUCED, basis, interval, wide)
    more = _further(gap, spread, n, paper, wide)
    if more is not None:
        advice = f"about {more} more {'seed' if more == 1 else 'seeds'} would decide if mean and spread stay"
    else:
        single = ": the paper has one run" if paper.noise else ""
        advice = f"no number of seeds up to {_MOST_SEEDS} would decide if mean and spread stay{single}"
    return Verdict(INCONCLUSIVE, f"{basis}; {advice}", interval, wide, more)


_REMARKS = {
    "mean": "",
    "median": "",
    "single": ", widened for the paper's value being one run",
    "unknown": ", widened as if the paper's value were one run (it does not say)",
    "best": f", corrected for the paper's value being a best run (of {BEST_OF} assumed)",
}


class _Paper:
    """How the paper's value lies around the paper's own mean: exactly, as one run would, or as the best of several."""

    def __init__(self, statistic: str, best: int = BEST_OF) -> None:
        self.best = best if statistic == "best" else None
        self.offset, self.noise = best_of(best) if statistic == "best" else (0.0, 0.0)
        if statistic in ("single", "unknown"):
            self.noise = 1.0

    def interval(self, gap: float, spread: float, n: int) -> tuple[float, float]:
        """The 90 % interval of (our mean − the paper's mean), from `n` ≥ 2 repetitions `gap` above the paper's value."""
        if self.best is not None:
            high, low = (best_quantile(p, n, self.best) for p in (ALPHA, 1 - ALPHA))
            return gap - low * spread, gap - high * spread
        half = t_quantile(1 - ALPHA, n - 1) * spread * math.sqrt(1 / n + self.noise)
        return gap - half, gap + half

    def roughly(self, gap: float, spread: float, n: int) -> tuple[float, float]:
        """The same, cheaply: for a best value the largest draw is taken as normal."""
        variance = 1 / n + self.noise + self.offset**2 / (2 * (n - 1))
        half = t_quantile(1 - ALPHA, n - 1) * spread * math.sqrt(variance)
        return gap + self.offset * spread - half, gap + self.offset * spread + half


def _one_repetition(n: int, gap: float, paper: _Paper, wide: float) -> Verdict:
    why = "one repetition" if n == 1 else f"{n} identical repetitions"
    needed = _further(gap, TYPICAL_SPREAD, n, paper, wide)
    if needed is not None:
        advice = f"about {needed} more would decide if seeds differ by {TYPICAL_SPREAD} points"
    else:
        advice = f"more seeds would hardly decide if they differ by {TYPICAL_SPREAD} points"
        advice += ": the paper's value is as uncertain as one run" if paper.noise else ""
    reason = f"{why}: how much seeds differ is unknown, so {gap:+.2f} may be chance; {advice}".replace("-", "−")
    return Verdict(INCONCLUSIVE, reason, None, wide, needed)


def _further(gap: float, spread: float, n: int, paper: _Paper, wide: float) -> int | None:
    for total in range(max(n + 1, 2), _MOST_SEEDS + 1):
        low, high = paper.roughly(gap, spread, total)
        if (-wide < low and high < wide) or low > wide or high < -wide:
            return total - n
    return None


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.2f} … {interval[1]:+.2f}".replace("-", "−")
