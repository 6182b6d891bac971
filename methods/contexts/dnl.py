"""Disentangled non-local network (Yin et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.contexts.attention import attend
from methods.contexts.bottleneck import Bottleneck
from methods.layers import BatchNorm
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


class DisentangledBlock(nn.Module):
    """Splits attention into a pairwise term between whitened (mean-free) queries and keys, and a unary saliency shared
    by all pixels (Yin et al. 2020, Eq. 9); the temperature sharpens the pairwise term, as the authors' code has it.

    x [B, channels, h, w] -> same shape
    """

    def __init__(self, channels: int, *, reduction: int = 2, temperature: float = 0.05) -> None:
        super().__init__()
        inner = channels // reduction
        self.scale = inner**-0.5 / temperature
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, inner, 1)
        self.saliency = nn.Conv2d(channels, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), BatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        query = query - query.mean(dim=(2, 3), keepdim=True)
        key = key - key.mean(dim=(2, 3), keepdim=True)
        pairwise = attend(query, key, value, scale=self.scale)
        weights = self.saliency(x).flatten(2).softmax(dim=2)  # [B, 1, h·w]
        unary = torch.matmul(value.flatten(2), weights.to(value.dtype).transpose(1, 2)).unsqueeze(3)  # [B, inner, 1, 1]
        return x + self.out(pairwise + unary)


@register_context("dnl")
class Disentangled(Bottleneck):
    """A disentangled non-local block between two 3×3 convolutions, concatenated with the last feature map.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(
        self, in_channels: Sequence[int], *, channels: int = 512, reduction: int = 2, temperature: float = 0.05
    ) -> None:
        super().__init__(
            in_channels, channels, DisentangledBlock(channels, reduction=reduction, temperature=temperature)
        )


@register("dnlnet")
def dnlnet(backbone: Backbone, num_classes: int, *, channels: int = 512) -> Segmentor:
    """DNLNet: non-local attention disentangled into pairwise and unary terms."""
    return EncoderDecoder(backbone, Disentangled(backbone.channels, channels=channels), num_classes)
