"""A timm model as a feature pyramid, shared by the families built on timm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import MissingError
from methods.backbones._common import Renames, load_file, weights_file
from methods.layers import resize
from methods.pretrained import advice, untagged
from methods.segmentor import Backbone

_STAGES = (-4, -3, -2, -1)


class TimmBackbone(Backbone):
    """Four feature maps of a timm model, C2 to C5; where they are joined (HRNetV2, Sun et al. 2019), one map of all.

    Image sides are padded to a multiple of `multiple`. With `channels_last` the body's maps are [B, h, w, C], and with `norms`
    each of them gets a LayerNorm. With `joined` they are resized to the finest and concatenated.
    images [B, 3, H, W], any size -> [B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])]
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        multiple: int = 1,
        channels_last: bool = False,
        norms: bool = False,
        joined: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.multiple = multiple
        self.channels_last = channels_last
        self.joined = joined
        channels = tuple(body.feature_info.channels())
        self.level_strides = tuple(body.feature_info.reduction())
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels) if norms else None
        self.channels = (sum(channels),) if joined else channels
        self.strides = self.level_strides[:1] if joined else self.level_strides

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        features = self.body(F.pad(images, padding) if any(padding) else images)
        if self.norms is not None:
            features = [norm(x) for norm, x in zip(self.norms, features)]
        if self.channels_last:
            features = [x.permute(0, 3, 1, 2).contiguous() for x in features]
        if self.multiple > 1:
            features = [
                x[..., : math.ceil(height / stride), : math.ceil(width / stride)]
                for x, stride in zip(features, self.level_strides)
            ]
        if self.joined:
            return [torch.cat([resize(x, features[0].shape[-2:]) for x in features], dim=1)]
        return list(features)


def create_body(
    name: str,
    model: str,
    pretrained: bool | str,
    *,
    out_indices: Sequence[int] = _STAGES,
    renames: Renames = (),
    **options: Any,
) -> nn.Module:
    """timm's `model` without its classifier, for the backbone that tables call `name`: with the weights of a local file
    where there is one, else, where any are wanted, with those of timm that the tag after the model's dot names.

    `renames`: see load_file. MissingError where there are no weights.
    """
    file = weights_file(name, pretrained)
    download = bool(pretrained) and file is None
    if download and "." not in model:
        raise MissingError(f"{untagged(name)}. {advice(name)}")
    try:
        body = timm.create_model(
            model, features_only=True, out_indices=tuple(out_indices), pretrained=download, **options
        )
    except Exception as error:
        if not download:
            raise
        raise MissingError(
            f"pretrained weights of timm's '{model}' could not be loaded ({type(error).__name__}: {error}). "
            f"Where there is a network, python -m harness weights download {name} puts them into Hugging Face's cache "
            f"(HF_HOME). {advice(name)}"
        ) from error
    if file is not None:
        load_file(body, file, name, renames)
    return body
