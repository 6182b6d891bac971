"""Mask2Former+IDRNet (IDRNet, Table 7): relations between the classes of Mask2Former's queries. Inferred.

Nothing of it was released, and the paper says no more than that Mask2Former is "incorporated" with IDRNet (Sec. 4.4); that
its paradigm needs representations, a coarse prediction that groups them by class, and a prediction from what is augmented
(Sec. 3.1, Eq. 1-10). Here the representations are the queries after the last decoder layer, and everything else is as in the
released IDRNet on pixels. What the paper leaves open, and what is taken:

- Y_c: the class of a query is the argmax of Mask2Former's own class logits; queries of no object belong to no class, get no
  context, and are in no token. N_e is so the number of classes that Mask2Former sees in the image.
- Class tokens (Eq. 3): the queries of a class weighted by a softmax over them of its logit, and the class's memory E_k.
- R_gt (Eq. 5): the queries that the matcher gives to class k, since queries have no label of their own.
- Final prediction (Eq. 9-10): self-attention among the queries on [query, E_y, both contexts] as released; a 1×1 mix of the
  query and what comes out makes the new query, from which a class and a mask are predicted by layers as Mask2Former's.
- L = L_o + 0.4 L_c (Eq. 11): both Mask2Former's losses, L_c those of its last layer; those of earlier layers as they were.
- l of Eq. 13-14: the cross-entropy of a pixel's class scores (class × mask), divided by their sum over the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.spec import Positive
from methods.adapters import transformers_configs as configs
from methods.adapters.transformers import MaskSegmentor, class_scores, mask_labels
from methods.idrnet.deletion import class_statistics, diagnose
from methods.idrnet.learning import RelationLearner
from methods.idrnet.mask2former_options import resolve_for_queries
from methods.idrnet.options import Options
from methods.idrnet.pixel_losses import pixel_losses
from methods.idrnet.refine import ContextRefiner, Prepared
from methods.idrnet.tokens import assign_pixels, at_least_float32, class_tokens
from methods.layers import conv_bn_relu, resize
from methods.registry import register
from methods.segmentor import Segmentor

_LEAST = 1e-6  # of a class score, whose logarithm is taken


class Encoded(NamedTuple):
    """Queries up to their class tokens; the pass with a deleted class goes on from here."""

    queries: Tensor  # [B, C, Q, 1]: a map of one column, as IDRNet's parts take them
    labels: Tensor  # [B, Q] int64, K where of no object
    present: Tensor  # bool [B, K], classes that own a query
    prepared: Prepared


class QueryHead(RelationLearner):
    """Queries [B, Q, C] and their class logits [B, Q, K + 1] -> new queries, their class logits and mask embeddings."""

    def __init__(self, width: int, mask_width: int, num_classes: int, options: Options) -> None:
        super().__init__(num_classes, options)
        o = options
        self.relations = self.build_relations()
        enhanced = o.enhancement != "none"
        self.refiner = ContextRefiner(
            map_channels=width,
            row_channels=width if enhanced else 0,
            token_channels=2 * width if enhanced else width,
            relations=len(self.relations.names),
            channels=o.attention_channels,
            out=width,
        )
        self.mix = conv_bn_relu(2 * width, width, 1)
        self.classify = nn.Linear(width, num_classes + 1)
        self.embed_mask = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, mask_width)
        )
        self.build_state(width)

    def encode(self, queries: Tensor, class_logits: Tensor) -> Encoded:
        """Groups the queries by their class, the last of which is no object."""
        column = queries.transpose(1, 2)[..., None].contiguous()
        assignment = assign_pixels(class_logits.transpose(1, 2)[..., None], pooling=self.options.pooling)
        memory = self.memory if self.memory is None else F.pad(self.memory, (0, 0, 0, 1))  # a row for no object
        tokens = class_tokens(column, assignment, memory)
        prepared = self.refiner.prepare(column, memory, tokens)
        return Encoded(column, assignment.labels_BN, assignment.present_BK[:, :-1], prepared)

    def predict(self, encoded: Encoded, present: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, Q, K + 1] and mask embeddings [B, Q, mask_width] when the classes `present` take part."""
        weights = [F.pad(w, (0, 1, 0, 1)) for w in self.relations.weights(present)]  # no object gives and takes nothing
        refined = self.refiner.refine(encoded.prepared, weights, encoded.labels)
        queries = self.mix(torch.cat([encoded.queries, refined], dim=1)).squeeze(3).transpose(1, 2)
        return self.classify(queries), self.embed_mask(queries)

    def learn_memory(self, queries: Tensor, matched: list[tuple[Tensor, Tensor]]) -> None:
        """Moves E_k (Eq. 4) by the queries [B, Q, C] that were matched to class k: (queries, their classes) of each image."""
        if self.options.enhancement != "memory":
            return
        queries = at_least_float32(queries.detach())
        sums = queries.new_zeros(len(queries), self.num_classes, queries.shape[2])
        counts = queries.new_zeros(len(queries), self.num_classes)
        for image, (chosen, classes) in enumerate(matched):
            sums[image].index_add_(0, classes, queries[image, chosen])
            counts[image].index_add_(0, classes, torch.ones_like(classes, dtype=counts.dtype))
        self._move_memory(sums, counts)


class Mask2FormerIDRNet(MaskSegmentor):
    """Mask2Former, and a second prediction from queries that know their classes' relations.

    Losses: `cross_entropy`, `mask`, `dice` of the second prediction; `stage1`, the weighted sum of those of Mask2Former's last
    layer; `auxiliary`, of its earlier ones. One call is one step of the head's state.
    """

    own_losses = MaskSegmentor.own_losses | {"stage1"}

    def __init__(self, config: Mapping[str, Any], num_classes: int, options: Options) -> None:
        super().__init__(config, num_classes)
        settings = self.model.config
        self.head = QueryHead(settings.hidden_dim, settings.mask_feature_size, num_classes, options)

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.outputs(images)
        encoded = self.encode(outputs)
        classes, masks = self.predict(encoded, encoded.present, outputs.pixel_decoder_last_hidden_state)
        return class_scores(classes, resize(masks, images.shape[2:]))

    def encode(self, outputs: Any) -> Encoded:
        return self.head.encode(self.queries(outputs), outputs.class_queries_logits)

    def queries(self, outputs: Any) -> Tensor:
        """[B, Q, C], what Mask2Former itself classifies."""
        norm = self.model.model.transformer_module.decoder.layernorm
        return norm(outputs.transformer_decoder_last_hidden_state)

    def predict(self, encoded: Encoded, present: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, Q, K + 1] and mask logits [B, Q, h, w] on the grid of `pixels`."""
        classes, embeddings = self.head.predict(encoded, present)
        return classes, torch.einsum("bqc,bchw->bqhw", embeddings, pixels)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        outputs = self.outputs(images)
        first = self.mask_losses(outputs, targets)
        stage1 = torch.stack([first[name] for name in ("cross_entropy", "mask", "dice")]).sum()
        encoded = self.encode(outputs)
        pixels = outputs.pixel_decoder_last_hidden_state
        classes, masks = self.predict(encoded, encoded.present, pixels)
        second = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks, auxiliary_logits=[])
        losses = self.mask_losses(second, targets)
        with torch.no_grad():
            self._learn_relations(encoded, pixels, pixel_losses(_log_shares(classes, masks), targets), targets)
            self.head.learn_memory(self.queries(outputs), self._matched(outputs, targets))
        losses["stage1"] = self.head.options.stage1_weight * stage1
        return {**losses, **{name: loss for name, loss in first.items() if name == "auxiliary"}}

    def _learn_relations(self, encoded: Encoded, pixels: Tensor, losses: Tensor, targets: Tensor) -> None:
        """Deletes a class of each image, and moves the relations by what its absence does (Eq. 12-15)."""
        head, present = self.head, encoded.present
        if not head.relations.names:
            return
        drawn = present.any(dim=1)  # Mask2Former may see no object at all
        deleted = head._draw_deletions(present)
        reserved = present.scatter(1, deleted[:, None], False)
        logits = _log_shares(*self.predict(encoded, reserved, pixels))
        observed = reserved if head.options.observed == "reserved" else torch.ones_like(present)
        diagnosis = diagnose(
            class_statistics(losses, targets, head.num_classes),
            class_statistics(pixel_losses(logits, targets), targets, head.num_classes),
            reserved_BK=observed & drawn[:, None],
        )
        head._move_relations(deleted, diagnosis, drawn)

    def _matched(self, outputs: Any, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each image the queries of Mask2Former's last layer that the matcher gives a class, and these classes."""
        masks, classes = mask_labels(targets)
        pairs = self.model.criterion.matcher(
            outputs.masks_queries_logits.float(), outputs.class_queries_logits.float(), masks, classes
        )
        return [(queries.to(own.device), own[which.to(own.device)]) for (queries, which), own in zip(pairs, classes)]

    def measurements(self) -> dict[str, list[float]]:
        return self.head.updates_by_class()


def _log_shares(classes: Tensor, masks: Tensor) -> Tensor:
    """Logits whose softmax is each class's share of a pixel's scores: [B, Q, K + 1], [B, Q, h, w] -> [B, K, h, w]"""
    return class_scores(at_least_float32(classes), at_least_float32(masks)).clamp(min=_LEAST).log()


@register("idrnet_mask2former", own_backbone=True, check="methods.idrnet.mask2former_options:check")
def idrnet_mask2former(
    num_classes: int,
    pretrained: bool | str,
    *,
    config: str | Mapping,
    depth: Positive | None = None,
    attention_channels: int = 256,
    enhancement: str = "memory",
    relations: str = "both",
    sampling: str = "balanced",
    relation_momentum: float = 0.1,
    memory_momentum: float = 0.1,
    stage1_weight: float = 0.4,
    processes: int = 8,
) -> Segmentor:
    """Mask2Former+IDRNet, inferred from the paper: relations between the classes of Mask2Former's queries.

    `config`, `depth`: as of adapters/transformers, of a Mask2Former; the rest as of idrnet, whose preset is `released`.
    """
    given = {name: value for name, value in locals().items() if name not in ("num_classes", "pretrained")}
    segmentor = Mask2FormerIDRNet(configs.read(config, depth), num_classes, resolve_for_queries(given))
    if pretrained:
        segmentor.load(str(pretrained))
    return segmentor
