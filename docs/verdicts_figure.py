"""Draws docs/verdicts.svg: error rates and power of verdicts, by the simulations of benchmarks/test_verdicts.py.

python -m docs.verdicts_figure
"""

from __future__ import annotations

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import test_verdicts as simulation
from harness import ROOT
from harness.stats.agreement import Word

PATH = ROOT / "docs" / "verdicts.svg"
SHOWN = {"unknown": "#b3261e", "mean of 3": "#1b6ca8", "mean of 5": "#2e7d32", "best of 3": "#8e5ea2"}
POSITIVE = (Word.REPRODUCED, Word.AS_ONE_RUN)


def wrong(sigma: float, statistic: str, *, pooled: bool) -> float:
    """The larger share of wrong verdicts, of either kind, that anybody who looks at every repetition meets."""
    both = [simulation.looks(sigma, side * simulation.MARGIN, statistic, pooled=pooled) for side in (1, -1)]
    return max(simulation.ever(words, kind) for words in both for kind in (Word.REPRODUCED, Word.NOT_REPRODUCED))


def unpaid(sigma: float) -> float:
    """The same without the price of looking: the interval of a single look, taken after every repetition."""
    draw = np.random.default_rng(0)
    number = np.arange(1, simulation.LOOKS + 1)
    mean = draw.normal(simulation.MARGIN, sigma, (simulation.CELLS, simulation.LOOKS)).cumsum(axis=1) / number
    half = 1.645 * sigma / np.sqrt(number)
    return simulation.ever(simulation.judged(mean - half, mean + half), Word.NOT_REPRODUCED)


def draw() -> None:
    plt.rcParams.update({"svg.hashsalt": "verdicts", "svg.fonttype": "none", "font.size": 9})
    figure, (errors, sigmas, seeds) = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    errors.axhline(0.05, color="black", linewidth=0.8, linestyle=":")
    errors.plot(simulation.SIGMAS, [unpaid(s) for s in simulation.SIGMAS], color="#999999", label="a fixed-n interval")
    for statistic, colour in SHOWN.items():
        for pooled, style in ((True, "-"), (False, "--")):
            rates = [wrong(s, statistic, pooled=pooled) for s in simulation.SIGMAS]
            errors.plot(simulation.SIGMAS, rates, style, color=colour, label=statistic if pooled else None)
            perfect = [simulation.looks(s, 0.0, statistic, pooled=pooled) for s in simulation.SIGMAS]
            sigmas.plot(simulation.SIGMAS, [simulation.at(w, 5, *POSITIVE) for w in perfect], style, color=colour)
        words = simulation.looks(0.3, 0.0, statistic, pooled=True)
        number = range(1, simulation.LOOKS + 1)
        seeds.plot(number, [simulation.at(words, n, *POSITIVE) for n in number], color=colour)
        seeds.plot(number, [simulation.at(words, n, Word.REPRODUCED) for n in number], ":", color=colour)
    errors.set(xlabel="σ between seeds (points)", title="wrong verdict at any of 20 looks", ylim=(0, 0.2))
    sigmas.set(xlabel="σ between seeds (points)", title="perfect reproduction, 5 seeds:\npositive word", ylim=(0, 1.02))
    seeds.set(xlabel="seeds", title="perfect reproduction, σ = 0.3:\npositive (—), reproduced (··)", ylim=(0, 1.02))
    errors.legend(frameon=False, fontsize=8)
    figure.savefig(PATH, metadata={"Date": None})


if __name__ == "__main__":
    draw()
    print(PATH.relative_to(ROOT))
