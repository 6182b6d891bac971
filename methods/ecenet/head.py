"""ECENet's head (Fig. 3): from a backbone's feature maps to logits, masks and what the diversity loss sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from methods.ecenet.aggregation import Aggregation
from methods.ecenet.class_extraction import ClassExtraction, MaskProjection, pooling_bins
from methods.ecenet.class_updater import build_updater
from methods.ecenet.feature_reconstruction import FeatureReconstruction
from methods.ecenet.layers import resize
from methods.ecenet.options import Options
from methods.ecenet.semantics_attention import SemanticsAttention


class Prediction(NamedTuple):
    """`logits` [B, N, h_0, w_0]; `masks`: one [B, N, h_i, w_i] per level, coarsest first, before any sigmoid; `diverse`: Y''
    of each stage [B, C_i // 2, h_i, w_i], empty without Feature Reconstruction; `embeddings` [B, N, C]: the final ones."""

    logits: Tensor
    masks: list[Tensor]
    diverse: list[Tensor]
    embeddings: Tensor


class ECEHead(nn.Module):
    """Reconstruct and unify every level; take embeddings from the last level's masks; on the way to the finest level let
    each level attend to them and update them by its masks; fuse all levels; add the class × mask branch.

    features [[B, in_channels[i], h_i, w_i], ...], finest first -> Prediction
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, options: Options) -> None:
        super().__init__()
        channels, count = options.channels, len(in_channels)
        bins = pooling_bins(num_classes, options.alpha)
        self.reconstruct = nn.ModuleList(
            FeatureReconstruction(c, gate=options.recalibration)
            for c in (in_channels if options.reconstruction else ())
        )
        self.unify = nn.ModuleList(nn.Conv2d(c, channels, 1, bias=False) for c in in_channels)
        self.project_masks = MaskProjection(channels, num_classes, groups=options.heads)
        self.extract = nn.ModuleList(ClassExtraction(channels, bins) for _ in in_channels)
        self.attend = nn.ModuleList(
            SemanticsAttention(
                channels,
                heads=options.heads,
                weights=options.attention,
                query_activation=options.query_activation,
            )
            for _ in range(count - 1)
        )
        self.update = nn.ModuleList(build_updater(options.updater, channels) for _ in range(count - 1))
        self.aggregate = Aggregation(channels, count)
        self.classifier = nn.Sequential(nn.Dropout2d(options.dropout), nn.Conv2d(channels, num_classes, 1))
        self.classify_embeddings = nn.Linear(channels, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Prediction:
        diverse: list[Tensor] = []
        if self.reconstruct:
            pairs = [reconstruct(x) for reconstruct, x in zip(self.reconstruct, features)]
            features, diverse = [y for y, _ in pairs], [d for _, d in pairs]
        levels = [unify(x) for unify, x in zip(self.unify, features)]

        masks = [self.project_masks(levels[-1])]
        embeddings = self.extract[-1](masks[0])
        for i in reversed(range(len(levels) - 1)):
            levels[i], mask = self.attend[i](levels[i], embeddings)
            embeddings = self.update[i](self.extract[i](mask), embeddings)
            masks.append(mask)

        logits = self.classifier(self.aggregate(levels))
        certainty = (
            self.classify_embeddings(embeddings).softmax(dim=2).diagonal(dim1=1, dim2=2)
        )  # of class k for the k-th
        logits = logits + certainty[:, :, None, None] * resize(mask_sum(masks), logits.shape[2:]).sigmoid()
        return Prediction(logits, masks, diverse, embeddings)


def mask_sum(masks: Sequence[Tensor]) -> Tensor:
    """The sum of masks [B, N, h_i, w_i], coarsest first, at the size of the last -> [B, N, h, w]"""
    return torch.stack([resize(mask, masks[-1].shape[2:]) for mask in masks]).sum(dim=0)
