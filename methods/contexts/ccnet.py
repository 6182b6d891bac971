"""Criss-cross attention (CCNet, Huang et al. 2019, Sec. 3.2), without compiled operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.contexts.bottleneck import Bottleneck
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


class CrissCross(nn.Module):
    """Adds to every pixel a softmax-weighted mean of the h + w − 1 pixels in its own column and row.

    x [B, channels, h, w] -> same shape. The largest intermediate is the affinity [B, h, w, h + w].
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        inner = max(channels // reduction, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        height = x.shape[2]
        column = torch.einsum("bchw,bcgw->bhwg", query, key)
        row = torch.einsum("bchw,bchv->bhwv", query, key)
        # The pixel itself lies in its row and its column; it counts once.
        itself = torch.eye(height, dtype=torch.bool, device=x.device)[:, None, :]
        affinity = torch.cat([column.masked_fill(itself, float("-inf")), row], dim=3).softmax(dim=3).to(value.dtype)
        mixed = torch.einsum("bhwg,bcgw->bchw", affinity[..., :height], value)
        mixed = mixed + torch.einsum("bhwv,bchv->bchw", affinity[..., height:], value)
        return x + self.gamma * mixed


@register_context("ccnet")
class RecurrentCrissCross(Bottleneck):
    """Criss-cross attention applied `recurrence` times (twice reaches every pixel), concatenated with the last map.

    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(
        self, in_channels: Sequence[int], *, channels: int = 512, reduction: int = 8, recurrence: int = 2
    ) -> None:
        super().__init__(in_channels, channels, CrissCross(channels, reduction=reduction), repeats=recurrence)


@register("ccnet")
def ccnet(backbone: Backbone, num_classes: int, *, channels: int = 512, recurrence: int = 2) -> Segmentor:
    """CCNet: recurrent criss-cross attention."""
    context = RecurrentCrissCross(backbone.channels, channels=channels, recurrence=recurrence)
    return EncoderDecoder(backbone, context, num_classes)
