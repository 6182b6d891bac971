"""Where IDRNet's text and its authors' code differ, in words; `options.DIFFERENCES` has the same points as choices.

Paper: Jin et al. 2023, arXiv 2310.10755. Released code: SegmentationBLWX/sssegmentation at eb1878c1. Nothing here takes
part in a training. `docs/idrnet_differences.md` is written from this file and from the table files.
"""

from __future__ import annotations

from typing import NamedTuple

from methods.idrnet.options import DIFFERENCES, Options

NOT_SAID = "not said"


class Difference(NamedTuple):
    """One point: a clause for each side, and where the text has its own ("not said" where it is silent)."""

    topic: str
    released: str
    paper: str
    where: str


OPTIONS: dict[str, Difference] = {
    "representation": Difference(
        "pixel representations R_p",
        "class tokens are of a 3×3 bottleneck's output",
        "class tokens are of the backbone's last map",
        "Sec. 3.1",
    ),
    "pooling": Difference(
        "weights of a class's pixels",
        "a class's pixels are weighted by a softmax of their logits over the class",
        "a class's pixels are weighted by their probabilities",
        "after Eq. 2",
    ),
    "threshold": Difference(
        "matrices with a threshold",
        "only the mean matrix is thresholded",
        "every relation matrix is thresholded",
        "Eq. 7",
    ),
    "zero_is_weak": Difference(
        "the threshold t = 0",
        "an entry of zero is cut off",
        "an entry of zero takes part",
        "Eq. 7",
    ),
    "diagnosis": Difference(
        "what a deletion changes",
        "losses are compared as each class's mean and biased variance",
        "losses are compared as sums over the image divided by K·H·W",
        "Eq. 14",
    ),
    "observed": Difference(
        "classes whose loss is observed",
        "every class of the ground truth is observed, the deleted one too",
        "only reserved classes are observed",
        "Eq. 13",
    ),
    "refiner_input": Difference(
        "what the refiner sees",
        "the refiner sees features, memory and contexts",
        "the refiner sees the coarse context and the contexts",
        "Eq. 9",
    ),
    "stage2_input": Difference(
        "what the last classifier sees",
        "the last classifier sees features, coarse context and the refined map",
        "the last classifier sees the refined map alone",
        "Eq. 10",
    ),
    "classifier_layers": Difference(
        "both classifiers",
        "classifiers have two layers",
        "classifiers have one layer",
        "after Eq. 1 and Eq. 10",
    ),
    "auxiliary_weight": Difference(
        "auxiliary loss",
        "a loss on the last but one map is added with weight 0.4",
        "no auxiliary loss is added",
        "Eq. 11",
    ),
    "deletion_moves_norm": Difference(
        "batch norm in the pass with a deleted class",
        "the pass with a deleted class moves norm statistics",
        "the pass with a deleted class leaves norm statistics alone",
        NOT_SAID,
    ),
    "reduction": Difference(
        "state on several processes",
        "each of {processes} processes moves its own state, which is averaged after every step",
        "the whole batch moves one state",
        NOT_SAID,
    ),
}


class Fixed(NamedTuple):
    """A point on which text and code differ, or code and harness, and which is no option here."""

    topic: str
    paper: str
    released: str
    run: str


FIXED: tuple[Fixed, ...] = (
    Fixed(
        "rows of the relation matrices",
        "row is the deleted class in Eq. 14–15 and the receiving class in Eq. 6",
        "the same",
        "the same",
    ),
    Fixed("a class never deleted", "not said", "its count starts at 1e-6, not at zero", "as released (count_start)"),
    Fixed("gradient through pooling weights", "not said", "flows", "flows"),
    Fixed(
        "dropout in the pass with a deleted class",
        "not said",
        "the mask of the usual pass, by re-seeding the global generator at each step",
        "the mask of the usual pass, handed over; nothing is re-seeded",
    ),
    Fixed(
        "several scales",
        "not said",
        "an image is resized once, and its normalised values again at each scale",
        "each scale is resized from the image itself",
    ),
    Fixed(
        "random orthogonal enhancement, random deletion, back-propagation",
        "Tables 3 and 4",
        "not released",
        "written from the text",
    ),
)


def clause(name: str, value: object, *, processes: int = 8) -> str:
    """How an option is run, in words: the clause of the side that `value` is on. KeyError where it is on neither."""
    sides = dict(zip(DIFFERENCES[name], (OPTIONS[name].released, OPTIONS[name].paper)))
    return sides[value].format(processes=processes)


def summary(options: Options) -> str:
    """How IDRNet is run, point by point. KeyError where an option is on neither side."""
    return "; ".join(clause(name, getattr(options, name), processes=options.processes) for name in DIFFERENCES)
