"""Fully convolutional network (Long et al. 2015), with the 3×3 head that the field's toolboxes put on it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from harness.errors import UserError
from harness.spec import Positive
from methods.layers import conv_bn_relu
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


@register_context("fcn")
class Convolution(nn.Module):
    """No context beyond 3×3 convolutions of the last feature map, `convs` of them.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], *, channels: Positive = 512, convs: Positive = 1) -> None:
        super().__init__()
        if convs < 1:
            raise UserError(f"fcn: option 'convs' must be at least 1, not {convs!r}")
        self.channels = channels
        inputs = [in_channels[-1], *[channels] * (convs - 1)]
        self.reduce = nn.Sequential(*(layer for width in inputs for layer in conv_bn_relu(width, channels, 3)))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.reduce(features[-1])


@register("fcn")
def fcn(backbone: Backbone, num_classes: int, *, channels: Positive = 512, convs: Positive = 1) -> Segmentor:
    """FCN: 3×3 convolutions (two in the toolboxes' baselines) and a classifier on the backbone's last feature map."""
    return EncoderDecoder(backbone, Convolution(backbone.channels, channels=channels, convs=convs), num_classes)
