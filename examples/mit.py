"""Mix Transformer, the backbone of SegFormer (Xie et al. 2021, arXiv 2105.15203, Sec. 3.1), in its two smallest sizes.

A backbone outside the checkout: a table names it `mit.py:mit_b0`, and `python -m harness test examples/mit.py:mit_b0` checks it
against the contract. Parameters have the names of the authors' released files, which load as they are: `pretrained: mit_b0.pth`.
Expansion ratios are those of the release, 4 in every stage; the paper's Table 6 says 8, 8, 4, 4.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from methods.backbones._common import load_file, own_weights_file, refuse_stride
from methods.segmentor import Backbone

NAMES = ("mit_b0", "mit_b1")
STRIDES = ()  # one output stride alone

_WIDTHS = {"mit_b0": (32, 64, 160, 256), "mit_b1": (64, 128, 320, 512)}
_DEPTH, _HEADS, _REDUCTIONS, _EXPANSION = 2, (1, 2, 5, 8), (8, 4, 2, 1), 4
_DROP_PATH = 0.1  # of the last block; rises linearly from 0


class PatchEmbedding(nn.Module):
    """Overlapping patches (Sec. 3.1): x [B, C, H, W] -> [B, width, ceil(H / stride), ceil(W / stride)]."""

    def __init__(self, in_channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map that is smaller by `reduction` (Eq. 1, 2). Tokens [B, N, C]."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.sr = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        batch, count, channels = x.shape
        source = x
        if self.sr is not None and self.norm is not None:
            image = x.transpose(1, 2).reshape(batch, channels, height, width)
            side = self.sr.kernel_size[0]  # a map that is smaller than one window becomes one token
            image = F.pad(image, (0, max(0, side - width), 0, max(0, side - height)))
            source = self.norm(self.sr(image).flatten(2).transpose(1, 2))
        q = self.q(x).reshape(batch, count, self.heads, -1).transpose(1, 2)
        k, v = self.kv(source).reshape(batch, -1, 2, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, channels))


class DepthwiseConvolution(nn.Module):
    """The 3×3 convolution that takes the place of positions (Eq. 3), on tokens [B, N, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        image = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], height, width)
        return self.dwconv(image).flatten(2).transpose(1, 2)


class MixFFN(nn.Module):
    """Linear, depth-wise convolution, GELU, linear (Eq. 3), on tokens [B, N, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, _EXPANSION * width), nn.Linear(_EXPANSION * width, width)
        self.dwconv = DepthwiseConvolution(_EXPANSION * width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), height, width)))


class Block(nn.Module):
    """Attention and Mix-FFN, each after a norm and beside a shortcut, on tokens [B, N, C]."""

    def __init__(self, width: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads, reduction), MixFFN(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), height, width))
        return x + self.drop_path(self.mlp(self.norm2(x), height, width))


class MixTransformer(Backbone):
    """images [B, 3, H, W] -> four maps at strides 4, 8, 16, 32; sides are rounded up."""

    strides = (4, 8, 16, 32)

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = widths
        blocks = _DEPTH * len(widths)
        for stage, width in enumerate(widths, start=1):
            kernel, stride = (7, 4) if stage == 1 else (3, 2)
            before = 3 if stage == 1 else widths[stage - 2]
            rates = [_DROP_PATH * (_DEPTH * (stage - 1) + i) / (blocks - 1) for i in range(_DEPTH)]
            heads, reduction = _HEADS[stage - 1], _REDUCTIONS[stage - 1]
            self.add_module(f"patch_embed{stage}", PatchEmbedding(before, width, kernel, stride))
            self.add_module(f"block{stage}", nn.ModuleList(Block(width, heads, reduction, rate) for rate in rates))
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=1e-6))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = images, []
        for stage in range(1, len(self.channels) + 1):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            height, width = x.shape[2:]
            tokens = x.flatten(2).transpose(1, 2)
            for block in self.get_submodule(f"block{stage}").children():
                tokens = block(tokens, height, width)
            tokens = self.get_submodule(f"norm{stage}")(tokens)
            x = tokens.transpose(1, 2).reshape(x.shape)
            maps.append(x)
        return maps


def _initialise(module: nn.Module) -> None:
    """As the release: truncated normal for linear layers, normal by fan-out for convolutions."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        nn.init.zeros_(module.bias)


def build(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> MixTransformer:
    """The backbone called `name` in NAMES, with random weights or those of a file."""
    refuse_stride(name, output_stride)
    backbone = MixTransformer(_WIDTHS[name])
    file = own_weights_file(name, pretrained)
    if file is not None:
        load_file(backbone, file, name)
    return backbone
