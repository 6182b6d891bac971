"""Builds a model from its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from harness.errors import UserError
from harness.jobs.kinds import Model
from methods import registry
from methods.backbones import build_backbone
from methods.pretrained import own_file
from methods.segmentor import GivenFeatures


def build_model(model: Model, *, feature_channels: Sequence[int] | None = None) -> nn.Module:
    """Builds what `model` describes, with random weights unless it names pretrained ones.

    With a backbone: the method on it. Without: the method's head, or the context module, on feature maps with
    `feature_channels` channels; its forward takes the list of maps, and an auxiliary head, which only training uses, is
    left out. The backbone is built first, so that under one seed two methods start from the same backbone weights.
    """
    entry = registry.find(model.name, model.kind)
    options = _options(entry, model)
    if entry.own_backbone:
        weights = str(own_file(model.name, model.options)) if model.pretrained is True else model.pretrained
        return entry.load()(model.num_classes, weights, **options)
    if model.backbone is not None:
        if model.kind == "context":
            raise UserError(f"context '{model.name}' is no segmentor; leave the backbone out (null)")
        backbone = build_backbone(model.backbone, output_stride=model.output_stride, pretrained=model.pretrained)
        return entry.load()(backbone, model.num_classes, **options)
    if feature_channels is None:
        raise UserError(f"{model.kind} '{model.name}' needs a backbone, or the shapes of given feature maps")
    if model.kind == "context":
        return entry.load()(list(feature_channels), **options)
    return without_auxiliary(entry.load()(GivenFeatures(feature_channels), model.num_classes, **options))


def without_auxiliary(model: nn.Module) -> nn.Module:
    """`model` without the head that only training uses, in place: what runs at test time is what is counted."""
    if getattr(model, "auxiliary", None) is not None:
        model.auxiliary = None
    return model


def _options(entry: registry.Entry, model: Model) -> dict[str, Any]:
    wrong = registry.check_options(entry, {**_classes(entry, model), **model.options})
    if wrong:
        raise UserError("; ".join(message for _, message in wrong))
    return {**_classes(entry, model), **model.options}


def _classes(entry: registry.Entry, model: Model) -> dict[str, int]:
    return {"num_classes": model.num_classes} if "num_classes" in (entry.options or {}) else {}
