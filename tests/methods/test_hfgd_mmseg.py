"""HFGD's decoders compute what mmsegmentation's compute with the same weights, as far as their structures agree.

They differ so: mmsegmentation's SemanticFPN has 3×3 convolutions after the pyramid's sums and none after the branches'
sum; its UPerNet pools with 1×1 convolutions where the authors' framework has 3×3 (the encoding `ppm`, not compared).
"""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from methods.hfgd.layers import EPSILON
from methods.hfgd.semantic_fpn import SemanticFPN
from methods.hfgd.upernet import UPerNetDecoder

mmseg = pytest.importorskip("mmseg")
pytestmark = pytest.mark.filterwarnings("ignore")

IN_CHANNELS = [4, 6, 8, 10]
NORM = {"type": "BN", "eps": EPSILON}


def maps(sides):
    torch.manual_seed(0)
    return [torch.randn(2, c, n, n + n // 2) for c, n in zip(IN_CHANNELS, sides)]


def their_name(name, rules):
    for ours, theirs in rules.items():
        name = re.sub(f"^{ours}", theirs, name)
    return re.sub(r"\.1\.(\w+)$", r".bn.\1", re.sub(r"\.0\.(weight|bias)$", r".conv.\1", name))


def give_weights(ours, theirs, rules):
    """Random weights and statistics for both; every one of ours has a place in theirs."""
    torch.manual_seed(1)
    state, own = theirs.state_dict(), ours.state_dict()
    for name, value in own.items():
        if value.is_floating_point():
            own[name] = torch.rand_like(value) + 0.5 if name.endswith("running_var") else 0.3 * torch.randn_like(value)
            key = their_name(name, rules)
            assert state[key].shape == value.shape
            state[key] = own[name]
    ours.load_state_dict(own)
    theirs.load_state_dict(state)
    return ours.eval(), theirs.eval()


def test_upernet_below_its_pyramid_pooling():
    from mmseg.models.decode_heads import UPerHead

    theirs = UPerHead(
        in_channels=IN_CHANNELS, in_index=[0, 1, 2, 3], channels=12, num_classes=5, norm_cfg=NORM, align_corners=True
    )
    rules = {"pyramid.convs.": "lateral_convs.", "outputs.": "fpn_convs.", "fuse.": "fpn_bottleneck."}
    ours, theirs = give_weights(UPerNetDecoder(IN_CHANNELS[:-1], 12), theirs, rules)
    features, top = maps([33, 17, 9, 5]), torch.randn(2, 12, 5, 7)
    theirs.psp_forward = lambda inputs: top
    with torch.no_grad():
        torch.testing.assert_close(ours(features[:-1], top), theirs._forward_feature(features), rtol=1e-4, atol=1e-4)


def test_semantic_fpn_without_the_convolutions_that_only_one_of_them_has():
    """Sides are powers of two: mmsegmentation doubles them, which is not the size of the finer map otherwise."""
    from mmseg.models.decode_heads import FPNHead
    from mmseg.models.necks import FPN

    corners = {"mode": "bilinear", "align_corners": True}
    neck = FPN(IN_CHANNELS, 12, 4, norm_cfg=NORM, act_cfg={"type": "ReLU"}, upsample_cfg=corners)
    head = FPNHead(
        feature_strides=[4, 8, 16, 32],
        in_channels=[12] * 4,
        in_index=[0, 1, 2, 3],
        channels=12,
        num_classes=5,
        norm_cfg=NORM,
        align_corners=True,
    )
    neck.fpn_convs = nn.ModuleList(nn.Identity() for _ in neck.fpn_convs)
    head.conv_seg, head.dropout = nn.Identity(), None
    ours = SemanticFPN(IN_CHANNELS[:-1], 12)
    ours.end = nn.Identity()
    # their branches have a resize after each convolution but in the first: every second layer
    rules = {"pyramid.convs.": "0.lateral_convs.", "branches.convs.0.0.": "1.scale_heads.0.0."}
    rules |= {f"branches.convs.{i}.{n}.": f"1.scale_heads.{i}.{2 * n}." for i in (1, 2, 3) for n in range(i)}
    both = nn.Sequential(neck, head)
    give_weights(ours, both, rules)
    features = maps([32, 16, 8, 4])
    with torch.no_grad():
        top = neck.lateral_convs[-1](features[-1])
        torch.testing.assert_close(ours(features[:-1], top), head(neck(features)), rtol=1e-4, atol=1e-4)
