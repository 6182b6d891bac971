"""The head of IDRNet: backbone features to logits, and what it learns beside its gradients (Jin et al. 2023, Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.errors import UserError
from methods import registry
from methods.contexts.uper import FeaturePyramid
from methods.idrnet.deletion import class_statistics, diagnose
from methods.idrnet.learning import RelationLearner
from methods.idrnet.memory import class_sums
from methods.idrnet.options import Options
from methods.idrnet.pixel_losses import mean_and_pixel_losses, pixel_losses
from methods.idrnet.refine import ContextRefiner, Prepared, SelfAttention
from methods.idrnet.split import Classifier
from methods.idrnet.tokens import Assignment, assign_pixels, at_least_float32, class_tokens
from methods.layers import conv_bn_relu, resize, without_autocast
from methods.ranks import divisor, sum_over_ranks
from methods.segmentor import IGNORE, Criterion, pixel_loss


class Encoded(NamedTuple):
    """A forward pass up to the class tokens; the pass with a deleted class goes on from here."""

    features: Tensor  # f [B, C, h, w]
    stage1: Tensor  # logits [B, K, h, w]
    assignment: Assignment
    prepared: Prepared
    shared: list[Tensor]  # projections that stage 2 adds to that of the refined context [B, ., h2, w2]


@contextmanager
def frozen_statistics(*modules: nn.Module) -> Iterator[None]:
    """Batch norms use the batch's statistics without recording them."""
    norms = [m for module in modules for m in module.modules() if isinstance(m, _BatchNorm)]
    recording = [m.track_running_stats for m in norms]
    try:
        for m in norms:
            m.track_running_stats = False
        yield
    finally:
        for m, value in zip(norms, recording):
            m.track_running_stats = value


class IDRHead(RelationLearner):
    """Features [[B, in_channels[i], h_i, w_i], ...] -> logits [B, K, h, w] (uper: on the grid of the finest map).

    Buffers are state that no gradient moves: the relation matrices, deletion counts and class memory.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, options: Options) -> None:
        super().__init__(num_classes, options)
        o = options
        keep = o.representation == "backbone"
        width = in_channels[-1] if keep else o.channels
        self.bottleneck = nn.Identity() if keep else conv_bn_relu(in_channels[-1], width, 3)
        coarse_width = self._build_context(in_channels, width)
        enhanced = o.enhancement != "none"
        reads_coarse = o.refiner_input == "coarse"
        self.relations = self.build_relations()
        self.refiner = ContextRefiner(
            map_channels=(coarse_width or width) if reads_coarse else width,
            row_channels=width if enhanced and not reads_coarse else 0,
            token_channels=2 * width if enhanced else width,
            relations=len(self.relations.names),
            channels=o.attention_channels,
            out=o.channels,
        )
        self._build_classifiers(width, coarse_width, [o.fpn_channels] * (len(in_channels) - 1))
        self.build_state(width)

    def _build_context(self, in_channels: Sequence[int], width: int) -> int:
        o = self.options
        self.context = self.coarse_attention = self.pyramid = None
        if o.context == "none":
            return 0
        name = o.uper_top if o.context == "uper" else o.context
        out = o.fpn_channels if o.context == "uper" else o.channels
        settings = {"bins": o.bins} if name == "ppm" else {"dilations": o.dilations}
        self.context = registry.build(name, [width], kind="context", channels=out, **settings)
        if o.coarse_attention != "none":
            self.coarse_attention = SelfAttention([out], o.attention_channels, out)
        if o.context == "uper":
            if len(in_channels) < 2:
                raise UserError("idrnet: context 'uper' needs a backbone with more than one feature map")
            self.pyramid = FeaturePyramid(in_channels[:-1], out)
        return out

    def _build_classifiers(self, width: int, coarse_width: int, levels: list[int]) -> None:
        o = self.options
        stage1 = coarse_width if coarse_width and o.stage1_from == "coarse" else width
        self.stage1 = Classifier([stage1], o.channels, self.num_classes, layers=o.classifier_layers, dropout=o.dropout)
        # parts of stage 2's concatenation: [f, refined, finer levels, coarse context]
        whole = o.stage2_input == "concatenation"
        parts = [width if whole else 0, o.channels]
        parts += levels if self.pyramid is not None else []
        parts += [coarse_width] if coarse_width and (whole or self.pyramid is not None) else []
        self.stage2 = Classifier(parts, o.channels, self.num_classes, layers=o.classifier_layers, dropout=o.dropout)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        encoded = self.encode(features)
        return self.predict(encoded, encoded.assignment.present_BK)

    def encode(self, features: Sequence[Tensor]) -> Encoded:
        """Everything that does not depend on which classes take part in the interaction."""
        o = self.options
        # channels last from here on: a map [B, C, h, w] and its pixels as rows [B, h·w, C] are the same memory
        f = self.bottleneck(features[-1]).contiguous(memory_format=torch.channels_last)
        coarse = None if self.context is None else self.context([f])
        if self.coarse_attention is not None and o.coarse_attention == "before":
            coarse = self.coarse_attention(coarse)
        seen = f if coarse is None or o.stage1_from == "features" else coarse
        stage1 = self.stage1([self.stage1.mix.project(seen, 0)], self.stage1.draw_mask(f))
        if self.coarse_attention is not None and o.coarse_attention == "after":
            coarse = self.coarse_attention(coarse)
        assignment = assign_pixels(stage1, pooling=o.pooling)
        # a training step moves the memory in place, before gradients pass what was computed from it
        memory = self.memory.clone() if self.training and self.memory is not None else self.memory
        tokens = class_tokens(f, assignment, memory)
        pixels = f if o.refiner_input == "features" or coarse is None else coarse
        prepared = self.refiner.prepare(pixels, memory, tokens)
        return Encoded(f, stage1, assignment, prepared, self._shared(features, f, coarse))

    def _shared(self, features: Sequence[Tensor], f: Tensor, coarse: Tensor | None) -> list[Tensor]:
        """Projections of all parts of stage 2 but the refined context, on the finest grid there is.

        A 1×1 convolution and a resize commute, so that each part is projected on its own grid.
        """
        parts: list[tuple[int, Tensor]] = []
        if self.options.stage2_input == "concatenation":
            parts.append((0, f))
            if coarse is not None and self.pyramid is None:
                parts.append((2, coarse))
        if self.pyramid is not None:
            parts += enumerate(self.pyramid([*features[:-1], coarse]), start=2)
        size = features[0].shape[-2:] if self.pyramid is not None else f.shape[-2:]
        return [resize(self.stage2.mix.project(x, part), size) for part, x in parts]

    def predict(self, encoded: Encoded, present_BK: Tensor, mask: Tensor | None = None) -> Tensor:
        """Stage 2's logits when the classes `present` take part; `mask` is stage 2's dropout."""
        weights = self.relations.weights(present_BK)
        refined = self.refiner.refine(encoded.prepared, weights, encoded.assignment.labels_BN)
        projected = self.stage2.mix.project(refined, 1)
        size = encoded.shared[0].shape[-2:] if encoded.shared else projected.shape[-2:]
        return self.stage2([*encoded.shared, resize(projected, size)], mask)

    def losses(
        self, features: Sequence[Tensor], targets: Tensor, criterion: Criterion = pixel_loss
    ) -> dict[str, Tensor]:
        """`main` and `stage1` (Eq. 11) by `criterion`; moves the state once, from what was seen.

        Deletions are diagnosed by the cross-entropy of each pixel (Eq. 14) whatever the criterion. Where that is the mean
        of the same cross-entropies, they are computed once.
        """
        encoded = self.encode(features)
        mask = self.stage2.draw_mask(encoded.features)
        logits = self.predict(encoded, encoded.assignment.present_BK, mask)
        shared = criterion is pixel_loss
        valid = divisor(targets != IGNORE)
        if shared:
            main, losses = mean_and_pixel_losses(logits, targets, valid)
        else:
            losses = pixel_losses(logits, targets)
        with torch.no_grad():
            self._learn_relations(encoded, mask, losses, targets)
            self._learn_memory(encoded.features.detach(), targets)
        if shared:
            stage1, _ = mean_and_pixel_losses(encoded.stage1, targets, valid, self.options.stage1_weight)
            return {"main": main, "stage1": stage1}
        return {
            "main": criterion(logits, targets),
            "stage1": self.options.stage1_weight * criterion(encoded.stage1, targets),
        }

    def _learn_relations(self, encoded: Encoded, mask: Tensor | None, losses: Tensor, targets: Tensor) -> None:
        o, present = self.options, encoded.assignment.present_BK
        if not self.relations.names:
            return
        if o.update == "backprop":
            self.row_updates += sum_over_ranks(present.sum(dim=0))
            return
        deleted = self._draw_deletions(present)
        reserved = present.scatter(1, deleted[:, None], False)
        if o.deletion_moves_norm:
            logits = self.predict(encoded, reserved, mask)
        else:
            with frozen_statistics(self.refiner, self.stage2):
                logits = self.predict(encoded, reserved, mask)
        diagnosis = diagnose(
            class_statistics(losses, targets, self.num_classes),
            class_statistics(pixel_losses(logits, targets), targets, self.num_classes),
            reserved_BK=reserved if o.observed == "reserved" else None,
            normaliser=float(self.num_classes * targets[0].numel()) if o.diagnosis == "image_sum" else None,
        )
        self._move_relations(deleted, diagnosis)

    def _learn_memory(self, features: Tensor, targets: Tensor) -> None:
        if self.options.enhancement != "memory":
            return
        with without_autocast(features):
            sums, counts = class_sums(at_least_float32(features), targets, self.num_classes)
        self._move_memory(sums, counts)
