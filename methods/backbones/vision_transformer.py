"""Plain vision transformers (Dosovitskiy et al. 2021) as SegViT takes them, from timm."""

from __future__ import annotations

from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from methods.backbones._common import refuse_stride
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("vit_base",)
STRIDES = ()
WEIGHTS = {"vit_base": "vit_base_patch16_384.augreg_in21k_ft_in1k"}
_BLOCKS = {"vit_base": (5, 7, 11)}  # counted from 0; their outputs are the maps
_OPTIONS: dict[str, Any] = {"dynamic_img_size": True, "drop_path_rate": 0.1}


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """Three maps at stride 16; positions are resized to the image, whose sides are padded to multiples of 16."""
    refuse_stride(name, output_stride)
    body = create_body(name, WEIGHTS[name], pretrained, out_indices=_BLOCKS[name], **_OPTIONS)
    _remove_class_token(body.model)
    return TimmBackbone(body, multiple=16)


def _remove_class_token(model: VisionTransformer) -> None:
    """Leaves the image's tokens alone, as plain segmentation transformers have them (`with_cls_token=False`).

    After the weights are there: those of a classifier have the token, and a position for it before the others.
    """
    assert model.pos_embed is not None
    model.pos_embed = nn.Parameter(model.pos_embed[:, model.num_prefix_tokens :].detach().clone())
    model.cls_token, model.has_class_token, model.num_prefix_tokens = None, False, 0
