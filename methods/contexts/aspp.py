"""Atrous spatial pyramid pooling (DeepLabV3, Chen et al. 2017, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.layers import conv_bn_relu, resize
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


@register_context("aspp")
class AtrousPyramid(nn.Module):
    """Convolutions at several dilations and the image's mean, side by side, then fused.

    A dilation of 1 stands for a 1×1 convolution. (1, 12, 24, 36) is the setting for output stride 8.
    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(
        self, in_channels: Sequence[int], *, channels: int = 512, dilations: Sequence[int] = (1, 12, 24, 36)
    ) -> None:
        super().__init__()
        last = in_channels[-1]
        self.channels = channels
        self.branches = nn.ModuleList(
            conv_bn_relu(last, channels, 1 if dilation == 1 else 3, dilation=dilation) for dilation in dilations
        )
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(last, channels, 1))
        self.fuse = conv_bn_relu((len(dilations) + 1) * channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = features[-1]
        branches = [branch(x) for branch in self.branches]
        return self.fuse(torch.cat([*branches, resize(self.image(x), x.shape[-2:])], dim=1))


@register("deeplabv3")
def deeplabv3(
    backbone: Backbone, num_classes: int, *, channels: int = 512, dilations: Sequence[int] = (1, 12, 24, 36)
) -> Segmentor:
    """DeepLabV3: atrous spatial pyramid pooling on the backbone's last feature map."""
    context = AtrousPyramid(backbone.channels, channels=channels, dilations=dilations)
    return EncoderDecoder(backbone, context, num_classes)
