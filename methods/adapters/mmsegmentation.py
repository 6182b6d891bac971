"""Any model that mmsegmentation can build, under this harness's training core, transforms and tests.

The configuration decides the network and its losses; optimiser, schedule, transforms and test protocol are the recipe's
(`python -m harness recipe from-mmsegmentation CONFIG` prints what the configuration itself has). Weights are random, or a
backbone's from a file in mmsegmentation's own names (`pretrained: FILE`, or `true` and
HARNESS_WEIGHTS/adapters/mmsegmentation/CONFIG.pth): nothing is downloaded.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.spec import IGNORE, Positive
from methods.adapters import mmsegmentation_configs as configs
from methods.registry import register
from methods.segmentor import Segmentor

_ONE_SIZE = ("BEiT", "MAE")
"""Backbones whose relative positions hold for images of one size: smaller ones are padded, larger ones seen in windows."""


@register("adapters/mmsegmentation", own_backbone=True, check="methods.adapters.mmsegmentation_configs:check")
def mmsegmentation(
    num_classes: int,
    pretrained: bool | str,
    *,
    config: str | Mapping,
    depth: Positive | None = None,
    image_size: Positive | None = None,
) -> Segmentor:
    """A model of mmsegmentation, backbone and heads, by the name of a configuration or as the configuration's `model`.

    `depth`: no more blocks than this in a stage of its backbone, for a check of the plumbing. `image_size`: side of the images
    that a vision transformer's position parameters are made for, where it is not the configuration's.
    """
    model = read_model(config)
    adapt(model, num_classes)
    if depth is not None:
        limit_depth(model["backbone"], depth)
    if image_size is not None and "img_size" in model["backbone"]:
        model["backbone"]["img_size"] = (image_size, image_size)
    segmentor = MMSegmentor(model)
    if pretrained:
        segmentor.load_backbone(str(pretrained))
    return segmentor


def read_model(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The `model` of a configuration as plain mappings and lists, of which the caller may change its own copy."""
    if not isinstance(config, str):
        return copy.deepcopy(dict(config))
    return configs.read(configs.find(config))["model"]


def adapt(model: dict[str, Any], num_classes: int) -> None:
    """Changes a model's configuration for our core, in place: the dataset's classes; plain batch norm, which the core
    synchronises as the recipe says; no weights from the network."""
    model["pretrained"] = None
    model.setdefault("train_cfg", {})
    model.setdefault("test_cfg", {"mode": "whole"})
    for head in _mappings([model["decode_head"], model.get("auxiliary_head")]):
        if "num_classes" in head:  # also of a head's parts and losses
            head["num_classes"] = num_classes
    for node in _mappings(model):
        for norm in ("SyncBN", "MMSyncBN", "naiveSyncBN"):
            if node.get("type") == norm:
                node["type"] = "BN"
        if isinstance(node.get("init_cfg"), Mapping) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if "pretrained" in node:
            node["pretrained"] = None


def limit_depth(backbone: MutableMapping[str, Any], depth: int) -> None:
    """Leaves `depth` blocks in every stage, in place; a backbone of one stage keeps `depth` before each of its outputs."""
    for key in ("depths", "num_layers"):
        layers = backbone.get(key)
        if isinstance(layers, list | tuple):
            backbone[key] = [min(count, depth) for count in layers]
        elif isinstance(layers, int):
            outputs = backbone.get("out_indices", -1)
            count = len(outputs) if isinstance(outputs, list | tuple) else 1
            backbone[key] = min(layers, count * depth)
            if isinstance(outputs, list | tuple):
                backbone["out_indices"] = tuple(backbone[key] * (i + 1) // count - 1 for i in range(count))
    if str(backbone.get("type", "")).startswith("Res") and isinstance(backbone.get("depth"), int):
        backbone["depth"] = min(backbone["depth"], 50)  # the least with the same channels
    for stage in _mappings(backbone.get("extra")):  # HRNet's
        if "num_blocks" in stage:
            stage["num_blocks"] = tuple(min(count, depth) for count in stage["num_blocks"])
            stage["num_modules"] = min(stage["num_modules"], depth)


def _mappings(node: Any) -> Iterable[MutableMapping[str, Any]]:
    if isinstance(node, MutableMapping):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _mappings(child)


class MMSegmentor(Segmentor):
    """A segmentor of mmsegmentation behind the contract: images [B, 3, H, W] -> logits [B, K, H, W].

    Logits come at the size of the input, as its `predict` gives them, each head resized with its own `align_corners`. The
    losses are those of its heads: `decode.loss_ce`, `aux.loss_ce`, …; its accuracies are left out.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        super().__init__()
        self.normalisation = configs.normalisation_of(model.get("data_preprocessor"))
        with configs.explained_import():
            from mmengine.config import ConfigDict
            from mmengine.registry import DefaultScope
            from mmseg.models import build_segmentor
        backbone = model["backbone"]
        if backbone.get("type") in _ONE_SIZE:
            side = backbone.get("img_size", 224)
            height, width = side if isinstance(side, list | tuple) else (side, side)
            stride = (height * 2 // 3, width * 2 // 3)
            model = {**model, "test_cfg": {"mode": "slide", "crop_size": (height, width), "stride": stride}}
        plain = {key: value for key, value in model.items() if key != "data_preprocessor"}
        try:
            # its rates of stochastic depth are read from tensors, which need values where a model is only counted
            with DefaultScope.overwrite_default_scope("mmseg"), torch.device("cpu"):
                self.model: Any = build_segmentor(ConfigDict(plain))
        except (KeyError, ImportError, AttributeError, TypeError, AssertionError) as error:
            raise UserError(
                f"mmsegmentation cannot build {plain.get('type')} of this configuration: {error}"
            ) from error
        if torch.get_default_device().type == "meta":
            self.model.to("meta")
            return
        logging.disable(logging.INFO)  # a line per tensor
        try:
            self.model.init_weights()
        finally:
            logging.disable(logging.NOTSET)

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        return self.model.backbone

    @property
    def auxiliary(self) -> nn.Module | None:
        """The heads that only training uses; set to None, they are gone."""
        return getattr(self.model, "auxiliary_head", None)

    @auxiliary.setter
    def auxiliary(self, head: None) -> None:
        self.model.auxiliary_head = head

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        images = self._padded(images, 0.0)
        larger = type(self.backbone).__name__ in _ONE_SIZE and images.shape[2:] != tuple(self.backbone.img_size)
        logits = self.model.slide_inference if larger else self.model.encode_decode
        return logits(images, [_meta(images)] * len(images))[:, :, :height, :width]

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        images, targets = self._padded(images, 0.0), self._padded(targets, IGNORE)
        terms = self.model.loss(images, _samples(images, targets))
        losses = {}
        for name, term in terms.items():
            if "loss" in name:
                losses[name] = sum(part.mean() for part in term) if isinstance(term, list) else term.mean()
        return losses

    def _padded(self, batch: Tensor, value: float) -> Tensor:
        """A batch below and to the right as large as a backbone needs that takes one size alone (`_ONE_SIZE`)."""
        if type(self.backbone).__name__ not in _ONE_SIZE:
            return batch
        height, width = self.backbone.img_size
        below, right = (max(0, side - given) for side, given in zip((height, width), batch.shape[-2:]))
        return nn.functional.pad(batch, (0, right, 0, below), value=value) if below or right else batch

    def load_backbone(self, file: str) -> None:
        """Weights of the backbone from a file that has all of its names; UserError where they do not fit."""
        from methods.weights import read, to_fit

        weights = read(Path(file).expanduser())
        self.backbone.load_state_dict(to_fit(self.backbone, weights, file))


def _meta(images: Tensor) -> dict[str, Any]:
    size = tuple(images.shape[2:])
    return {"img_shape": size, "ori_shape": size, "pad_shape": size, "padding_size": [0, 0, 0, 0]}


def _samples(images: Tensor, targets: Tensor) -> list[Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for target in targets:
        sample = SegDataSample(metainfo=_meta(images))
        sample.gt_sem_seg = PixelData(data=target[None])
        samples.append(sample)
    return samples
