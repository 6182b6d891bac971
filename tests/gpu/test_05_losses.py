"""Losses on the device: value and gradient as on a CPU in float64, in either memory layout, with autocast on, and scaled."""

import pytest
import torch

from harness.recipes.segmentation import Loss
from harness.tasks.segmentation.losses import build_loss
from methods.idrnet.pixel_losses import mean_and_pixel_losses
from methods.segmentor import IGNORE
from tests.support.gpu_cases import DEVICE, relative_error

pytestmark = pytest.mark.gpu


def pixels_of_idrnet(logits, targets):
    return mean_and_pixel_losses(logits, targets, (targets != IGNORE).sum().float(), 0.8)[0]


LOSSES = {
    **{name: build_loss(Loss(name=name), 7) for name in ("cross_entropy", "ohem", "focal", "dice", "lovasz")},
    "weighted": build_loss(Loss(class_weights=(0.5,) * 3 + (2.0,) * 4), 7),
    "aligned": build_loss(Loss(mean="all", align_corners=True), 7),
    "idrnet": pixels_of_idrnet,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_value_and_gradient(name, layout):
    torch.manual_seed(0)
    exact = torch.randn(3, 7, 16, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(7, (3, 64, 64))
    targets[:, :9] = IGNORE
    expected = LOSSES[name](exact, targets)
    expected.backward()
    on_device = exact.detach().to(DEVICE, torch.float32).contiguous(memory_format=layout).requires_grad_()
    scale = 2.0**16  # of the gradient scaler's start
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        value = LOSSES[name](on_device, targets.to(DEVICE))
    (value * scale).backward()
    assert value.dtype == torch.float32
    assert relative_error(value, expected) < 1e-5
    assert relative_error(on_device.grad / scale, exact.grad) < 1e-4
