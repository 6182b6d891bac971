"""Semantics Attention (ECENet, Sec. 3.4): pixels ask the classes; how much they resemble each class is a mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from methods.ecenet.layers import LayerNorm2d


def attend(queries: Tensor, keys: Tensor, values: Tensor, *, inverted: bool = False) -> Tensor:
    """softmax(q kᵀ / √d) v by a fused kernel, which keeps no scores. [B, heads, L or N, d] -> [B, heads, L, d]

    `inverted`: softmax(max S - S), which is softmax(-S), as ECENet's released code has it.
    """
    return F.scaled_dot_product_attention(-queries if inverted else queries, keys, values)


def attend_with_scores(
    queries: Tensor, keys: Tensor, values: Tensor, *, inverted: bool = False
) -> tuple[Tensor, Tensor]:
    """As `attend`, and the scores before the softmax, averaged over heads.

    queries [B, heads, L, d], keys and values [B, heads, N, d] -> ([B, heads, L, d], scores [B, L, N])

    Σ_h q_h·k_h is one product of the heads side by side: the mean score needs no score of a single head, so that no
    [B, heads, L, N] tensor is made or kept for the gradient.
    """
    if torch.jit.is_tracing():
        # A trace is what is counted or exported. The paper's formulation has the scores already, as one product.
        return explicit_attend_with_scores(queries, keys, values, inverted=inverted)
    heads, depth = queries.shape[1], queries.shape[3]
    beside = [x.transpose(1, 2).flatten(2) for x in (queries, keys)]
    scores = torch.matmul(beside[0], (depth**-0.5 / heads) * beside[1].transpose(1, 2))
    return attend(queries, keys, values, inverted=inverted), scores


def explicit_attend_with_scores(
    queries: Tensor, keys: Tensor, values: Tensor, *, inverted: bool = False
) -> tuple[Tensor, Tensor]:
    """What `attend_with_scores` gives, as Eq. 7 is written: the reference that it is tested and measured against."""
    scores = torch.matmul(queries, keys.transpose(2, 3)) * queries.shape[3] ** -0.5
    weights = (scores.amax(dim=3, keepdim=True) - scores if inverted else scores).softmax(dim=3)
    return torch.matmul(weights, values), scores.mean(dim=1)


class ConvolutionalMLP(nn.Module):
    """1×1, depth-wise 3×3, GELU, 1×1 (Xie et al. 2021, Mix-FFN). [B, channels, H, W] -> the same shape

    Three maps of `ratio`·C channels would be kept for the gradient, most of a block's memory. No inner channel needs another
    before the last layer sums them: so they pass in `ratio` parts, each computed again when its gradient is.
    """

    def __init__(self, channels: int, *, ratio: int = 4) -> None:
        super().__init__()
        inner = ratio * channels
        self.parts = ratio
        self.expand = nn.Conv2d(channels, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.reduce = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing() or not torch.is_grad_enabled():
            return self.reduce(F.gelu(self.mix(self.expand(x))))
        assert self.reduce.bias is not None
        inner = (self.expand.weight, self.expand.bias, self.mix.weight, self.mix.bias)
        chunks = [x.chunk(self.parts) for x in inner if x is not None] + [self.reduce.weight.chunk(self.parts, dim=1)]
        y = self.reduce.bias[:, None, None]
        for weights in zip(*chunks):
            y = y + checkpoint(_inner_channels, x, *weights, use_reentrant=False, preserve_rng_state=False)
        return y


def _inner_channels(
    x: Tensor, expand: Tensor, expand_bias: Tensor, mix: Tensor, mix_bias: Tensor, reduce: Tensor
) -> Tensor:
    """What some inner channels of a ConvolutionalMLP add to its output, from their weights."""
    wide = F.conv2d(F.conv2d(x, expand, expand_bias), mix, mix_bias, padding=1, groups=len(mix))
    return F.conv2d(F.gelu(wide), reduce)


class SemanticsAttention(nn.Module):
    """Eq. 6 and 7 and Fig. 4: features are queries, class embeddings keys and values; then an MLP, both with residuals.

    The query projection is depth-wise separable: the published GFLOPs need that where the paper says “linear”.
    x [B, C, H, W], embeddings [B, N, C] -> (x [B, C, H, W], masks [B, N, H, W]: scores before the softmax, mean over heads)
    """

    def __init__(self, channels: int, *, heads: int, weights: str = "softmax", query_activation: str = "none") -> None:
        super().__init__()
        self.heads = heads
        self.inverted = weights == "inverted"
        self.norm_features = LayerNorm2d(channels)
        self.norm_embeddings = nn.LayerNorm(channels)
        self.query = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.ReLU(inplace=True) if query_activation == "relu" else nn.Identity(),
            nn.Conv2d(channels, channels, 1),
        )
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.output = nn.Conv2d(channels, channels, 1)
        self.norm_mlp = LayerNorm2d(channels)
        self.mlp = ConvolutionalMLP(channels)

    def forward(self, x: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.query(self.norm_features(x)).flatten(2).transpose(1, 2)
        keys, values = self.key_value(self.norm_embeddings(embeddings)).chunk(2, dim=-1)
        split = [y.unflatten(2, (self.heads, -1)).transpose(1, 2) for y in (queries, keys, values)]
        attended, scores = attend_with_scores(*split, inverted=self.inverted)
        x = x + self.output(attended.transpose(2, 3).reshape(x.shape))
        return x + self.mlp(self.norm_mlp(x)), scores.transpose(1, 2).unflatten(2, x.shape[2:])
