"""Any timm model that gives features, as it is: `timm/NAME`."""

from __future__ import annotations

from typing import Any

import timm

from harness.errors import UserError
from methods.backbones._common import dilated_stride, refuse_stride
from methods.backbones._padded_swin import pad_before_shifting
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("timm/",)
_DILATED = ("resnet", "resnext", "wide_resnet")
_SWIN = ("swin_", "swinv2_")


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """timm's model; those of the ResNet family take an output stride."""
    model = name.removeprefix("timm/")
    if not timm.is_model(model):
        raise UserError(f"unknown backbone '{name}': timm has no model '{model}' (timm.list_models() names all)")
    options: dict[str, Any] = {}
    if model.startswith(_DILATED):
        options["output_stride"] = dilated_stride(name, output_stride)
    else:
        refuse_stride(name, output_stride)
    swin = model.startswith(_SWIN)
    if swin:
        options["strict_img_size"] = False  # crops of any size
    body = create_body(name, model, pretrained, **options)
    pad_before_shifting(body)
    return TimmBackbone(body, multiple=4 if swin else 1, channels_last=swin)
