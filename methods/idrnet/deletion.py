"""Deletion diagnostics: which class of an image to delete, and what its absence does to the loss of each class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from methods.segmentor import IGNORE


def sample_deletions(present_BK: Tensor, counts_K: Tensor, *, balanced: bool) -> Tensor:
    """One class to delete per image, among those present: uniformly, or in inverse proportion to its count (Eq. 12).

    Images are drawn one after the other, each seeing the deletions before it. Stays on the device: an exponential
    race, whose first arrival is class k with probability proportional to its rate. [B, K], [K] -> [B] int64.
    In an image without any class the index means nothing.
    """
    counts_K = counts_K.clone()
    deleted = []
    for present_K in present_BK:
        rates_K = 1 / counts_K if balanced else torch.ones_like(counts_K)
        arrivals_K = torch.empty_like(rates_K).exponential_() / rates_K
        drawn = arrivals_K.masked_fill(~present_K, torch.inf).argmin(dim=0, keepdim=True)
        counts_K.index_add_(0, drawn, torch.ones_like(counts_K[:1]))
        deleted.append(drawn)
    return torch.cat(deleted)


class ClassStatistics(NamedTuple):
    """Pixels of each ground-truth class in each image, and the sums of their loss. All [B, K], float64."""

    count: Tensor
    mean: Tensor
    squares: Tensor  # sum of squared distances from the mean


def class_statistics(losses_BHW: Tensor, targets_BHW: Tensor, num_classes: int) -> ClassStatistics:
    """Statistics of a per-pixel loss by image and ground-truth class; ignored pixels belong to none."""
    batch, bins = targets_BHW.shape[0], num_classes + 1
    kept_BN = targets_BHW.flatten(1)
    kept_BN = torch.where(kept_BN == IGNORE, num_classes, kept_BN)  # the last bin takes what is ignored
    index = (kept_BN + torch.arange(batch, device=kept_BN.device)[:, None] * bins).flatten()
    losses = losses_BHW.double().flatten()

    def total(values: Tensor) -> Tensor:
        return torch.zeros(batch * bins, dtype=torch.float64, device=values.device).index_add_(0, index, values)

    count = total(torch.ones_like(losses))
    mean = total(losses) / count.clamp(min=1)
    squares = total((losses - mean[index]).square())
    return ClassStatistics(*(x.view(batch, bins)[:, :num_classes] for x in (count, mean, squares)))


class Diagnosis(NamedTuple):
    """What deleting one class per image changed, for each observed class (Eq. 14). All [B, K]."""

    mean: Tensor
    variance: Tensor
    seen_mean: Tensor  # bool: where the change is defined
    seen_variance: Tensor


def diagnose(
    kept: ClassStatistics,
    without: ClassStatistics,
    *,
    reserved_BK: Tensor | None = None,
    normaliser: float | None = None,
) -> Diagnosis:
    """Compares the loss with all classes (`kept`) to the loss without the deleted ones (`without`).

    normaliser None: means and biased variances over the pixels of a class, as released; else sums over the image
    divided by it (K · H · W in Eq. 14). reserved [B, K]: only these classes are observed; None: all of the truth.
    """
    divisor = kept.count.clamp(min=1) if normaliser is None else normaliser
    scale = 1.0 if normaliser is None else kept.count / normaliser
    seen = kept.count > 0
    if reserved_BK is not None:
        seen = seen & reserved_BK
    return Diagnosis(
        mean=(without.mean - kept.mean) * scale,
        variance=(without.squares - kept.squares) / divisor,
        seen_mean=seen,
        seen_variance=seen & (kept.count > 1),
    )
