"""Explicit Class Extraction (ECENet, Sec. 3.3): an embedding of every class from that class's mask alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pooling_bins(num_classes: int, alpha: float) -> tuple[int, ...]:
    """Sides of the grids that a mask is pooled to: 1, 2, 3, 6 and α·√N, cut to a whole number and made odd by adding one.

    The paper gives the largest (Sec. 3.3); the others, and that it is odd, are the released code's.
    """
    largest = int(alpha * math.sqrt(num_classes))
    return (1, 2, 3, 6, largest + 1 - largest % 2)


class MaskProjection(nn.Sequential):
    """Masks of the last stage, φ2(φ1(x)) without an activation between (Eq. 4).

    φ1 is grouped, one group per attention head: the published complexity needs that, the paper does not say it.
    x [B, channels, H, W] -> masks [B, num_classes, H, W]
    """

    def __init__(self, channels: int, num_classes: int, *, groups: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
            nn.Conv2d(channels, num_classes, 1, bias=False),
        )


class ClassExtraction(nn.Module):
    """Eq. 5: the masks, averaged over the cells of several grids, and one linear layer that all classes share.

    masks [B, N, H, W] -> embeddings [B, N, channels]; a grid may be finer than the masks
    """

    def __init__(self, channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.project = nn.Linear(sum(side**2 for side in self.bins), channels)

    def forward(self, masks: Tensor) -> Tensor:
        return self.project(torch.cat([F.adaptive_avg_pool2d(masks, side).flatten(2) for side in self.bins], dim=2))
