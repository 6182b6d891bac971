"""Layers shared by all methods."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that is defined for a single value per channel too (a 1×1 map in a batch of one).

    The variance of one value is undefined, and PyTorch raises; here such a map is normalised by the running statistics,
    which it leaves as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; keeps the spatial size. [B, in, H, W] -> [B, out, H, W]"""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
        BatchNorm(out_channels),
        nn.ReLU(inplace=True),
    )


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Bilinear resize of a map [B, C, H, W] to `size` = (height, width); the identity where the size is right already."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # training may be the next to use it
        return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def constant(values: Sequence[float], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The values as a tensor [len(values)] on the device, not to be written to; uploaded once, and without waiting for
    what the device has still to do. `dtype`: torch's default where none is given."""
    return _constant(tuple(values), device, dtype or torch.get_default_dtype())


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which operations on `x` keep its number format; on a device that has no autocast, nothing."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
