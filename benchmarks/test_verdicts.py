"""Error rates and power of verdicts, by simulation: whoever adds repetitions one by one and looks each time, up to 20.

The true means differ by exactly the margin where an error is counted, which is the worst case; a perfect reproduction
differs by nothing. The paper's value is drawn anew in each simulated cell. `docs/verdicts.md` draws what is computed here.
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.agreement import LOOSE, Word, target, word
from harness.stats.sequential import LOOKS

MARGIN, CELLS = 0.505, 20_000
SIGMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
ELSEWHERE = 16  # degrees of freedom of the spread of other cells: eight cells of three seeds
ERROR = 3 * (0.05 * 0.95 / CELLS) ** 0.5  # of a simulated rate of 5 %
STATISTICS = {
    "unknown": ("unknown", None),
    "mean of 3": ("mean", 3),
    "mean of 5": ("mean", 5),
    "best of 3": ("best", 3),
    "best of 10": ("best", 10),
}
WORDS = list(Word)


def looks(sigma: float, difference: float, statistic: str, *, pooled: bool, seed: int = 0) -> np.ndarray:
    """The word of every cell at every look: [CELLS, LOOKS] indices into WORDS."""
    draw = np.random.default_rng(seed)
    kind, runs = STATISTICS[statistic]
    of = target(kind, runs)
    values = draw.normal(difference, sigma, (CELLS, LOOKS))
    papers = draw.normal(0.0, sigma, (CELLS, runs or 1))
    published = papers.max(axis=1) if kind == "best" else papers.mean(axis=1)
    number = np.arange(1, LOOKS + 1)
    mean = values.cumsum(axis=1) / number
    squares = np.maximum((values**2).cumsum(axis=1) - number * mean**2, 0)
    dof = number - 1
    if pooled:
        squares = squares + sigma**2 * draw.chisquare(ELSEWHERE, (CELLS, 1))
        dof = dof + ELSEWHERE
    spread = np.sqrt(squares / np.maximum(dof, 1))
    factors = np.array([of.factor(n, int(d), pooled=pooled) for n, d in zip(number.tolist(), dof)])
    half = np.where(np.isfinite(factors), spread * np.nan_to_num(factors, posinf=0.0), np.inf)
    centre = mean - published[:, None] + of.shift * spread
    return judged(centre - half, centre + half)


def judged(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`agreement.word` over arrays; compared with it below."""
    words = np.full(low.shape, WORDS.index(Word.INCONCLUSIVE))
    alike = (low <= 0) & (high >= 0) & (np.maximum(-low, high) < LOOSE * MARGIN)
    words[alike] = WORDS.index(Word.AS_ONE_RUN)
    words[(low > MARGIN) | (high < -MARGIN)] = WORDS.index(Word.NOT_REPRODUCED)
    words[(low > -MARGIN) & (high < MARGIN)] = WORDS.index(Word.REPRODUCED)
    return words


def ever(words: np.ndarray, *these: Word) -> float:
    """Share of cells that have one of these words at any look."""
    return float(np.isin(words, [WORDS.index(word) for word in these]).any(axis=1).mean())


def at(words: np.ndarray, n: int, *these: Word) -> float:
    """Share of cells with one of these words after n repetitions."""
    return float(np.isin(words[:, n - 1], [WORDS.index(word) for word in these]).mean())


def test_words_over_arrays_are_those_of_the_module() -> None:
    low = np.linspace(-2.5, 2.5, 101)[:, None] + np.zeros(7)
    high = low + np.array([0.01, 0.3, 0.7, 1.0, 1.4, 2.0, np.inf])
    expected = [word(a, b, MARGIN) for a, b in zip(low.ravel(), high.ravel())]
    assert [WORDS[i] for i in judged(low, high).ravel()] == expected


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "alone"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_wrong_verdicts_at_any_look(statistic: str, pooled: bool) -> None:
    """A difference of exactly the margin is called reproduced, or not reproduced, of at most one cell in twenty, ever."""
    for sigma in SIGMAS:
        for side in (1, -1):
            words = looks(sigma, side * MARGIN, statistic, pooled=pooled)
            assert ever(words, Word.REPRODUCED) <= 0.05 + ERROR, (sigma, side)
            assert ever(words, Word.NOT_REPRODUCED) <= 0.05 + ERROR, (sigma, side)


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "alone"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_perfect_reproduction_is_hardly_ever_refused(statistic: str, pooled: bool) -> None:
    for sigma in SIGMAS:
        assert ever(looks(sigma, 0.0, statistic, pooled=pooled), Word.NOT_REPRODUCED) <= 0.05


@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "alone"])
def test_agreement_as_one_run_can_has_its_own_rate(pooled: bool) -> None:
    """A difference of LOOSE margins is said to agree as one run can of at most one cell in twenty, ever."""
    for sigma in SIGMAS:
        words = looks(sigma, LOOSE * MARGIN, "unknown", pooled=pooled)
        assert ever(words, Word.AS_ONE_RUN, Word.REPRODUCED) <= 0.05 + ERROR, sigma


def test_a_perfect_reproduction_is_seen() -> None:
    """σ = 0.3, statistic unknown, five seeds, spread pooled: a positive word of at least four cells in five."""
    words = looks(0.3, 0.0, "unknown", pooled=True)
    assert at(words, 5, Word.REPRODUCED, Word.AS_ONE_RUN) >= 0.8
    assert at(looks(0.3, 0.0, "mean of 5", pooled=True), 20, Word.REPRODUCED) >= 0.6


def test_looking_without_paying_for_it_errs_more() -> None:
    """What this replaces: the same intervals at the level of a single look."""
    draw = np.random.default_rng(0)
    number = np.arange(1, LOOKS + 1)
    mean = draw.normal(MARGIN, 0.3, (CELLS, LOOKS)).cumsum(axis=1) / number
    half = 1.645 * 0.3 / np.sqrt(number)
    assert ever(judged(mean - half, mean + half), Word.NOT_REPRODUCED) > 0.1
