"""Pyramid pooling (PSPNet, Zhao et al. 2017, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.layers import conv_bn_relu, resize
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


@register_context("ppm")
class PyramidPooling(nn.Module):
    """Mixes each pixel with averages of its surroundings at several grid sizes.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(self, in_channels: Sequence[int], *, channels: int = 512, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        last = in_channels[-1]
        self.channels = channels
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bin), conv_bn_relu(last, channels, 1)) for bin in bins
        )
        self.fuse = conv_bn_relu(last + len(bins) * channels, channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = features[-1]
        pooled = [resize(level(x), x.shape[-2:]) for level in self.levels]
        return self.fuse(torch.cat([x, *pooled], dim=1))


@register("pspnet")
def pspnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    auxiliary_channels: int | None = None,
) -> Segmentor:
    """PSPNet: pyramid pooling on the backbone's last feature map."""
    context = PyramidPooling(backbone.channels, channels=channels, bins=bins)
    return EncoderDecoder(backbone, context, num_classes, auxiliary_channels=auxiliary_channels)
