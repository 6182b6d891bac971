"""SegViT (Zhang et al. 2022, arXiv 2210.05844): class tokens whose attention over pixels is the masks; with ECENet's gated
updating of the tokens where Table 7 of ECENet asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import UserError
from harness.spec import Positive
from methods.ecenet.class_extraction import ClassExtraction, pooling_bins
from methods.ecenet.class_updater import GatedUpdater
from methods.ecenet.layers import resize
from methods.ecenet.losses import class_presence, mask_losses
from methods.ecenet.semantics_attention import attend, attend_with_scores
from methods.ranks import average_over_ranks
from methods.registry import register
from methods.segmentor import IGNORE, Backbone, Segmentor

HEAD_CHANNELS = 32  # of one attention head: 12 heads with ViT-B, whose decoder has 384 channels


class TokenAttention(nn.Module):
    """Multi-head attention of class tokens over other tokens.

    tokens [B, N, C], memory [B, L, C] -> ([B, N, C], scores [B, N, L] before the softmax, mean over heads; None unless asked)
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, tokens: Tensor, memory: Tensor, *, scores: bool = False) -> tuple[Tensor, Tensor | None]:
        split = [
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, x in ((self.query, tokens), (self.key, memory), (self.value, memory))
        ]
        mixed, found = attend_with_scores(*split) if scores else (attend(*split), None)
        return self.output(mixed.transpose(1, 2).flatten(2)), found


class AttentionToMaskLayer(nn.Module):
    """Self-attention of tokens, attention over pixels, MLP; a norm after each residual (Sec. 3.2).

    tokens [B, N, C], pixels [B, L, C] -> (tokens [B, N, C], scores [B, N, L] or None)
    """

    def __init__(self, channels: int, heads: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.among_tokens = TokenAttention(channels, heads)
        self.over_pixels = TokenAttention(channels, heads)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4 * channels, channels),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, pixels: Tensor, *, scores: bool) -> tuple[Tensor, Tensor | None]:
        mixed, _ = self.among_tokens(tokens, tokens)
        tokens = self.norms[0](tokens + self.dropout(mixed))
        mixed, found = self.over_pixels(tokens, pixels, scores=scores)
        tokens = self.norms[1](tokens + self.dropout(mixed))
        return self.norms[2](tokens + self.dropout(self.mlp(tokens))), found


class Stage(nn.Module):
    """One map of the backbone: projected, then several layers, the last of which gives the masks.

    tokens [B, N, C], x [B, in_channels, h, w] -> (tokens [B, N, C], masks [B, N, h, w])
    """

    def __init__(self, in_channels: int, channels: int, heads: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(in_channels, channels), nn.LayerNorm(channels))
        self.layers = nn.ModuleList(AttentionToMaskLayer(channels, heads) for _ in range(layers))

    def forward(self, tokens: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels, scores = self.project(x.flatten(2).transpose(1, 2)), None
        for i, layer in enumerate(self.layers):
            tokens, scores = layer(tokens, pixels, scores=i == len(self.layers) - 1)
        assert scores is not None
        return tokens, scores.unflatten(2, x.shape[2:])


class Prediction(NamedTuple):
    """Of every stage, deepest first: `classes` [B, N, N + 1] (the last is “not there”), `masks` [B, N, h, w], summed up to it."""

    classes: list[Tensor]
    masks: list[Tensor]


class SegViTHead(nn.Module):
    """The last `stages` maps, deepest first; with `gated`, tokens take up each stage's masks (ECENet, Table 7).

    features [..., [B, in_channels[i], h_i, w_i]] -> Prediction
    """

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, channels: int, heads: int, stages: int, layers: int, *,
        gated: bool, alpha: float,
    ) -> None:  # fmt: skip
        super().__init__()
        used = list(in_channels[-stages:])[::-1]
        self.tokens = nn.Parameter(torch.randn(num_classes, channels))
        self.stages = nn.ModuleList(Stage(c, channels, heads, layers) for c in used)
        self.classify = nn.Linear(channels, num_classes + 1)
        bins = pooling_bins(num_classes, alpha)
        self.extract = nn.ModuleList(ClassExtraction(channels, bins) for _ in used if gated)
        self.update = nn.ModuleList(GatedUpdater(channels) for _ in used if gated)

    def forward(self, features: Sequence[Tensor]) -> Prediction:
        maps = list(features)[::-1][: len(self.stages)]
        size = maps[-1].shape[2:]
        tokens = self.tokens.expand(len(maps[0]), -1, -1)
        attended: list[Tensor] = []
        masks: list[Tensor] = []
        for i, (stage, x) in enumerate(zip(self.stages, maps)):
            tokens, mask = stage(tokens, x)
            if self.update:
                tokens = self.update[i](self.extract[i](mask), tokens)
            attended.append(tokens)
            mask = resize(mask, size)
            masks.append(masks[-1] + mask if masks else mask)
        return Prediction(list(self.classify(torch.stack(attended))), masks)


class SegViT(Segmentor):
    """Backbone and attention-to-mask decoder. Logits are Σ_k p(class | token k) · sigmoid(mask of k), at the images' size,
    where the product is taken, too; given feature maps instead of images, at the finest map's size."""

    own_losses = frozenset({"classes", "focal", "dice"})

    def __init__(
        self, backbone: Backbone, head: SegViTHead, weights: tuple[float, float], absent_weight: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.focal_weight, self.dice_weight = weights
        self.absent_weight = absent_weight

    def forward(self, images: Tensor) -> Tensor:
        prediction = self.head(self.backbone(images))
        masks = prediction.masks[-1]
        masks = resize(masks, images.shape[-2:]) if isinstance(images, Tensor) else masks
        probability = prediction.classes[-1].softmax(dim=2)[:, :, :-1]
        logits = torch.matmul(probability.transpose(1, 2), masks.sigmoid().flatten(2)).unflatten(2, masks.shape[2:])
        return resize(logits, masks.shape[2:])  # only in a trace: the published FLOPs have this resize, too

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`classes`, `focal` and `dice`, each the weighted sum over stages (the paper supervises every one)."""
        prediction = self.head(self.backbone(images))
        pairs = [mask_losses(masks, targets) for masks in prediction.masks]
        return {
            "classes": torch.stack([self._class_loss(classes, targets) for classes in prediction.classes]).sum(),
            "focal": self.focal_weight * torch.stack([focal for focal, _ in pairs]).sum(),
            "dice": self.dice_weight * torch.stack([dice for _, dice in pairs]).sum(),
        }

    def _class_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of every token: its own class where the image contains it, else “not there” at a lower weight.

        logits [B, N, N + 1] -> scalar, mean by weight; an image without a label does not count
        """
        num_classes = logits.shape[1]
        present = class_presence(targets, num_classes)
        own = torch.arange(num_classes, device=logits.device).expand_as(present)
        loss = F.cross_entropy(
            logits.flatten(0, 1), torch.where(present, own, num_classes).flatten(), reduction="none"
        ).view_as(present)
        labelled = (targets != IGNORE).flatten(1).any(dim=1, keepdim=True)
        weights = torch.where(present, 1.0, self.absent_weight) * labelled
        return (weights * loss).sum() / average_over_ranks(weights.sum()).clamp(min=torch.finfo(torch.float32).tiny)


@register("segvit")
def segvit(
    backbone: Backbone,
    num_classes: int,
    *,
    channels: int | None = None,
    heads: int | None = None,
    stages: Positive = 3,
    layers: Positive = 3,
    gated_updating: bool = False,
    alpha: float = 1.0,
    focal_weight: float = 20.0,
    dice_weight: float = 1.0,
    absent_weight: float = 0.1,
) -> Segmentor:
    """SegViT on the last `stages` maps, with ECENet's gated updating after each where `gated_updating` says so.

    `channels`: of the decoder (None: half of the last map's); `heads` (None: one per 32 channels); `absent_weight`: of “not
    there” in the class loss. Loss weights are those of SegViT's released configuration.
    """
    channels = channels or max(1, backbone.channels[-1] // 2)
    heads = heads or max(1, channels // HEAD_CHANNELS)
    if channels % heads:
        raise UserError(f"segvit: {heads} heads do not divide {channels} channels")
    if stages < 1 or layers < 1:
        raise UserError(f"segvit: options 'stages' and 'layers' must be at least 1, not {stages!r} and {layers!r}")
    head = SegViTHead(
        backbone.channels, num_classes, channels, heads, stages, layers, gated=gated_updating, alpha=alpha
    )
    return SegViT(backbone, head, (focal_weight, dice_weight), absent_weight)
