"""HRNet with its resolutions joined into one map (HRNetV2, Sun et al. 2019), from timm."""

from __future__ import annotations

from torch import nn

from methods.backbones._common import refuse_stride
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("hrnet_w48",)
STRIDES = ()
WEIGHTS = {"hrnet_w48": "hrnet_w48.ms_in1k"}


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """An HRNet; its one map has stride 4."""
    refuse_stride(name, output_stride)
    body = create_body(name, WEIGHTS[name], pretrained, feature_location="")
    for module in body.modules():
        if isinstance(module, nn.Upsample):
            # segmentation's HRNet mixes its resolutions bilinearly, the classifier that timm has by the nearest cell
            module.mode, module.align_corners = "bilinear", False
    return TimmBackbone(body, multiple=32, joined=True)
