"""SemanticFPN (Kirillov et al. 2019) as HFGD's authors build it, and their Ultra SemanticFPN (Sec. 3.3, App. A)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.hfgd.layers import conv_bn_relu, half, resize


class Laterals(nn.Module):
    """Top-down pathway without convolutions after the sums: each level adds the resized level above it.

    features [[B, in_channels[i], h_i, w_i], ...], finest first, top [B, channels, h, w] -> one map more than features,
    [B, channels, h_i, w_i] each, the last being the top itself
    """

    def __init__(self, in_channels: Sequence[int], channels: int, kernel: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_bn_relu(c, channels, kernel) for c in in_channels)

    def forward(self, features: Sequence[Tensor], top: Tensor) -> list[Tensor]:
        levels = [top]
        for conv, x in zip(reversed(self.convs), reversed(features)):
            levels.insert(0, conv(x) + resize(levels[0], x.shape[-2:]))
        return levels


class Branches(nn.Module):
    """Each level through 3×3 convolutions, resized to the next finer level after each of them; the sum of all levels.

    At output stride 4 the levels have 1, 1, 2, 3 convolutions (of four), as SemanticFPN has. At output stride 2 each has
    one at its own resolution first and one more than it has levels below it: 2, 3, 4, 5 (inferred from Table 9: the text
    says "one more conv-upsample block for every branch").

    levels [[B, channels, h_i, w_i], ...], finest first; `size`: the (height, width) to give at stride 2, twice the finest
    level's where it is None -> [B, channels, h, w]
    """

    def __init__(self, levels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        counts = [max(i, 1) for i in range(levels)] if stride == 4 else [i + 2 for i in range(levels)]
        self.convs = nn.ModuleList(
            nn.ModuleList(conv_bn_relu(channels, channels, 3) for _ in range(count)) for count in counts
        )

    def forward(self, levels: Sequence[Tensor], size: Sequence[int] | None = None) -> Tensor:
        sizes = [level.shape[-2:] for level in levels]
        if self.stride == 2:
            sizes.insert(0, size or [2 * n for n in sizes[0]])
        outputs = []
        for i, (x, convs) in enumerate(zip(levels, self.convs)):
            stays = len(convs) - (i + len(sizes) - len(levels))  # convolutions before the first resize
            for n, conv in enumerate(convs):
                x = conv(x)
                if n >= stays:
                    x = resize(x, sizes[len(convs) - 1 - n])
            outputs.append(x)
        return torch.stack(outputs).sum(0)


class SemanticFPN(nn.Module):
    """SemanticFPN: 1×1 laterals, branches, a 1×1 convolution after their sum. `ultra`: both are 3×3 (U-SFPN; that of the
    last is inferred from Table 9).

    `in_channels`: of the maps below the top, finest first. `stride`: of the output, 4, or 2 with `ultra`.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, ultra: bool = False, stride: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride
        self.pyramid = Laterals(in_channels, channels, 3 if ultra else 1)
        self.branches = Branches(len(in_channels) + 1, channels, stride)
        self.end = conv_bn_relu(channels, channels, 3 if ultra else 1)

    def forward(self, features: Sequence[Tensor], top: Tensor, image: Sequence[int] | None = None) -> Tensor:
        """features: the backbone's below the last, finest first; top [B, channels, h, w]; `image`: its height and width
        -> [B, channels, H / stride, W / stride]"""
        levels = self.pyramid(features, top)
        return self.end(self.branches(levels, half(image) if image is not None else None))
