"""Feature Reconstruction (ECENet, Sec. 3.2): an intrinsic and a diverse half of a feature map, joined again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.ecenet.layers import LayerNorm2d
from methods.layers import BatchNorm


class SqueezeExcitation(nn.Module):
    """One factor per channel, computed from the channels' means over the map (Hu et al. 2018).

    `gate`: `sigmoid` as in that paper; `none` as in ECENet's released code, where factors may be negative. The reduction
    of 2 is what ECENet's published parameters need (4 and 16 miss them).
    x [B, C, H, W] -> the same shape
    """

    def __init__(self, channels: int, *, reduction: int = 2, gate: str = "sigmoid") -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, inner, 1, bias=False)
        self.excite = nn.Conv2d(inner, channels, 1, bias=False)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        factors = self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1)).relu())
        return x * (factors.sigmoid() if self.gate == "sigmoid" else factors)


class FeatureReconstruction(nn.Module):
    """Eq. 1 and 2: Y' is projected, Y'' is a cheap operation on Y' with recalibrated channels; both are joined.

    The cheap operation is GhostNet's (Han et al. 2020), a depth-wise 3×3 convolution; as in the released code neither
    branch has an activation.
    x [B, C, H, W] -> (reconstructed [B, C, H, W], the diverse half Y'' [B, C // 2, H, W])
    """

    def __init__(self, channels: int, *, gate: str = "sigmoid") -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.intrinsic = nn.Sequential(nn.Conv2d(channels, half, 1, bias=False), BatchNorm(half))
        self.cheap = nn.Sequential(nn.Conv2d(half, half, 3, padding=1, groups=half), BatchNorm(half))
        self.recalibrate = SqueezeExcitation(half, gate=gate)
        self.project = nn.Sequential(nn.Conv2d(2 * half, channels, 1, bias=False), LayerNorm2d(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        intrinsic = self.intrinsic(x)
        diverse = self.recalibrate(self.cheap(intrinsic))
        return self.project(torch.cat([diverse, intrinsic], dim=1)), diverse
