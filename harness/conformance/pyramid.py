"""A tiny backbone for checks: the pyramid of a dilated ResNet in a few thousand parameters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import conv_bn_relu
from methods.segmentor import Backbone


class TinyPyramid(Backbone):
    """images [B, 3, H, W] -> four maps at strides 4, 8, 8, 8; sides rounded up, as in ResNets."""

    channels = (8, 16, 24, 32)
    strides = (4, 8, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=4, padding=3)
        self.stages = nn.ModuleList(
            conv_bn_relu(a, b, 3) for a, b in zip((self.channels[0], *self.channels), self.channels)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x, features = self.stem(images), []
        for i, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 3, 2, 1) if i == 1 else x)
            features.append(x)
        return features
