"""UPerNet (Xiao et al. 2018, Sec. 3.1): a feature pyramid with a context module on its top level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from harness.errors import UserError, nearest
from methods.contexts.aspp import AtrousPyramid
from methods.contexts.ppm import PyramidPooling
from methods.layers import conv_bn_relu, resize
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor

_TOPS: dict[str, Callable[..., nn.Module]] = {"ppm": PyramidPooling, "aspp": AtrousPyramid}


class FeaturePyramid(nn.Module):
    """Top-down pathway: each level adds the resized level above it, then a 3×3 convolution; the top stays as it is.

    `in_channels`: of the levels below the top, finest first. The top has `channels` already.
    features [[B, in_channels[i], h_i, w_i], ..., [B, channels, h, w]] -> as many maps [B, channels, h_i, w_i]
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(conv_bn_relu(c, channels, 1) for c in in_channels)
        self.outputs = nn.ModuleList(conv_bn_relu(channels, channels, 3) for _ in in_channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.laterals, features)] + [features[-1]]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resize(levels[i], levels[i - 1].shape[-2:])
        return [output(x) for output, x in zip(self.outputs, levels)] + [levels[-1]]


@register_context("uper")
class UnifiedPyramid(nn.Module):
    """Context (`ppm` or `aspp`) on the last feature map, a feature pyramid below it, all levels fused at the finest.

    With a single feature map there is no level to add: the context and the fusion remain.
    features [[B, in_channels[i], h_i, w_i], ...] -> [B, channels, h_0, w_0]
    """

    def __init__(
        self, in_channels: Sequence[int], *, channels: int = 512, context: Literal["ppm", "aspp"] = "ppm"
    ) -> None:
        super().__init__()
        if context not in _TOPS:
            raise UserError(f"uper: unknown context '{context}'.{nearest(context, _TOPS)}")
        self.channels = channels
        self.top = _TOPS[context](in_channels, channels=channels)
        self.pyramid = FeaturePyramid(in_channels[:-1], channels)
        self.fuse = conv_bn_relu(len(in_channels) * channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        levels = self.pyramid([*features[:-1], self.top(features)])
        return self.fuse(torch.cat([resize(x, levels[0].shape[-2:]) for x in levels], dim=1))


@register("upernet")
def upernet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    context: Literal["ppm", "aspp"] = "ppm",
    auxiliary_channels: int | None = None,
) -> Segmentor:
    """UPerNet: context on the last feature map and a feature pyramid over all of them."""
    pyramid = UnifiedPyramid(backbone.channels, channels=channels, context=context)
    return EncoderDecoder(backbone, pyramid, num_classes, auxiliary_channels=auxiliary_channels)
