"""The structure shared by Non-Local, DNL and CCNet: reduce, attention block, convolve, concatenate with the input, fuse."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.layers import conv_bn_relu


class Bottleneck(nn.Module):
    """3×3 to `channels`, `block` (same shape in and out) applied `repeats` times with shared weights, 3×3, 3×3 fusion.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], channels: int, block: nn.Module, *, repeats: int = 1) -> None:
        super().__init__()
        last = in_channels[-1]
        self.channels = channels
        self.repeats = repeats
        self.before = conv_bn_relu(last, channels, 3)
        self.block = block
        self.after = conv_bn_relu(channels, channels, 3)
        self.fuse = conv_bn_relu(last + channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = self.before(features[-1])
        for _ in range(self.repeats):
            x = self.block(x)
        return self.fuse(torch.cat([features[-1], self.after(x)], dim=1))
