"""Any model that mmsegmentation can build, under this harness's training core, transforms and tests.

The configuration decides the network and its losses; optimiser, schedule, transforms and test protocol are the recipe's
(`python -m harness recipe from-mmsegmentation CONFIG` prints what the configuration itself has). Weights are random, or a
backbone's from a file in mmsegmentation's own names (`pretrained: FILE`): nothing is downloaded.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from harness.errors import MissingError, UserError
from harness.recipes.common import Normalisation
from methods.adapters import mmsegmentation_zoo
from methods.registry import register
from methods.segmentor import Segmentor

NORMALISATIONS: dict[tuple[float, ...], Normalisation] = {
    (123.675, 116.28, 103.53, 58.395, 57.12, 57.375): "imagenet",
    (127.5, 127.5, 127.5, 127.5, 127.5, 127.5): "symmetric",
}


@register("mmsegmentation", own_backbone=True, check="methods.adapters.mmsegmentation_zoo:check")
def mmsegmentation(num_classes: int, pretrained: bool | str, *, config: str | Mapping) -> Segmentor:
    """A model of mmsegmentation, backbone and heads, by the name of a configuration or as the configuration's `model`."""
    model = read_model(config)
    adapt(model, num_classes)
    segmentor = MMSegmentor(model)
    if pretrained:
        segmentor.load_backbone(pretrained)
    return segmentor


def read_model(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The `model` of a configuration as plain mappings and lists, of which the caller may change its own copy."""
    if not isinstance(config, str):
        return copy.deepcopy(dict(config))
    return read_configuration(mmsegmentation_zoo.find(config))["model"]


def read_configuration(file: Path) -> dict[str, Any]:
    """A whole configuration with its `_base_` files. It is Python and is run, as a method's file is."""
    config_class = _package("mmengine.config").Config
    try:
        return config_class.fromfile(str(file), import_custom_modules=False).to_dict()
    except Exception as error:  # whatever a configuration's code raises
        raise UserError(f"{file}: cannot be read as a configuration of mmsegmentation: {error}") from error


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingError(f"{error.name} is not installed: {mmsegmentation_zoo.INSTALL}") from error


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
        self.normalisation = normalisation_of(model.get("data_preprocessor"))
        models = _package("mmseg.models")
        plain = {key: value for key, value in model.items() if key != "data_preprocessor"}
        scope = _package("mmengine.registry").DefaultScope
        try:
            with scope.overwrite_default_scope("mmseg"):
                self.model: Any = models.build_segmentor(_package("mmengine.config").ConfigDict(plain))
        except (KeyError, ImportError, AttributeError, TypeError, AssertionError) as error:
            raise UserError(
                f"mmsegmentation cannot build {plain.get('type')} of this configuration: {error}"
            ) from error
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
        return self.model.encode_decode(images, [_meta(images)] * len(images))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        terms = self.model.loss(images, _samples(images, targets))
        losses = {}
        for name, term in terms.items():
            if "loss" in name:
                losses[name] = sum(part.mean() for part in term) if isinstance(term, list) else term.mean()
        return losses

    def load_backbone(self, file: bool | str) -> None:
        """Weights of the backbone from a file that has all of its names; UserError where they do not fit."""
        from methods.weights import read, to_fit

        if file is True:
            raise MissingError("mmsegmentation's backbones are given as a file: pretrained: FILE, with its own names")
        weights = read(Path(str(file)).expanduser())
        self.backbone.load_state_dict(to_fit(self.backbone, weights, str(file)))


def _meta(images: Tensor) -> dict[str, Any]:
    size = tuple(images.shape[2:])
    return {"img_shape": size, "ori_shape": size, "pad_shape": size, "padding_size": [0, 0, 0, 0]}


def _samples(images: Tensor, targets: Tensor) -> list[Any]:
    sample_class, pixel_data = _package("mmseg.structures").SegDataSample, _package("mmengine.structures").PixelData
    samples = []
    for target in targets:
        sample = sample_class(metainfo=_meta(images))
        sample.gt_sem_seg = pixel_data(data=target[None])
        samples.append(sample)
    return samples


def normalisation_of(preprocessor: Mapping[str, Any] | None) -> Normalisation | None:
    """The recipe's name for what a model's data preprocessor does; None where it says nothing. UserError for any other."""
    mean, std = ((preprocessor or {}).get(key) for key in ("mean", "std"))
    if mean is None or std is None:
        return None
    numbers = tuple(round(float(x), 4) for x in (*mean, *std))
    if numbers not in NORMALISATIONS:
        raise UserError(
            f"the configuration's data_preprocessor subtracts {mean} and divides by {std}; recipes know "
            + " and ".join(f"{name} ({', '.join(map(str, values))})" for values, name in NORMALISATIONS.items())
        )
    return NORMALISATIONS[numbers]
