"""Swin blocks as segmentation codes define them, for the family and for timm's own names."""

from __future__ import annotations

import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn


class PaddedSwinBlock(SwinTransformerBlock):
    """A Swin block that pads its map to whole windows before it shifts them, as segmentation's Swin does, not after.

    The two differ wherever a side is no multiple of the window, as with crops of 512 or 640 and windows of 12.
    """

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        padding = (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0])
        return super()._attn(F.pad(x, padding))[:, :height, :width]


def pad_before_shifting(body: nn.Module) -> None:
    """Makes every Swin block of `body` a padded one, in place."""
    for module in body.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = PaddedSwinBlock
