"""Asymmetric non-local network (ANN, Zhu et al. 2019): attention whose keys are a pooled pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.errors import UserError
from methods.contexts.attention import Attention
from methods.layers import BatchNorm, conv_bn_relu
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


class PyramidSamples(nn.Module):
    """A map averaged on several grids, all cells in one row: [B, C, h, w] -> [B, C, sum of bins²] (Sec. 3.2)."""

    def __init__(self, bins: Sequence[int] = (1, 3, 6, 8)) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(bin) for bin in bins)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([pool(x).flatten(2) for pool in self.pools], dim=2)


class Fusion(nn.Module):
    """Asymmetric fusion (AFNB, Sec. 3.3): the high level asks, the low level answers.

    low [B, low, h, w], high [B, high, h, w] -> [B, high, h, w]
    """

    def __init__(self, low: int, high: int, inner: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.attention = Attention(
            query=conv_bn_relu(high, inner, 1),
            key=conv_bn_relu(low, inner, 1),
            value=nn.Conv2d(low, inner, 1, bias=False),
            out=nn.Conv2d(inner, high, 1, bias=False),
            pool=PyramidSamples(bins),
        )
        self.fuse = nn.Sequential(nn.Conv2d(2 * high, high, 1, bias=False), BatchNorm(high))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.attention(high, low), high], dim=1))


class SelfFusion(nn.Module):
    """Asymmetric self-attention (APNB, Sec. 3.2) with one projection for queries and keys. Keeps the shape."""

    def __init__(self, channels: int, inner: int, bins: Sequence[int]) -> None:
        super().__init__()
        shared = conv_bn_relu(channels, inner, 1)
        self.attention = Attention(
            query=shared,
            key=shared,
            value=nn.Conv2d(channels, inner, 1, bias=False),
            out=nn.Conv2d(inner, channels, 1, bias=False),
            pool=PyramidSamples(bins),
        )
        self.fuse = conv_bn_relu(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.attention(x, x), x], dim=1))


@register_context("ann")
class AsymmetricNonLocal(nn.Module):
    """Fusion of the last two feature maps, a 3×3 convolution, asymmetric self-attention.

    features [..., [B, low, h, w], [B, high, h', w']] -> [B, channels, h', w']
    """

    def __init__(
        self, in_channels: Sequence[int], *, channels: int = 512, inner: int = 256, bins: Sequence[int] = (1, 3, 6, 8)
    ) -> None:
        super().__init__()
        if len(in_channels) < 2:
            raise UserError("ann fuses the last two feature maps; the backbone gives only one")
        low, high = in_channels[-2:]
        self.channels = channels
        self.fusion = Fusion(low, high, inner, bins)
        self.dropout = nn.Dropout2d(0.1)
        self.reduce = conv_bn_relu(high, channels, 3)
        self.self_fusion = SelfFusion(channels, inner, bins)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fused = self.dropout(self.fusion(features[-2], features[-1]))
        return self.self_fusion(self.reduce(fused))


@register("ann")
def ann(backbone: Backbone, num_classes: int, *, channels: int = 512, inner: int = 256) -> Segmentor:
    """ANN: attention to pyramid-pooled keys, between stages and within the last."""
    context = AsymmetricNonLocal(backbone.channels, channels=channels, inner=inner)
    # The dropout sits before the 3×3 convolution, as in the released code, so there is none before the classifier.
    return EncoderDecoder(backbone, context, num_classes, dropout=0.0)
