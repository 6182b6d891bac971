"""IDRNet's pixel losses with the gradient taken at once: bit for bit what autograd gives when it keeps everything."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from methods.idrnet.pixel_losses import mean_and_pixel_losses, pixel_losses
from methods.layers import resize
from methods.segmentor import IGNORE


def kept_by_autograd(logits, targets):
    """The same losses, image by image, with their full-size logits kept for the backward pass."""
    losses = []
    for image, target in zip(logits.split(1), targets):
        full = resize(image.contiguous(memory_format=torch.channels_last), target.shape)
        rows = full.permute(0, 2, 3, 1).flatten(0, 2)
        losses.append(F.cross_entropy(rows, target.flatten(), ignore_index=IGNORE, reduction="none").view(target.shape))
    return torch.stack(losses)


def case(dtype, layout):
    torch.manual_seed(0)
    logits = torch.randn(3, 7, 6, 5, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    targets = torch.randint(0, 7, (3, 23, 19))
    targets[:, :5] = IGNORE
    targets[2] = IGNORE
    return logits, targets, (targets != IGNORE).sum().float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight", [1.0, 0.8])
def test_value_pixels_and_gradient_bit_for_bit(dtype, layout, weight):
    logits, targets, divisor = case(dtype, layout)
    value, pixels = mean_and_pixel_losses(logits, targets, divisor, weight)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = kept_by_autograd(logits, targets)
    mean = weight * (expected.sum() / divisor)
    assert torch.equal(value, mean)
    assert torch.equal(pixels, expected)
    assert torch.equal(gradient, torch.autograd.grad(mean, logits)[0])
    assert not pixels.requires_grad
    assert torch.equal(pixel_losses(logits, targets), expected)


def test_half_precision_is_computed_in_float32_and_gives_its_own_gradient():
    logits, targets, divisor = case(torch.float32, torch.contiguous_format)
    half = logits.detach().bfloat16().requires_grad_()
    value, pixels = mean_and_pixel_losses(half, targets, divisor)
    (2 * value).backward()
    wide = half.detach().float().requires_grad_()
    (2 * mean_and_pixel_losses(wide, targets, divisor)[0]).backward()
    assert (value.dtype, pixels.dtype, half.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)
    assert torch.equal(half.grad, wide.grad.bfloat16())


def test_nothing_of_full_size_is_kept():
    logits, targets, divisor = case(torch.float32, torch.contiguous_format)
    value, _ = mean_and_pixel_losses(logits, targets, divisor)
    assert [x.shape for x in value.grad_fn.saved_tensors] == [logits.shape]
