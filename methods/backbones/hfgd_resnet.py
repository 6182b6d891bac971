"""The ResNet-50 of HFGD's authors (methods/hfgd/resnet.py), whose weights nobody published in this layout."""

from __future__ import annotations

from harness.errors import MissingError
from methods.backbones._common import dilated_stride, load_file, weights_file
from methods.hfgd.resnet import AuthorsResNet50
from methods.pretrained import advice, unpublished

NAMES = ("hfgd_resnet50",)
STRIDES = (8, 16, 32)


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> AuthorsResNet50:
    """The ResNet-50 at output stride 8, 16 or 32 (default); pretrained from a file alone."""
    backbone = AuthorsResNet50(output_stride=dilated_stride(name, output_stride))
    if pretrained:
        file = weights_file(name, pretrained)
        if file is None:
            raise MissingError(f"{unpublished(name)}. {advice(name)}")
        load_file(backbone, file, name)
    return backbone
