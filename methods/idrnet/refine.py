"""Self-attention of pixels, over maps or over what their classes know (Eq. 9), without maps of the class vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from methods.contexts.attention import attend
from methods.idrnet.split import SplitConv
from methods.idrnet.tokens import look_up
from methods.layers import BatchNorm, conv_bn_relu


class Projection(nn.Module):
    """1×1 convolution of a concatenation with norm and ReLU, then `layers` - 1 more of the same width."""

    def __init__(self, parts: Sequence[int], channels: int, *, layers: int) -> None:
        super().__init__()
        self.first = SplitConv(parts, channels)
        self.norm = nn.Sequential(BatchNorm(channels), nn.ReLU(inplace=True))
        self.rest = nn.Sequential(*(conv_bn_relu(channels, channels, 1) for _ in range(layers - 1)))

    def forward(self, projected: Sequence[Tensor]) -> Tensor:
        return self.rest(self.norm(self.first(projected)))


class SelfAttention(nn.Module):
    """Every pixel attends to every pixel of its image: softmax(q kᵀ / √T) v, one head, then projected.

    x [B, in_channels, h, w] -> [B, out_channels, h, w]; no h·w × h·w map is built.
    """

    def __init__(self, parts: Sequence[int], channels: int, out_channels: int) -> None:
        super().__init__()
        self.query = Projection(parts, channels, layers=2)
        self.key = Projection(parts, channels, layers=2)
        self.value = Projection(parts, channels, layers=1)
        self.out = conv_bn_relu(channels, out_channels, 1)

    def projections(self) -> tuple[Projection, Projection, Projection]:
        return self.query, self.key, self.value

    def attend(self, projected: Sequence[Sequence[Tensor]]) -> Tensor:
        """From the projected parts of queries, keys and values."""
        query, key, value = (p(parts) for p, parts in zip(self.projections(), projected))
        return self.out(attend(query, key, value))

    def forward(self, x: Tensor) -> Tensor:
        return self.attend([[p.first.project(x, 0)] for p in self.projections()])


class Prepared(NamedTuple):
    """What a forward pass and the pass with a deleted class share, each for query, key and value."""

    pixels: list[Tensor]  # projected map [B, T, h, w]
    rows: list[Tensor | None]  # projected enhancement E_k [K, T]
    tokens: list[list[Tensor]]  # projected class tokens [B, K, T], one per relation matrix


class ContextRefiner(SelfAttention):
    """Self-attention on [map ; E_y ; context by each relation matrix], where y is the pixel's class.

    All but the map is constant per class and image, so it is projected as one table per image, and looked up: the
    full concatenation (6C channels as released) is never built, and norms see the same values.
    """

    def __init__(
        self, map_channels: int, row_channels: int, token_channels: int, relations: int, channels: int, out: int
    ) -> None:
        super().__init__([map_channels, row_channels, *[token_channels] * relations], channels, out)
        self.has_rows = row_channels > 0
        self.relations = relations

    def prepare(self, x: Tensor, enhancement_KC: Tensor | None, tokens_BKD: Tensor) -> Prepared:
        """Projects the map [B, C, h, w], the enhancement [K, C] and the class tokens [B, K, D]."""
        convs = [p.first for p in self.projections()]
        return Prepared(
            pixels=[conv.project(x, 0) for conv in convs],
            rows=[conv.project_rows(enhancement_KC, 1) if self.has_rows else None for conv in convs],
            tokens=[[conv.project_rows(tokens_BKD, 2 + r) for r in range(self.relations)] for conv in convs],
        )

    def refine(self, prepared: Prepared, weights_BKK: Sequence[Tensor], labels_BN: Tensor) -> Tensor:
        """Refined context [B, out, h, w] under the given mixing of the class tokens (Eq. 6-9)."""
        projected = []
        for pixels, rows, tokens in zip(*prepared):
            terms = [w.to(t.dtype) @ t for w, t in zip(weights_BKK, tokens)]
            if rows is not None:
                terms.append(rows.expand(labels_BN.shape[0], -1, -1))
            context = [look_up(sum(terms[1:], terms[0]), labels_BN, pixels)] if terms else []
            projected.append([pixels, *context])
        return self.attend(projected)
