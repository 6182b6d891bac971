"""Fully convolutional network (Long et al. 2015), with the 3×3 head that the field's toolboxes put on it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from methods.layers import conv_bn_relu
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


@register_context("fcn")
class Convolution(nn.Module):
    """No context beyond one 3×3 convolution of the last feature map.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], *, channels: int = 512) -> None:
        super().__init__()
        self.channels = channels
        self.reduce = conv_bn_relu(in_channels[-1], channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.reduce(features[-1])


@register("fcn")
def fcn(backbone: Backbone, num_classes: int, *, channels: int = 512) -> Segmentor:
    """FCN: one 3×3 convolution and a classifier on the backbone's last feature map."""
    return EncoderDecoder(backbone, Convolution(backbone.channels, channels=channels), num_classes)
