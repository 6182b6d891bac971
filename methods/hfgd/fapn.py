"""FaPN (Huang et al. 2021), as in the framework of HFGD's authors: coarser maps are aligned to finer ones by deformable
convolution before they are added.

Differences from FaPN's own code: the gate has two convolutions, there is one deformable group, and no 3×3 convolution
after the sums; SemanticFPN's branches follow here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from methods.hfgd.layers import conv_bn_relu, resize
from methods.hfgd.semantic_fpn import Branches

_TAPS = 9


class FeatureSelection(nn.Module):
    """Channels weighted by a gate from their means, added to themselves, projected. [B, in, h, w] -> [B, out, h, w]"""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, in_channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.project = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x * self.gate(x) + x)


class FeatureAlignment(nn.Module):
    """A fine map selected, and the coarser one, resized, sampled where both together say (DCNv2).

    fine [B, in_channels, H, W], coarse [B, channels, h, w] -> [B, channels, H, W]
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.select = FeatureSelection(in_channels, channels)
        self.join = nn.Conv2d(2 * channels, channels, 1, bias=False)
        self.offset = nn.Conv2d(channels, 3 * _TAPS, 3, padding=1)  # y and x per tap, then a mask per tap
        self.convolve = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.offset.parameters():  # the regular grid, every tap half as strong
            nn.init.zeros_(parameter)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        fine = self.select(fine)
        coarse = resize(coarse, fine.shape[-2:]).to(fine.dtype)
        where = self.offset(self.join(torch.cat([fine, 2 * coarse], dim=1)))
        return F.relu(self._sampled(coarse, where)) + fine

    def _sampled(self, x: Tensor, where: Tensor) -> Tensor:
        """The deformable convolution in the weights' precision: its offsets are positions in pixels."""
        weight, bias = self.convolve.weight, self.convolve.bias
        where = where.to(weight.dtype)
        offset, mask = where[:, : 2 * _TAPS], where[:, 2 * _TAPS :].sigmoid()
        return deform_conv2d(x.to(weight.dtype), offset, weight, bias, padding=1, mask=mask).to(x.dtype)


class FaPN(nn.Module):
    """Aligned levels, then SemanticFPN's branches and 1×1 convolution at output stride 4.

    features, finest first, without the backbone's last; top [B, channels, h, w] -> [B, channels, h_0, w_0]
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.align = nn.ModuleList(FeatureAlignment(c, channels) for c in in_channels)
        self.branches = Branches(len(in_channels) + 1, channels, 4)
        self.end = conv_bn_relu(channels, channels, 1)

    def forward(self, features: Sequence[Tensor], top: Tensor, image: Sequence[int] | None = None) -> Tensor:
        levels = [top]
        for align, x in zip(reversed(self.align), reversed(features)):
            levels.insert(0, align(x, levels[0]))
        return self.end(self.branches(levels))
