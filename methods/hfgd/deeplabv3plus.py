"""DeepLabV3+'s decoder (Chen et al. 2018): the encoding `aspp` joined with the finest feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.hfgd.layers import conv_bn_relu, resize


class DeepLabV3PlusDecoder(nn.Module):
    """The finest map reduced to 48 channels, the resized top beside it, two 3×3 convolutions.

    features, finest first, of which only the first is read; top [B, top_channels, h, w] -> [B, channels, h_0, w_0]
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, low_level_channels: int = 48) -> None:
        super().__init__()
        self.channels = channels
        self.low_level = conv_bn_relu(in_channels[0], low_level_channels, 1)
        joined = low_level_channels + channels
        self.fuse = nn.Sequential(conv_bn_relu(joined, channels, 3), conv_bn_relu(channels, channels, 3))

    def forward(self, features: Sequence[Tensor], top: Tensor, image: Sequence[int] | None = None) -> Tensor:
        low = self.low_level(features[0])
        return self.fuse(torch.cat([low, resize(top, low.shape[-2:])], dim=1))
