"""OCNet (Yuan et al. 2021, IJCV): object context by interlaced sparse self-attention (ISA, Huang et al. 2019), or dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.spec import Positive
from methods.contexts.attention import Attention
from methods.layers import conv_bn_relu
from methods.registry import register, register_context
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


def self_attention(channels: int, inner: int) -> Attention:
    """Queries and keys through two 1×1 convolutions each, values through one without norm; keeps the shape."""
    return Attention(
        query=nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1)),
        key=nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1)),
        value=nn.Conv2d(channels, channels, 1),
        out=conv_bn_relu(channels, channels, 1),
    )


class InterlacedAttention(nn.Module):
    """Attention among pixels far from each other, then among neighbours: together every pixel reaches every other.

    The map is cut into parts of `side` × `side` pixels. `far`: the pixels at one place of all parts attend to each other
    (ISA, long-range attention); `near`: those of one part (short-range). A map is padded with zeros on all sides to whole
    parts, which take part as the authors' code lets them. x [B, channels, h, w] -> same shape
    """

    def __init__(self, channels: int, inner: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.far = self_attention(channels, inner)
        self.near = self_attention(channels, inner)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.side
        rows, columns = -(-height // side), -(-width // side)
        below, right = rows * side - height, columns * side - width
        padded = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
        parts = padded.view(batch, channels, rows, side, columns, side)
        far = _self(self.far, parts.permute(0, 3, 5, 1, 2, 4))
        far = far.view(batch, side, side, channels, rows, columns)
        near = _self(self.near, far.permute(0, 4, 5, 3, 1, 2))
        near = near.view(batch, rows, columns, channels, side, side).permute(0, 3, 1, 4, 2, 5)
        whole = near.reshape(batch, channels, rows * side, columns * side)
        return whole[:, :, below // 2 : below // 2 + height, right // 2 : right // 2 + width]


def _self(attention: Attention, groups: Tensor) -> Tensor:
    """Attention within each group: [B, n, m, C, h, w] -> [B·n·m, C, h, w]"""
    pixels = groups.reshape(-1, *groups.shape[3:])
    return attention(pixels, pixels)


class DenseAttention(nn.Module):
    """Every pixel attends to every other: x [B, channels, h, w] -> same shape (Base-OC with the dense relation)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.attention = self_attention(channels, inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x)


@register_context("ocnet")
class ObjectContextPooling(nn.Module):
    """Base-OC: a 3×3 convolution, object context of its output, and a 1×1 convolution of both.

    `relation`: `interlaced` (the paper's, with parts of `side` pixels) or `dense`. As mmsegmentation's ISAHead.
    features [..., [B, in_channels[-1], h, w]] -> [B, channels, h, w]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        channels: int = 512,
        inner: int = 256,
        relation: Literal["interlaced", "dense"] = "interlaced",
        side: Positive = 8,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.reduce = conv_bn_relu(in_channels[-1], channels, 3)
        dense = relation == "dense"
        self.context = DenseAttention(channels, inner) if dense else InterlacedAttention(channels, inner, side)
        self.fuse = conv_bn_relu(2 * channels, channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = self.reduce(features[-1])
        return self.fuse(torch.cat([self.context(x), x], dim=1))


@register("ocnet")
def ocnet(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int = 512,
    inner: int = 256,
    relation: Literal["interlaced", "dense"] = "interlaced",
    side: Positive = 8,
) -> Segmentor:
    """OCNet: pixels gather their object's context by interlaced sparse self-attention."""
    context = ObjectContextPooling(backbone.channels, channels=channels, inner=inner, relation=relation, side=side)
    return EncoderDecoder(backbone, context, num_classes)
