"""1×1 convolutions of a concatenation that is never built: each part is projected by its own columns of the weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import BatchNorm


class SplitConv(nn.Conv2d):
    """1×1 convolution of maps concatenated along their channels, given as the projections of the single maps.

    A part that two passes share is projected once, one that is constant per class is projected as a row per class.
    Weight and bias are those of the convolution over the whole concatenation.
    """

    def __init__(self, parts: Sequence[int], out_channels: int, *, bias: bool = False) -> None:
        super().__init__(sum(parts), out_channels, 1, bias=bias)
        self.starts = [sum(parts[:i]) for i in range(len(parts) + 1)]

    def project(self, x: Tensor, part: int) -> Tensor:
        """[B, parts[part], h, w] -> [B, out_channels, h, w]"""
        return F.conv2d(x, self.weight[:, self.starts[part] : self.starts[part + 1]])

    def project_rows(self, rows: Tensor, part: int) -> Tensor:
        """[..., parts[part]] -> [..., out_channels]"""
        return F.linear(rows, self.weight[:, self.starts[part] : self.starts[part + 1], 0, 0])

    def forward(self, projected: Sequence[Tensor]) -> Tensor:
        """The convolution's result, from the projections of all parts on one grid [B, out_channels, h, w]."""
        total = projected[0]
        for term in projected[1:]:
            total = total + term
        return total if self.bias is None else total + self.bias[:, None, None]


class Classifier(nn.Module):
    """Logits from the projections of several maps: mix, norm, ReLU, dropout, 1×1 (`layers` 2), or one convolution."""

    def __init__(self, parts: Sequence[int], channels: int, num_classes: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.mix = SplitConv(parts, channels if layers == 2 else num_classes, bias=layers == 1)
        self.norm = nn.Sequential(BatchNorm(channels), nn.ReLU(inplace=True)) if layers == 2 else nn.Identity()
        self.classify = nn.Conv2d(channels, num_classes, 1) if layers == 2 else nn.Identity()
        self.layers = layers

    def draw_mask(self, like: Tensor) -> Tensor | None:
        """A dropout mask of whole channels [B, channels, 1, 1] that several passes can share; None where none is due."""
        if not self.training or self.layers == 1 or self.dropout == 0:
            return None
        return F.dropout(like.new_ones(like.shape[0], self.classify.in_channels, 1, 1), self.dropout)

    def forward(self, projected: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Projections by `mix` on one grid [B, ., h, w] -> logits [B, num_classes, h, w]"""
        x = self.norm(self.mix(projected))
        return self.classify(x if mask is None else x * mask)
