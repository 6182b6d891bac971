"""Class tokens: the pixels that stage 1 gives to a class, merged into one vector (Eq. 1-3, released pooling weights)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precisions as float32 (their range or their step is too small for what follows); float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


class Assignment(NamedTuple):
    """Which class each pixel belongs to, and how much it weighs there. N pixels, K classes."""

    labels_BN: Tensor  # int64, the pseudo-label
    weights_BN: Tensor
    present_BK: Tensor  # bool, classes that own a pixel


def assign_pixels(logits: Tensor, *, pooling: str) -> Assignment:
    """Pseudo-labels and pooling weights from stage 1's logits [B, K, h, w].

    `softmax`: over the pixels of a class, of its logit; a class's weights sum to one. `probability`: the class's
    probability at the pixel, whose sum over the pixels is not normalised. Gradients reach the logits either way.
    """
    logits_BKN = at_least_float32(logits).flatten(2)
    scores_BN, labels_BN = logits_BKN.max(dim=1)
    present_BK = torch.zeros(logits_BKN.shape[:2], dtype=torch.bool, device=logits.device).scatter(1, labels_BN, True)
    if pooling == "probability":
        return Assignment(labels_BN, (scores_BN - logits_BKN.logsumexp(dim=1)).exp(), present_BK)
    lowest = torch.full_like(present_BK, -torch.inf, dtype=scores_BN.dtype)
    peaks_BK = lowest.scatter_reduce(1, labels_BN, scores_BN.detach(), "amax")
    exponentials_BN = (scores_BN - peaks_BK.gather(1, labels_BN)).exp()
    sums_BK = torch.zeros_like(lowest).scatter_add(1, labels_BN, exponentials_BN)
    return Assignment(labels_BN, exponentials_BN / sums_BK.gather(1, labels_BN), present_BK)


def class_tokens(features: Tensor, assignment: Assignment, enhancement_KC: Tensor | None) -> Tensor:
    """Weighted sums of each class's pixels [f ; E_k] (Eq. 3); zero rows for absent classes.

    features [B, C, h, w], enhancement E [K, C] or None -> [B, K, 2C] or [B, K, C]
    """
    labels_BN, weights_BN, present_BK = assignment
    weights_BKN = weights_BN.new_zeros(*present_BK.shape, labels_BN.shape[1])
    weights_BKN = weights_BKN.scatter(1, labels_BN[:, None], weights_BN[:, None])
    tokens_BKC = weights_BKN.to(features.dtype) @ features.flatten(2).transpose(1, 2)
    if enhancement_KC is None:
        return tokens_BKC
    mass_BK1 = weights_BKN.sum(dim=2, keepdim=True)
    return torch.cat([tokens_BKC, (mass_BK1 * enhancement_KC).to(tokens_BKC.dtype)], dim=2)


def look_up(table_BKD: Tensor, labels_BN: Tensor, like: Tensor) -> Tensor:
    """Gives every pixel its class's row: [B, K, D], labels [B, N] -> [B, D, h, w] on the grid of `like`, channels last."""
    batch, classes, width = table_BKD.shape
    offsets_B1 = torch.arange(batch, device=labels_BN.device)[:, None] * classes
    rows = table_BKD.flatten(0, 1).index_select(0, (labels_BN + offsets_B1).flatten())
    return rows.view(batch, *like.shape[-2:], width).permute(0, 3, 1, 2)
