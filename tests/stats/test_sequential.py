"""Sequential intervals, pooled spreads and graded agreement: single values; benchmarks/test_verdicts.py has the rates."""

from __future__ import annotations

import math

import pytest

from harness.stats.agreement import (
    LOOSE,
    Agreement,
    Direction,
    Target,
    Word,
    agreement,
    chance,
    direction,
    headline,
    sensitivity,
    target,
    word,
)
from harness.stats.sequential import ALPHA, LOOKS, Spread, factor, level, own_spread, pooled_spread
from harness.stats.small_samples import t_quantile

KNOWN = Spread(0.3, 40, pooled=True)


def test_looking_costs_width() -> None:
    """At each look the interval is wider than one that is looked at once, and less so against a noisy target."""
    for noise in (0.0, 0.2, 1.0):
        for pooled, dof in ((True, 40), (False, 4)):
            once = t_quantile(1 - ALPHA, dof) * math.sqrt(1 / 5 + noise)
            assert once < factor(5, noise, dof, pooled=pooled) < 2.2 * once
    assert level(0.0, pooled=True) < level(0.3, pooled=True) < level(1.0, pooled=True) < ALPHA


def test_levels_between_those_that_are_known_are_the_stricter_ones() -> None:
    assert level(0.99, pooled=True) == level(0.5, pooled=True)
    assert level(7.0, pooled=False) == level(1.0, pooled=False)
    assert level(1 / 3, pooled=False) == level(0.34, pooled=False)


def test_an_interval_needs_repetitions() -> None:
    assert factor(2, 1.0, 1, pooled=False) == math.inf
    assert factor(3, 1.0, 2, pooled=False) < math.inf
    assert factor(1, 1.0, 10, pooled=True) < math.inf
    with pytest.raises(ValueError, match="up to 20"):
        factor(LOOKS + 1, 1.0, 40, pooled=True)


def test_spreads_are_pooled_by_their_degrees_of_freedom() -> None:
    others = [own_spread(values) for values in ([1.0, 2.0, 3.0], [0.0, 4.0], [5.0], [1.0, 1.0, 4.0, 2.0])]
    pooled = pooled_spread([10.0, 11.0], others, "three others")
    squares = 2 * 1.0 + 1 * 8.0 + 3 * 2.0 + 1 * 0.5
    assert (pooled.dof, pooled.pooled, pooled.about) == (7, True, "three others")
    assert pooled.value == pytest.approx(math.sqrt(squares / 7))


def test_cells_of_the_same_trainings_count_once() -> None:
    together = own_spread([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (together.dof, together.value) == (2, pytest.approx(math.sqrt((1 + 4) / 2)))
    assert own_spread([1.0]).dof == 0


def test_few_or_other_spreads_are_not_pooled() -> None:
    few = [own_spread([1.0, 2.0, 3.0])]
    assert pooled_spread([10.0, 11.0, 12.0], few) == Spread(1.0, 2)
    many = 4 * few
    assert pooled_spread([10.0, 11.0, 12.0], many).dof == 10
    assert not pooled_spread([10.0, 20.0, 30.0], many).pooled
    assert pooled_spread([10.0], many) == Spread(1.0, 8, pooled=True)
    assert math.isnan(pooled_spread([10.0], []).value)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-0.4, 0.4, Word.REPRODUCED), (-0.4, 0.6, Word.AS_ONE_RUN), (0.1, 0.6, Word.INCONCLUSIVE), (0.51, 2, Word.NOT_REPRODUCED),
     (-2, -0.51, Word.NOT_REPRODUCED), (-1.6, 0.1, Word.INCONCLUSIVE), (-math.inf, math.inf, Word.INCONCLUSIVE)],
)  # fmt: skip
def test_words_of_intervals(low: float, high: float, expected: Word) -> None:
    assert word(low, high, 0.5) is expected
    assert word(-high, -low, 0.5) is expected


def test_the_grade_does_not_depend_on_the_margin() -> None:
    loose, strict = (agreement([43.7] * 5, 43.61, KNOWN, margin=m, of=target("unknown")) for m in (2.0, 0.1))
    assert (loose.word, strict.word) == (Word.REPRODUCED, Word.INCONCLUSIVE)
    assert loose.grade() == strict.grade() == "agrees within ±0.9 (95 %)"
    assert Agreement(Word.INCONCLUSIVE, (-math.inf, math.inf), 0.5).grade() == "no interval yet"


def test_what_a_published_value_is_widens_or_shifts() -> None:
    def interval(statistic: str, runs: int | None = None) -> tuple[float, float]:
        return agreement([43.0] * 5, 43.0, KNOWN, margin=0.5, of=target(statistic, runs)).interval

    def width(statistic: str, runs: int | None = None) -> float:
        low, high = interval(statistic, runs)
        return high - low

    assert width("mean", 100) < width("mean", 5) < width("mean", 2) < width("single") == width("unknown")
    assert width("mean") == width("mean", 3)
    assert width("median", 5) > width("mean", 5)
    shifts = [sum(interval("best", k)) / 2 for k in (2, 5, 10)]
    assert 0 < shifts[0] < shifts[1] < shifts[2]  # the paper's mean lies below its best run


def test_identical_repetitions_decide_nothing() -> None:
    same = agreement([43.0] * 5, 43.0, Spread(0.0, 4), margin=0.5, of=target("single"))
    assert same.word is Word.INCONCLUSIVE
    assert direction([1.0] * 5, Spread(0.0, 4)) is Direction.UNDECIDED


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf]])
def test_what_cannot_be_judged(values: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot judge"):
        agreement(values, 43.0, KNOWN, margin=0.5, of=target("single"))


def test_repetitions_beyond_the_looks_are_left_out() -> None:
    first = agreement([43.0] * LOOKS, 43.0, KNOWN, margin=0.5, of=target("mean", 5))
    assert agreement([43.0] * LOOKS + [90.0], 43.0, KNOWN, margin=0.5, of=target("mean", 5)) == first


def test_sensitivity_lists_what_is_assumed() -> None:
    unknown = dict(sensitivity([43.7] * 5, 43.61, KNOWN, margin=0.505, statistic="unknown"))
    assert unknown["a mean of many runs"] is Word.REPRODUCED
    assert unknown["of runs with half our spread"] is Word.AS_ONE_RUN
    best = dict(sensitivity([43.0] * 5, 43.9, KNOWN, margin=0.505, statistic="best"))
    assert list(best)[:4] == ["the best of 2", "the best of 3", "the best of 5", "the best of 10"]
    stated = sensitivity([43.0] * 5, 43.9, KNOWN, margin=0.505, statistic="best", runs=4)
    assert [name for name, _ in stated] == ["of runs with half our spread", "of runs with twice our spread"]
    assert len(set(best.values())) > 1


def test_directions_of_claims() -> None:
    assert direction([1.0] * 5, KNOWN) is Direction.HOLDS
    assert direction([-1.0] * 5, KNOWN) is Direction.FAILS
    assert direction([0.1] * 5, KNOWN) is Direction.UNDECIDED
    assert direction([-0.36] * 5, KNOWN) is Direction.FAILS
    assert direction([-0.36] * 5, KNOWN, comparisons=8) is Direction.UNDECIDED


def test_what_chance_would_call_reproduced() -> None:
    assert chance([1] * 8) == (pytest.approx(0.4), 2)
    assert chance([]) == (0.0, 0)
    assert chance([1] * 100)[1] == 9  # binomial, 100 of 5 %
    assert chance([2] * 4) == (pytest.approx(0.4), 2)
    assert chance([4] * 4) == (pytest.approx(0.8), 4)  # cells of one training are wrong together
    words = [[Word.REPRODUCED]] * 5 + [[Word.AS_ONE_RUN]] * 2 + [[Word.INCONCLUSIVE]]
    assert headline(words) == (
        "5 of 8 judged cells reproduced; expected by chance 0.4, at most 2 with 95 %, so at least 3 are no accident;"
        " 2 more agree as one run can"
    )
    assert (
        headline([[Word.INCONCLUSIVE]]) == "0 of 1 judged cell reproduced; expected by chance 0.05, at most 0 with 95 %"
    )
    assert headline([]) == ""
    assert LOOSE > 1
    assert Target(0.0, 1.0) == target("single")
