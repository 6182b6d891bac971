"""Does a measured cell agree with the published one? Pure functions of numbers; nothing here reads or writes.

Counts (parameters, FLOPs) have no noise: they agree when they print the published digits. Everything else is judged by
equivalence testing (`harness.stats.agreement`): the smallest margin within which both means agree, and a word for it. Each
word is wrong at most one time in twenty, also for whoever adds repetitions one by one and stops when it pleases; the margin
is widened by half a printed digit. `docs/verdicts.md` explains the words and shows the rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from harness.stats.agreement import FEW_RUNS, Target, Word, agreement, sensitivity, target, word
from harness.stats.sequential import LOOKS, Spread
from harness.stats.small_samples import deviation, mean
from harness.text import format_decimals

REPRODUCED = Word.REPRODUCED.value
INFERRED = "reproduced (inferred module)"
FITTED = "fitted"
AS_ONE_RUN = Word.AS_ONE_RUN.value
NOT_REPRODUCED = Word.NOT_REPRODUCED.value
INCONCLUSIVE = Word.INCONCLUSIVE.value
NOT_COMPARABLE = "not comparable"
OTHER_MACHINE = "other machine"
INVALID = "not a number"
UNPUBLISHED = "nothing published"

ALPHA = 0.05
"""How often each one-sided test may be wrong."""

TYPICAL_SPREAD = 0.3
"""Standard deviation between seeds, in points of mIoU, that is assumed to say how many seeds are needed while one was run."""

ARITHMETIC = 0.1
"""Points by which one checkpoint's score differs between versions of torch and GPUs, as sssegmentation's README warns."""


@dataclass(frozen=True)
class Verdict:
    """`word` and why; `interval` is that of measured minus published which was compared with ± `margin`.

    `more` is how many further repetitions would decide an inconclusive cell if mean and spread stay; None if none would.
    `others`: the word under other assumptions on what the paper does not say, `(assumption, word)`.
    """

    word: str
    reason: str = ""
    interval: tuple[float, float] | None = None
    margin: float | None = None
    more: int | None = None
    others: tuple[tuple[str, str], ...] = ()

    @property
    def sensitivity(self) -> str:
        """`would be “inconclusive” if the paper's value is the best of 10`; "" where no assumption was tried."""
        if not self.others:
            return ""
        different: dict[str, list[str]] = {}
        for assumption, other in self.others:
            if other != self.word:
                different.setdefault(other, []).append(assumption)
        texts = [f"“{other}” if the paper's value is {' or '.join(names)}" for other, names in different.items()]
        return f"would be {'; '.join(texts)}" if texts else f"the same as {', '.join(name for name, _ in self.others)}"


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
    runs: int | None = None,
    spread: Spread | None = None,
) -> Verdict:
    """The verdict on repetitions (in the printed unit, one per seed) against the published `text`.

    `statistic` is what the paper's value is: the `mean`, `median` or `best` of `runs` runs (FEW_RUNS where it is not said);
    `single` and `unknown` are one run. `spread` is pooled with other cells; None: that of these repetitions alone.
    """
    values = values[:LOOKS]
    wide = margin + 10.0 ** -len(text.partition(".")[2]) / 2
    bad = sum(not math.isfinite(v) for v in values)
    if bad:
        return Verdict(INVALID, f"{bad} of {len(values)} repetitions gave no finite number", margin=wide)
    published, n, of = float(text), len(values), target(statistic, runs)
    spread = spread or Spread(deviation(values), n - 1)
    if not spread.value > 0 or not math.isfinite(of.factor(n, spread.dof, pooled=spread.pooled)):
        return _too_few(values, mean(values) - published, of, wide)
    found = agreement(values, published, spread, margin=wide, of=of)
    with_ = f" with {spread.about}" if spread.about else ""
    pooled = f", spread ±{spread.value:.2f} pooled{with_} over {spread.dof} degrees of freedom" if spread.pooled else ""
    reason = f"{found.grade()}: difference {_interval(found.interval)}, margin ± {wide:.3g}{pooled}{_remark(statistic, runs)}"
    more = None
    if found.word == Word.INCONCLUSIVE:
        more = _further(mean(values) - published, spread, n, of, wide)
        reason += f"; {_advice(more)} if mean and spread stay"
    tried = sensitivity(values, published, spread, margin=wide, statistic=statistic, runs=runs)
    others = tuple((assumption, other.value) for assumption, other in tried)
    return Verdict(found.word.value, reason, found.interval, wide, more, others)


def _remark(statistic: str, runs: int | None) -> str:
    if statistic == "single":
        return ", the paper's value being one run"
    if statistic == "unknown":
        return ", the paper's value taken as one run with this spread (it does not say)"
    return f", the paper's value being the {statistic} of {runs or f'{FEW_RUNS} (assumed)'} runs"


def _too_few(values: Sequence[float], gap: float, of: Target, wide: float) -> Verdict:
    """Where nothing is known of the spread: what it would take if it is the usual one."""
    n = len(values)
    same = n > 1 and len(set(values)) == 1
    why = "one repetition" if n == 1 else f"{n} {'identical ' if same else ''}repetitions"
    needed = _further(gap, Spread(TYPICAL_SPREAD, n - 1), n, of, wide)
    advice = f"{_advice(needed)} if seeds differ by {TYPICAL_SPREAD} points"
    reason = f"{why}: how much seeds differ is unknown, so {gap:+.2f} may be chance; {advice}".replace("-", "−")
    return Verdict(INCONCLUSIVE, reason, None, wide, needed)


def _advice(more: int | None) -> str:
    if more is None:
        return f"no number of seeds up to {LOOKS} would decide"
    return f"about {more} more {'seed' if more == 1 else 'seeds'} would decide"


def _further(gap: float, spread: Spread, n: int, of: Target, wide: float) -> int | None:
    """How many more repetitions, up to LOOKS in all, would give a word if mean and spread stay."""
    centre = gap + of.shift * spread.value
    for total in range(n + 1, LOOKS + 1):
        half = spread.value * of.factor(total, spread.dof + total - n, pooled=spread.pooled)
        if word(centre - half, centre + half, wide) != Word.INCONCLUSIVE:
            return total - n
    return None


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:+.2f} … {interval[1]:+.2f}".replace("-", "−")
