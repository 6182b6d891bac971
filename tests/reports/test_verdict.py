"""Verdicts: counts to the printed digit, scores by equivalence testing whose stated error rates hold."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.agreement import FEW_RUNS, LOOSE, Word, target, word
from harness.stats.sequential import Spread
from harness.stats.small_samples import best_of, best_quantile, deviation, mean, t_cdf, t_quantile
from harness.text import format_decimals
from reports import verdict

values = st.floats(0, 100, allow_nan=False)


# ------------------------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize(
    ("dof", "expected"), [(1, 6.313752), (2, 2.919986), (3, 2.353363), (4, 2.131847), (9, 1.833113), (30, 1.697261)]
)
def test_t_quantile_is_the_tables(dof: int, expected: float) -> None:
    assert t_quantile(0.95, dof) == pytest.approx(expected, abs=1e-6)


@given(st.floats(0.51, 0.999), st.integers(1, 60))
def test_t_quantile_inverts_the_distribution(probability: float, dof: int) -> None:
    assert t_cdf(t_quantile(probability, dof), dof) == pytest.approx(probability, abs=1e-9)


def test_the_best_of_several_runs_is_this_far_above_their_mean() -> None:
    assert best_of(1) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert best_of(2) == (pytest.approx(1 / math.sqrt(math.pi)), pytest.approx(1 - 1 / math.pi))
    assert best_of(3)[0] == pytest.approx(3 / (2 * math.sqrt(math.pi)))
    assert best_of(10)[0] == pytest.approx(1.5387, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_against_the_best_of_one_run_the_quantile_is_students(n: int) -> None:
    expected = t_quantile(0.95, n - 1) * math.sqrt(1 + 1 / n)
    assert best_quantile(0.95, n, 1) == pytest.approx(expected, rel=2e-3)
    assert best_quantile(0.05, n, 1) == pytest.approx(-expected, rel=2e-3)


@given(st.lists(values, min_size=2, max_size=6))
def test_deviation_is_that_of_the_definition(sample: list[float]) -> None:
    centre = mean(sample)
    expected = math.sqrt(sum((v - centre) ** 2 for v in sample) / (len(sample) - 1))
    assert deviation(sample) == pytest.approx(expected, abs=1e-9)


# ---------------------------------------------------------------------------------------------------------- counts


@given(st.integers(0, 10**12), st.integers(0, 3))
def test_a_count_prints_what_rounding_it_prints(count: int, decimals: int) -> None:
    text = format_decimals(count / 1e6, decimals)
    assert verdict.exact(count / 1e6, text).word == verdict.REPRODUCED
    away = f"{float(text) + 2 * 10.0**-decimals:.{decimals}f}"
    assert verdict.exact(count / 1e6, away).word == verdict.NOT_REPRODUCED


@given(st.integers(0, 10**12), st.integers(0, 3))
def test_truncation_is_judged_as_truncation(count: int, decimals: int) -> None:
    text = format_decimals(count / 1e6, decimals, "truncate")
    assert verdict.exact(count / 1e6, text, "truncate").word == verdict.REPRODUCED
    above = f"{float(text) + 10.0**-decimals:.{decimals}f}"
    assert verdict.exact(count / 1e6, above, "truncate").word == verdict.NOT_REPRODUCED


def test_rounding_and_truncation_differ_where_they_should() -> None:
    assert verdict.exact(34.747, "34.75").word == verdict.REPRODUCED
    assert verdict.exact(34.747, "34.75", "truncate").word == verdict.NOT_REPRODUCED
    assert verdict.exact(34.747, "34.74", "truncate").word == verdict.REPRODUCED
    assert verdict.exact(34.747, "34.74").word == verdict.NOT_REPRODUCED


def test_a_tie_may_be_rounded_either_way() -> None:
    assert {verdict.exact(42.215, text).word for text in ("42.21", "42.22")} == {verdict.REPRODUCED}


def test_trailing_zeros_are_digits() -> None:
    assert verdict.exact(79.36, "79.4").word == verdict.REPRODUCED
    assert verdict.exact(79.36, "79.40").word == verdict.NOT_REPRODUCED


@given(values, st.sampled_from(["round", "truncate"]), st.sampled_from(["", "another row"]))
def test_a_fitted_module_is_never_reproduced(value: float, rounding: str, another: str) -> None:
    text = format_decimals(value, 2, rounding)
    assert verdict.exact(value, text, rounding, "fitted", another).word == verdict.FITTED
    assert verdict.exact(value, text, rounding, "inferred", another).word == verdict.INFERRED
    assert verdict.exact(value + 1, text, rounding, "fitted", another).word == verdict.NOT_REPRODUCED


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_gets_no_verdict_on_agreement(value: float) -> None:
    assert verdict.exact(value, "1.00").word == verdict.INVALID
    assert verdict.equivalence([value, 42.0], "42.00", margin=0.5).word == verdict.INVALID


# ---------------------------------------------------------------------------------------------------------- scores


def judged(sample: list[float], text: str = "42.00", **options: object) -> verdict.Verdict:
    return verdict.equivalence(sample, text, margin=0.5, **{"statistic": "mean", **options})  # type: ignore[arg-type]


def test_close_and_steady_is_reproduced_far_is_not_and_spread_is_undecided() -> None:
    many = {"runs": 50}
    assert judged([42.0, 42.1, 41.9, 42.05], **many).word == verdict.REPRODUCED
    assert judged([44.0, 44.1, 43.9, 44.05], **many).word == verdict.NOT_REPRODUCED
    assert judged([41.0, 43.0, 42.0], **many).word == verdict.INCONCLUSIVE
    assert judged([42.45, 42.55, 42.5], **many).word == verdict.INCONCLUSIVE
    assert judged([42.0, 42.3, 41.8, 42.1], statistic="single").word == verdict.AS_ONE_RUN


def test_a_pooled_spread_decides_what_few_seeds_alone_do_not() -> None:
    spread = Spread(0.3, 16, pooled=True)
    alone, pooled = judged([42.1, 42.3], statistic="unknown"), judged([42.1, 42.3], statistic="unknown", spread=spread)
    assert alone.word == verdict.INCONCLUSIVE
    assert pooled.word == verdict.AS_ONE_RUN
    assert "agrees within ±" in pooled.reason
    assert "spread ±0.30 pooled over 16 degrees of freedom" in pooled.reason


def test_what_is_assumed_is_said_where_the_word_depends_on_it() -> None:
    spread = Spread(0.1, 16, pooled=True)
    sample = [42.2, 42.25, 42.3]
    unknown = judged(sample, statistic="unknown", spread=Spread(0.3, 16, pooled=True))
    assert "“inconclusive” if the paper's value is of runs with twice our spread" in unknown.sensitivity
    sure = judged([42.0, 42.05, 42.1], statistic="unknown", spread=Spread(0.02, 16, pooled=True))
    assert sure.sensitivity.startswith("the same as a mean of many runs, the best of 3")
    assert judged([42.0], statistic="unknown").sensitivity == ""
    assert "(assumed)" in judged(sample, statistic="best", spread=spread).reason
    assert "(assumed)" not in judged(sample, statistic="best", runs=5, spread=spread).reason


def test_one_seed_is_inconclusive_however_close() -> None:
    found = judged([42.0])
    assert found.word == verdict.INCONCLUSIVE
    assert "one repetition" in found.reason
    assert found.more is not None
    assert found.more >= 1


def test_identical_repetitions_count_as_one() -> None:
    found = judged([42.0, 42.0, 42.0])
    assert found.word == verdict.INCONCLUSIVE
    assert "identical" in found.reason


def test_half_a_printed_digit_widens_the_margin() -> None:
    assert judged([42.0, 42.1]).margin == pytest.approx(0.505)
    assert judged([42.0, 42.1], "42").margin == pytest.approx(1.0)


def test_a_paper_with_one_run_widens_the_interval_and_its_best_run_shifts_it() -> None:
    sample = [42.0, 42.2, 41.9]
    mean_of_many, single, best = (
        judged(sample, statistic=s, runs=r) for s, r in (("mean", 50), ("single", None), ("best", 3))
    )
    assert mean_of_many.interval is not None
    assert single.interval is not None
    assert best.interval is not None
    assert single.interval[1] - single.interval[0] > mean_of_many.interval[1] - mean_of_many.interval[0]
    assert sum(best.interval) > sum(single.interval)


@given(st.lists(st.floats(40, 44), min_size=2, max_size=8), st.sampled_from(["mean", "single", "best"]))
def test_the_word_says_where_the_interval_lies(sample: list[float], statistic: str) -> None:
    found = judged(sample, statistic=statistic)
    if found.interval is None or found.margin is None:
        assert found.word == verdict.INCONCLUSIVE
        return
    low, high = found.interval
    assert low <= high
    inside = -found.margin < low and high < found.margin
    outside = low > found.margin or high < -found.margin
    alike = low <= 0 <= high and max(-low, high) < LOOSE * found.margin
    rest = verdict.AS_ONE_RUN if alike else verdict.INCONCLUSIVE
    assert found.word == (verdict.REPRODUCED if inside else verdict.NOT_REPRODUCED if outside else rest)


@given(st.lists(st.floats(40, 44), min_size=2, max_size=6), st.floats(0.1, 1), st.floats(0, 2))
def test_a_wider_margin_never_turns_reproduced_into_something_else(
    sample: list[float], margin: float, more: float
) -> None:
    narrow = verdict.equivalence(sample, "42.00", margin=margin, statistic="mean")
    wide = verdict.equivalence(sample, "42.00", margin=margin + more, statistic="mean")
    if narrow.word == verdict.REPRODUCED:
        assert wide.word == verdict.REPRODUCED
    if wide.word == verdict.NOT_REPRODUCED:
        assert narrow.word == verdict.NOT_REPRODUCED


@given(st.floats(-2, 2), st.floats(0.05, 1), st.integers(2, 6))
def test_as_many_more_seeds_as_it_says_would_decide_and_one_fewer_would_not(gap: float, spread: float, n: int) -> None:
    sample = [42 + gap + (spread if i % 2 else -spread) for i in range(n)]
    found = judged(sample)
    if found.word != verdict.INCONCLUSIVE or found.more is None or found.margin is None:
        return
    if found.interval is None:
        return  # as if seeds differed by the usual spread
    centre, estimated, of = mean(sample) - 42, deviation(sample), target("mean")

    def decided(total: int) -> bool:
        half = of.factor(total, total - 1, pooled=False) * estimated
        return word(centre - half, centre + half, found.margin) != Word.INCONCLUSIVE  # type: ignore[arg-type]

    assert decided(n + found.more)
    assert not any(decided(total) for total in range(n + 1, n + found.more))


# ------------------------------------------------------------------------------------------------------ error rates


def rates(gap: float, sigma: float, n: int, statistic: str, runs: int = 2000, seed: int = 0) -> dict[str, float]:
    """How often each verdict falls when our true mean lies `gap` above the paper's, whose value is as `statistic` says."""
    draw = random.Random(seed)
    counted: dict[str, float] = {}
    for _ in range(runs):
        paper = {
            "mean": lambda: draw.gauss(0, sigma / math.sqrt(FEW_RUNS)),
            "single": lambda: draw.gauss(0, sigma),
            "best": lambda: max(draw.gauss(0, sigma) for _ in range(FEW_RUNS)),
        }[statistic]()
        sample = [40 + gap + draw.gauss(0, sigma) for _ in range(n)]
        word = verdict.equivalence(sample, f"{40 + paper:.4f}", margin=0.5, statistic=statistic).word
        counted[word] = counted.get(word, 0) + 1 / runs
    return counted


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["mean", "single", "best"])
@pytest.mark.parametrize("sigma", [0.1, 0.3])
@pytest.mark.parametrize("n", [3, 8])
def test_wrong_verdicts_are_as_rare_as_stated(statistic: str, sigma: float, n: int) -> None:
    allowed = verdict.ALPHA + 3 * math.sqrt(verdict.ALPHA * (1 - verdict.ALPHA) / 2000)  # three standard errors
    for gap in (0.5, -0.5):  # on the edge of the margin both errors are most likely
        found = rates(gap, sigma, n, statistic)
        assert found.get(verdict.REPRODUCED, 0) <= allowed
        assert found.get(verdict.NOT_REPRODUCED, 0) <= allowed


def test_power_of_a_steady_method() -> None:
    """At σ = 0.1 nearly all perfect reproductions are recognised from five seeds alone, and far ones refused."""
    perfect = rates(0.0, 0.1, 5, "single")
    assert perfect[verdict.REPRODUCED] + perfect[verdict.AS_ONE_RUN] > 0.95
    assert rates(2.0, 0.2, 5, "mean")[verdict.NOT_REPRODUCED] > 0.9
