"""Convention `mmcv-hooks` against hand counts and against mmcv itself."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.tasks.complexity.mmcv_hooks import count

# module, input shape, FLOPs by hand
CASES = {
    "conv": (nn.Conv2d(3, 8, 3, padding=1, bias=False), (2, 3, 5, 7), 3 * 8 * 9 * 2 * 35),
    "conv bias": (nn.Conv2d(3, 8, 1), (2, 3, 5, 7), 3 * 8 * 70 + 8 * 70),
    "conv stride": (nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=False), (1, 4, 6, 6), 4 * 4 * 9 * 9),
    "conv groups": (nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False), (1, 4, 5, 5), 2 * 8 * 9 * 25),
    "deconv": (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 4 * 6 * 4 * 25 + 6 * 100),
    "batch norm": (nn.BatchNorm2d(4), (1, 4, 3, 3), 72),
    "batch norm without affine": (nn.BatchNorm2d(4, affine=False), (1, 4, 3, 3), 36),
    "layer norm": (nn.LayerNorm(6), (1, 4, 6), 48),
    "relu": (nn.ReLU(), (1, 4, 3, 3), 36),
    "global pool": (nn.AdaptiveAvgPool2d(1), (1, 4, 6, 6), 144),
    "max pool": (nn.MaxPool2d(2), (1, 4, 6, 6), 144),
    "linear": (nn.Linear(6, 10), (3, 6), 180),
    "upsample": (nn.Upsample(scale_factor=2), (1, 4, 3, 3), 144),
    "dropout": (nn.Dropout2d(0.5), (1, 4, 3, 3), 0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_by_hand(case, device):
    module, shape, expected = CASES[case]
    x = torch.zeros(shape, device=device)
    assert count(copy.deepcopy(module).to(device), (x,)) == expected


class Recurrent(nn.Module):
    """Applies one convolution twice and a matrix product and a resize by function."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(self.conv(x))
        return F.interpolate(torch.matmul(x, x.transpose(2, 3)), scale_factor=2)


def test_a_module_called_twice_counts_twice_and_functions_are_not_seen():
    assert count(Recurrent(), (torch.zeros(1, 4, 5, 5),)) == 2 * (4 * 4 * 9 * 25 + 100)


def test_hooks_are_removed():
    module = nn.Conv2d(1, 1, 1)
    count(module, (torch.zeros(1, 1, 2, 2),))
    assert not module._forward_hooks


def test_agrees_with_mmcv():
    counter = pytest.importorskip("mmcv.cnn.utils.flops_counter")
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=4, bias=False), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5),
    )  # fmt: skip
    theirs, _ = counter.get_model_complexity_info(module, (3, 32, 32), print_per_layer_stat=False, as_strings=False)
    assert count(module, (torch.zeros(1, 3, 32, 32),)) == theirs
