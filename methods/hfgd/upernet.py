"""UPerNet's decoder (Xiao et al. 2018) as HFGD's authors build it; its pyramid pooling is the encoding `ppm`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.hfgd.layers import conv_bn_relu, resize
from methods.hfgd.semantic_fpn import Laterals


class UPerNetDecoder(nn.Module):
    """1×1 laterals, a 3×3 convolution per level but the top, all levels resized to the finest and fused by a 3×3.

    features, finest first, without the backbone's last; top [B, channels, h, w] -> [B, channels, h_0, w_0]
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.pyramid = Laterals(in_channels, channels, 1)
        self.outputs = nn.ModuleList(conv_bn_relu(channels, channels, 3) for _ in in_channels)
        self.fuse = conv_bn_relu((len(in_channels) + 1) * channels, channels, 3)

    def forward(self, features: Sequence[Tensor], top: Tensor, image: Sequence[int] | None = None) -> Tensor:
        *levels, top = self.pyramid(features, top)
        levels = [*(output(x) for output, x in zip(self.outputs, levels)), top]
        return self.fuse(torch.cat([resize(x, levels[0].shape[-2:]) for x in levels], dim=1))
