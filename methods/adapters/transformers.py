"""Segmentation models of transformers, under this harness's training core, transforms and tests.

The configuration decides the network and its losses; optimiser, schedule, transforms and test protocol are the recipe's.
Weights are random, or those of a file in transformers' own names (`pretrained: FILE`, or `true` and
HARNESS_WEIGHTS/adapters/transformers/CONFIG.safetensors): nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.spec import Positive
from methods.adapters import transformers_configs as configs
from methods.layers import BatchNorm, resize, without_autocast
from methods.ranks import average_over_ranks
from methods.registry import register
from methods.segmentor import IGNORE, Segmentor

_UNUSED = re.compile(
    r"(^|\.)swin\.layernorm\.|\.encoder\.model\.layernorm\.|^dpt\.layernorm\.|^neck\.fusion_stage\.layers\.0\.residual_layer1\."
)
"""Parameters that no output depends on: norms of image classification, half of DPT's first fusion."""
_NEW_IN_BACKBONE = "hidden_states_norms."  # norms of feature maps, which a classifier does not have
_NOT_IN_BACKBONE = re.compile(r"(^|\.)(classifier|pooler)\.")


@register("adapters/transformers", own_backbone=True, check="methods.adapters.transformers_configs:check")
def transformers(
    num_classes: int, pretrained: bool | str, *, config: str | Mapping, depth: Positive | None = None
) -> Segmentor:
    """A segmentation model of transformers, backbone and all, by a name of ours or as its config.json's content.

    `depth`: no more blocks than this in a stage of its backbone, for a check of the plumbing.
    """
    mapping = configs.read(config, depth)
    masks = mapping["model_type"] in ("maskformer", "mask2former")
    segmentor = (MaskSegmentor if masks else PixelSegmentor)(mapping, num_classes)
    if pretrained:
        segmentor.load(str(pretrained))
    return segmentor


class TransformersSegmentor(Segmentor):
    """A model of transformers behind the contract. Parameters that no output depends on are not trained."""

    def __init__(self, config: Mapping[str, Any], num_classes: int) -> None:
        super().__init__()
        with configs.explained_import():
            import transformers as library
        architecture = configs.ARCHITECTURES[config["model_type"]]
        self.normalisation = architecture.normalisation
        self.backbone_name = architecture.backbone
        try:
            settings = library.AutoConfig.for_model(**config, num_labels=num_classes)
            self.model: Any = getattr(library, architecture.model)(settings)
        except Exception as error:  # of many kinds, and some of the library's own
            raise UserError(f"transformers cannot build this {config['model_type']}: {error}") from error
        for module in self.model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = BatchNorm  # defined for one value per channel, too
        for name, parameter in self.model.named_parameters():
            if _UNUSED.search(name) or self._is_beyond_features(name):
                parameter.requires_grad = False

    def _is_beyond_features(self, name: str) -> bool:
        """Whether a parameter is BEiT's, of a layer after the last whose input is a feature map."""
        settings = self.model.config
        layer = re.match(r"beit\.layers\.(\d+)\.", name)
        return layer is not None and int(layer[1]) >= max(settings.out_indices) - 1

    @property
    def backbone(self) -> nn.Module:  # type: ignore[override]
        return self.model.get_submodule(self.backbone_name)

    def load(self, file: str) -> None:
        """Weights from a file in transformers' names, of any of its versions: of the whole model where it has a head for
        segmentation, else of the backbone. UserError with every misfit.

        Of a classifier's file the head is left out, and norms that it does not have stay as they are.
        """
        from methods.weights import listing, read

        weights = read(Path(file).expanduser())
        heads = {name for name, _ in self.model.named_children()} - {self.backbone_name}
        whole = any(name.partition(".")[0] in heads for name in weights)
        part = self.model if whole else self.backbone
        with _quiet():
            loaded, misfits = type(part).from_pretrained(
                None,
                config=part.config,
                state_dict=weights,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        missing = [name for name in misfits["missing_keys"] if whole or not name.startswith(_NEW_IN_BACKBONE)]
        extra = [name for name in misfits["unexpected_keys"] if whole or not _NOT_IN_BACKBONE.search(name)]
        problems = [f"missing {name}" for name in sorted(missing)] + [f"unexpected {name}" for name in sorted(extra)]
        problems += [f"{name} is {tuple(a)}, should be {tuple(b)}" for name, a, b in sorted(misfits["mismatched_keys"])]
        if problems:
            raise UserError(f"{file} does not fit the model; nothing was loaded:\n  {listing(problems)}")
        part.load_state_dict(loaded.state_dict(), strict=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's report of what fits, which is checked here, and its progress bar."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


class PixelSegmentor(TransformersSegmentor):
    """SegFormer, DPT, UPerNet, BEiT: images [B, 3, H, W] -> logits [B, K, h, w] of the model's own stride.

    Losses: `main`, and `auxiliary` with the configuration's weight where it has such a head, both by the recipe's criterion.
    """

    @property
    def auxiliary(self) -> nn.Module | None:
        """The head that only training uses; set to None, it is gone."""
        return getattr(self.model, "auxiliary_head", None)

    @auxiliary.setter
    def auxiliary(self, head: None) -> None:
        self.model.auxiliary_head = head

    def forward(self, images: Tensor) -> Tensor:
        kind, settings, size = self.model.config.model_type, self.model.config, tuple(images.shape[2:])
        if kind == "beit" and size != _pair(settings.image_size):
            return self.model(images, interpolate_pos_encoding=True).logits
        if kind != "dpt":
            return self.model(images).logits
        height, width = (n // p for n, p in zip(size, _pair(settings.patch_size)))
        grid = {"patch_height": height, "patch_width": width}  # without which it takes the image for square
        handle = self.model.neck.register_forward_pre_hook(
            lambda neck, _, given: ((), {**given, **grid}), with_kwargs=True
        )
        try:
            return self.model(images).logits
        finally:
            handle.remove()

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if self.auxiliary is None:
            return {"main": self.criterion(self(images), targets)}
        seen: list[Tensor] = []  # the auxiliary head's logits, which the model does not return
        handle = self.auxiliary.register_forward_hook(lambda head, inputs, logits: seen.append(logits))
        try:
            logits = self(images)
        finally:
            handle.remove()
        weight = self.model.config.auxiliary_loss_weight
        return {"main": self.criterion(logits, targets), "auxiliary": weight * self.criterion(seen[0], targets)}


def _pair(size: int | list[int] | tuple[int, int]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)


class MaskSegmentor(TransformersSegmentor):
    """MaskFormer, Mask2Former: each query has a class and a mask; images [B, 3, H, W] -> scores [B, K, H, W].

    A class's score at a pixel is the sum over queries of the probability that the query is of the class times that the pixel is
    in its mask (MaskFormer, Sec. 3.4), whose logits are resized to the image before, as the authors' code does. Losses are
    the library's, each with its weight: `cross_entropy`, `mask` and `dice` of the last prediction and their sum over
    those of earlier decoder layers, `auxiliary`. A recipe's choice of the pixel loss leaves them alone. An ignored
    pixel belongs to no mask.
    """

    own_losses = frozenset({"cross_entropy", "mask", "dice", "auxiliary"})

    def __init__(self, config: Mapping[str, Any], num_classes: int) -> None:
        super().__init__(config, num_classes)
        self.model.criterion.get_num_masks = _masks_per_process

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.outputs(images)
        masks = resize(outputs.masks_queries_logits, images.shape[2:])
        return class_scores(outputs.class_queries_logits, masks)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return self.mask_losses(self.outputs(images), targets)

    def outputs(self, images: Tensor) -> Any:
        """What the library's model returns, with the predictions of earlier decoder layers."""
        hidden = self.model.config.use_auxiliary_loss  # MaskFormer (in 5.23) fails at them unless it is asked for
        return self.model(pixel_values=images, output_hidden_states=hidden, output_auxiliary_logits=True)

    def mask_losses(self, outputs: Any, targets: Tensor) -> dict[str, Tensor]:
        """The library's losses of a forward pass, in float32: the matcher's costs leave torch as arrays."""
        masks, classes = mask_labels(targets)
        with without_autocast(targets):
            terms = self.model.get_loss_dict(
                outputs.masks_queries_logits.float(),
                outputs.class_queries_logits.float(),
                masks,
                classes,
                [{name: logits.float() for name, logits in layer.items()} for layer in outputs.auxiliary_logits],
            )
        losses = {name: terms.pop(f"loss_{name}") for name in ("cross_entropy", "mask", "dice")}
        return {**losses, **({"auxiliary": torch.stack([*terms.values()]).sum()} if terms else {})}


def class_scores(classes: Tensor, masks: Tensor) -> Tensor:
    """Class logits [B, Q, K + 1], the last of no object, and mask logits [B, Q, H, W] -> [B, K, H, W]"""
    return torch.einsum("bqk,bqhw->bkhw", classes.softmax(dim=-1)[..., :-1], masks.sigmoid())


def mask_labels(targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """One mask per class of an image: targets [B, H, W] -> ([float32 [N, H, W], …], [int64 [N], …]), images in order."""
    classes = [(found := target.unique())[found != IGNORE] for target in targets]
    return [(target == own[:, None, None]).float() for target, own in zip(targets, classes)], classes


def _masks_per_process(class_labels: list[Tensor], device: torch.device) -> Tensor:
    """What mask losses are divided by: masks of the batch, on average over the processes (the library's own needs accelerate)."""
    count = torch.tensor(float(sum(len(classes) for classes in class_labels)), device=device)
    return average_over_ranks(count).clamp(min=1)
