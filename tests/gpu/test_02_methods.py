"""Every method forward and backward in every precision: losses as on a CPU in float32, and a gradient for every parameter."""

import copy

import pytest
import torch
from torch import nn

from harness.jobs.kinds import Model
from harness.training.precision import Precision
from methods import registry
from methods.build import build_model
from methods.segmentor import IGNORE
from tests.support.gpu_cases import DEVICE

pytestmark = pytest.mark.gpu
WITHIN = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 3e-2, "fp16": 3e-2}
PRECISIONS = [*WITHIN] if DEVICE == "cuda" else ["fp32", "bf16"]
SIDE = 128 if DEVICE == "cuda" else 64


def model_of(method: str) -> nn.Module:
    """Without chance: neither dropout nor statistics of the batch."""
    torch.manual_seed(0)
    model = build_model(Model(name=method, num_classes=7, backbone="resnet18")).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.Dropout | nn.Dropout2d):
            module.eval()
    return model


METHODS = [name for name in registry.names("method") if not registry.find(name).own_backbone]


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_gradients(method):
    model = model_of(method)
    torch.manual_seed(1)
    images, targets = torch.randn(2, 3, SIDE, SIDE), torch.randint(7, (2, SIDE, SIDE))
    targets[:, :5] = IGNORE
    with torch.no_grad():
        expected = {name: loss.item() for name, loss in copy.deepcopy(model).losses(images, targets).items()}
    for name in PRECISIONS:
        on_device = copy.deepcopy(model).to(DEVICE)
        with Precision(name, DEVICE).scope():
            losses = on_device.losses(images.to(DEVICE), targets.to(DEVICE))
        sum(losses.values()).backward()
        found = {term: loss.item() for term, loss in losses.items()}
        assert found == pytest.approx(expected, rel=WITHIN[name], abs=WITHIN[name] / 10), name
        idle = [n for n, p in on_device.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle, name
        assert all(p.grad.isfinite().all() for p in on_device.parameters() if p.grad is not None), name
