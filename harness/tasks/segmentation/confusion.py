"""Scores from a confusion matrix that is counted exactly (int64), so that it can be compared, added and rescored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from harness.data.layout import IGNORE

_SIDE = 256  # label maps are uint8


class Confusion:
    """Counts pixels by (true class, predicted class), on the device of the first update.

    `update` costs one pass: the pair (truth, prediction) is one integer, `256 · truth + prediction`, and ignored pixels
    are counted like any others, in a row of their own.
    """

    def __init__(self, num_classes: int, device: str | torch.device = "cpu") -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(_SIDE * _SIDE, dtype=torch.int64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Adds pixels: uint8 class ids of one shape; IGNORE = 255 in `target`."""
        pairs = target.reshape(-1).to(torch.int32).mul_(_SIDE).add_(prediction.reshape(-1))
        self.counts += torch.bincount(pairs, minlength=_SIDE * _SIDE)

    def add_ranks(self) -> None:
        """Adds the counts of all processes that test together; integers, so that their number changes nothing."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.counts)

    def matrix(self) -> np.ndarray:
        """int64 [K + 1, K]: row = true class, column = predicted class; the last row counts the ignored pixels."""
        square = self.counts.view(_SIDE, _SIDE)
        rows = torch.cat([square[: self.num_classes], square[IGNORE : IGNORE + 1]])
        class_counts = rows[:, : self.num_classes].cpu().numpy()
        assert class_counts.sum() == int(self.counts.sum()), "a class id outside the classes was counted"
        return class_counts


@dataclass(frozen=True)
class Scores:
    """Fractions; NaN where undefined (a class that is neither there nor predicted has no IoU)."""

    iou: np.ndarray  # [K]
    accuracy: np.ndarray  # [K], of the pixels of a class, those predicted as it
    miou: float
    macc: float
    aacc: float
    fwiou: float


def scores(confusion: np.ndarray, classes: Sequence[int] | None = None) -> Scores:
    """Scores of a matrix of Confusion, [K + 1, K] or [K, K].

    With `classes`, only pixels of these true classes count, and averages go over them; pixels of other classes are
    ignored like void ones (predictions outside the subset still count as wrong).
    """
    counts = confusion[: confusion.shape[1]].astype(np.float64)
    class_ids = np.arange(len(counts)) if classes is None else np.asarray(classes, dtype=int)
    if classes is not None:
        other_ids = np.setdiff1d(np.arange(len(counts)), class_ids)
        counts = counts.copy()
        counts[other_ids] = 0
    hit, truth, prediction = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = (hit / (truth + prediction - hit))[class_ids]
        accuracy = (hit / truth)[class_ids]
        total = truth.sum()
        frequency = truth[class_ids] / total
        aacc = float(hit.sum() / total) if total else float("nan")
    fwiou = float(np.nansum(frequency * iou)) if total else float("nan")
    return Scores(iou, accuracy, _mean(iou), _mean(accuracy), aacc, fwiou)


def _mean(values: np.ndarray) -> float:
    """Mean over the defined values; NaN (without a warning) when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
