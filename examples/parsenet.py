"""ParseNet (Liu et al. 2015, arXiv 1506.04579): each pixel beside the average of the image.

A method outside the checkout: the table beside it names it `parsenet.py:parsenet`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import conv_bn_relu
from methods.registry import register
from methods.segmentor import Backbone, EncoderDecoder, Segmentor


class GlobalContext(nn.Module):
    """The last feature map and its average over the image, each of unit length per pixel (Sec. 3.2), fused by a convolution.

    features [[B, in_channels[i], h_i, w_i], ...] -> [B, channels, h, w], of the last map's size
    """

    def __init__(self, in_channels: Sequence[int], *, channels: int = 512) -> None:
        super().__init__()
        self.channels = channels
        self.fuse = conv_bn_relu(2 * in_channels[-1], channels, 3)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = features[-1]
        average = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
        return self.fuse(torch.cat([F.normalize(x, dim=1), F.normalize(average, dim=1)], dim=1))


@register("parsenet")
def parsenet(backbone: Backbone, num_classes: int, *, channels: int = 512) -> Segmentor:
    """ParseNet: the average of the image beside every pixel."""
    return EncoderDecoder(backbone, GlobalContext(backbone.channels, channels=channels), num_classes)
