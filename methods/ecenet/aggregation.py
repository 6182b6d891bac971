"""Aggregation (ECENet, Sec. 3.5): levels come up by ghost features and pixel shuffle, and one convolution fuses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.ecenet.layers import resize
from methods.layers import conv_bn_relu


class GhostUpsampling(nn.Module):
    """Twice the sides: 1×1 to 2C channels, a depth-wise 3×3 of them beside them (Han et al. 2020), pixel shuffle.

    x [B, C, H, W] -> [B, C, 2H, 2W]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.primary = conv_bn_relu(channels, 2 * channels, 1)
        self.cheap = conv_bn_relu(2 * channels, 2 * channels, 3, groups=2 * channels)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return self.shuffle(torch.cat([primary, self.cheap(primary)], dim=1))


class Aggregation(nn.Module):
    """Level i comes up i times by two, is resized to the finest level where that is not its size, and all are fused.

    The number of doublings is the level's place, also with dilated backbones whose levels are larger (the published
    GFLOPs of ResNet-101 need that). The fusion is 3×3: the paper's 1×1 misses the published GFLOPs by 22 %.
    levels: `count` of [B, C, h_i, w_i], finest first -> [B, C, h_0, w_0]
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.upsample = nn.ModuleList(
            nn.Sequential(*(GhostUpsampling(channels) for _ in range(place))) for place in range(count)
        )
        self.fuse = conv_bn_relu(count * channels, channels, 3)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = levels[0].shape[2:]
        return self.fuse(torch.cat([resize(up(x), size) for up, x in zip(self.upsample, levels)], dim=1))
