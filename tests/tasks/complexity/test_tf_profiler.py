"""Convention `tf-profiler` against hand counts of TensorFlow's registered statistics."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d

from harness.errors import UserError
from harness.tasks.complexity.tf_profiler import count
from tests.support.function_module import Function

# 6 × 6 inputs with 4 channels unless said otherwise; expected float_ops
CASES = {
    "conv with bias": (nn.Conv2d(4, 8, 3, padding=1), (1, 4, 6, 6), 2 * 4 * 8 * 9 * 36 + 8 * 36),
    "strided conv": (nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), (1, 4, 6, 6), 2 * 4 * 8 * 9 * 9),
    "grouped conv": (nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False), (1, 4, 6, 6), 2 * 8 * 9 * 36),
    # 6 + 4·2 = 14 is padded to 16: four blocks of 4 per side, each giving 2 by VALID: 8 × 8 positions, not 6 × 6
    "dilated conv": (nn.Conv2d(4, 8, 3, padding=4, dilation=4, bias=False), (1, 4, 6, 6), 2 * 4 * 8 * 9 * 64),
    # 65 + 2·2 = 69 is padded to 70: 2·(35 − 2) = 66
    "dilated conv at 65": (nn.Conv2d(1, 1, 3, padding=2, dilation=2, bias=False), (1, 1, 65, 65), 2 * 9 * 66 * 66),
    "deconv": (nn.ConvTranspose2d(4, 2, 2, stride=2), (1, 4, 6, 6), 2 * 4 * 2 * 4 * 36 + 2 * 144),
    "batch norm": (nn.BatchNorm2d(4), (1, 4, 6, 6), 144 + 5 * 4),
    "relu": (nn.ReLU(), (1, 4, 6, 6), 0),
    "softmax": (nn.Softmax(1), (1, 4, 6, 6), 5 * 144),
    "max pool": (nn.MaxPool2d(3, 2, 1), (1, 4, 6, 6), 9 * 4 * 9),
    "average pool": (nn.AvgPool2d(2), (1, 4, 6, 6), 4 * 4 * 9),
    "linear": (nn.Linear(6, 5), (3, 6), 2 * 6 * 5 * 3 + 15),
    "addition": (Function(lambda x: x + x), (1, 4, 6, 6), 0),
    "sum of three": (Function(lambda x: torch.stack([x, x, x]).sum(0)), (1, 4, 6, 6), 2 * 144),
    "division": (Function(lambda x: x / 3), (1, 4, 6, 6), 144),
    "resize": (Function(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")), (1, 4, 6, 6), 0),
    # per affinity 1 for its scale and 5 for the softmax; two products
    "attention": (
        Function(lambda x: F.scaled_dot_product_attention(x, x, x)),
        (2, 3, 7, 5),
        6 * 49 + 2 * 2 * (6 * 7 * 7 * 5) + 5 * 6 * 49,
    ),
    "attention without a scale": (
        Function(lambda x: F.scaled_dot_product_attention(x, x, x, scale=1.0)),
        (2, 3, 7, 5),
        2 * 2 * (6 * 7 * 7 * 5) + 5 * 6 * 49,
    ),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("case", CASES)
def test_by_hand(case, device):
    module, shape, float_ops = CASES[case]
    assert count(copy.deepcopy(module).to(device), (torch.randn(shape, device=device),)) == float_ops / 2


def test_an_operator_without_a_rule_is_refused_rather_than_free():
    with pytest.raises(UserError, match="native_layer_norm"):
        count(nn.LayerNorm(4), (torch.randn(2, 4),))


def test_deformable_convolution_is_refused_too():
    def convolve(x):
        return deform_conv2d(x, torch.zeros(1, 18, 6, 6), torch.zeros(4, 4, 3, 3), padding=1)

    with pytest.raises(UserError, match="deform_conv2d"):
        count(Function(convolve), (torch.randn(1, 4, 6, 6),))
