"""Cross-entropy per pixel, one image's full-size logits at a time, in the forward pass and for the gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from methods.fusion import fusable
from methods.idrnet.tokens import at_least_float32
from methods.layers import resize
from methods.segmentor import IGNORE


def pixel_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy per pixel at the targets' resolution, zero where ignored: [B, K, h, w], [B, H, W] -> [B, H, W]"""
    with torch.no_grad():
        images = at_least_float32(logits).split(1)
        return torch.stack([_of_image(image, target) for image, target in zip(images, targets)])


def mean_and_pixel_losses(
    logits: Tensor, targets: Tensor, divisor: Tensor, weight: float = 1.0
) -> tuple[Tensor, Tensor]:
    """weight·Σ/divisor of the pixels' cross-entropies, and the cross-entropies themselves [B, H, W], without a gradient.

    The gradient of each image is taken at once: what is kept for the backward pass is as small as `logits`.
    """
    return _MeanAndPixelLosses.apply(logits, targets, divisor, weight)


class _MeanAndPixelLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, divisor: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        losses, gradients = [], []
        wide = torch.promote_types(logits.dtype, torch.float32)
        share = (divisor.new_full((), weight, dtype=wide) / divisor).expand(targets.shape[1:])
        for image, target in zip(at_least_float32(logits.detach()).split(1), targets):
            with torch.enable_grad():
                loss = _of_image(image.requires_grad_(), target)
            gradients += torch.autograd.grad(loss, image, share)
            losses.append(loss.detach())
        pixels = torch.stack(losses)
        ctx.save_for_backward(torch.cat(gradients))
        ctx.dtype = logits.dtype
        ctx.mark_non_differentiable(pixels)
        return weight * (pixels.sum() / divisor), pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        return (ctx.saved_tensors[0] * gradient).to(ctx.dtype), None, None, None


@fusable
def _of_image(image: Tensor, target: Tensor) -> Tensor:
    """[1, K, h, w], [H, W] -> [H, W]; channels last, so that the classes of a pixel lie side by side in memory."""
    full = resize(image.contiguous(memory_format=torch.channels_last), target.shape)
    rows = full.permute(0, 2, 3, 1).flatten(0, 2)
    return F.cross_entropy(rows, target.flatten(), ignore_index=IGNORE, reduction="none").view(target.shape)
