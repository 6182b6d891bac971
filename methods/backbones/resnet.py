"""ResNets (He et al. 2016) as segmentation trains them, from timm.

`resnet50` and `resnet101` are the V1c variants that these papers train: a stem of three 3×3 convolutions (32, 32, 64
channels), strides on the 3×3 convolution, and dilations in place of strides where the output stride asks for it, the
first block of such a stage keeping the dilation of the stage before (mmsegmentation's `contract_dilation`).
"""

from __future__ import annotations

from methods.backbones._common import dilated_stride
from methods.backbones._timm_pyramid import TimmBackbone, create_body

NAMES = ("resnet18", "resnet34", "resnet50", "resnet50_v1c", "resnet101", "resnet101_v1c")
STRIDES = (8, 16, 32)
_TIMM = {
    "resnet50": "resnet50c",
    "resnet50_v1c": "resnet50c",
    "resnet101": "resnet101c",
    "resnet101_v1c": "resnet101c",
}


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """A ResNet at output stride 8, 16 or 32 (default)."""
    stride = dilated_stride(name, output_stride)
    return TimmBackbone(create_body(name, _TIMM.get(name, name), pretrained, output_stride=stride))
