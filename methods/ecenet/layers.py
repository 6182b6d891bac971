"""Layers that several parts of ECENet share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import layers


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of a map, position by position. [B, C, H, W] -> the same shape"""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of a map [B, C, H, W] to `size`; nothing is done where that is its size.

    A trace (for counting, for export) has the operation in any case, since it stands for other sizes too. The published
    FLOPs are counted so: mmsegmentation's resize interpolates whatever the sizes.
    """
    if torch.jit.is_tracing():
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
    return layers.resize(x, size)
