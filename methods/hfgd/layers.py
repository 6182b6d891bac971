"""Layers as the authors' framework sets them: a larger epsilon in normalisation, bilinear resizing with aligned corners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from methods import layers

EPSILON = 1e-3
"""Of batch normalisation in every head of the released framework; its backbone has another."""

resize = partial(layers.resize, align_corners=True)
"""Bilinear resize of a map [B, C, H, W] to (height, width), the corners' centres staying where they are."""


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; keeps the spatial size. [B, in, H, W] -> [B, out, H, W]"""
    return with_epsilon(layers.conv_bn_relu(in_channels, out_channels, kernel, dilation=dilation))


def with_epsilon(module: nn.Sequential) -> nn.Sequential:
    """`module`, all of whose batch normalisations have the heads' epsilon from now on."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = EPSILON
    return module


def half(size: Sequence[int]) -> tuple[int, int]:
    """Height and width at output stride 2 of an image of this height and width."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2
