"""HFGD's decoders and attention: sizes, plans of convolutions, deformable sampling and axial attention written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from methods.hfgd.attention import AxialAttention, SelfAttention
from methods.hfgd.encodings import AtrousPyramid
from methods.hfgd.fapn import FaPN, FeatureAlignment
from methods.hfgd.semantic_fpn import Branches, SemanticFPN

SIDES = {(64, 48): (32, 24), (65, 49): (33, 25), (513, 97): (257, 49)}


def maps(size, channels=(4, 6, 8), count=2):
    """Feature maps at strides 4, 8, 16 of an image, and its top at 32."""
    torch.manual_seed(0)
    sides = [[-(-n // stride) for n in size] for stride in (4, 8, 16, 32)]
    features = [torch.randn(count, c, *side) for c, side in zip(channels, sides)]
    return features, torch.randn(count, 12, *sides[3])


@pytest.mark.parametrize(("stride", "plan"), [(4, [1, 1, 2, 3]), (2, [2, 3, 4, 5])])
def test_how_many_convolutions_a_branch_has_and_at_which_sizes(stride, plan):
    branches = Branches(4, 12, stride)
    assert [len(convs) for convs in branches.convs] == plan
    sides = {}
    for i, convs in enumerate(branches.convs):
        for conv in convs:
            conv.register_forward_hook(lambda _, x, y, i=i: sides.setdefault(i, []).append(y.shape[-1]))
    levels = [torch.randn(1, 12, n, n) for n in (129, 65, 33, 17)]
    branches(levels, (257, 257))
    native = {4: [[129], [65], [33, 65], [17, 33, 65]], 2: [[129] * 2, [65, 65, 129], [33, 33, 65, 129]]}
    expected = dict(enumerate(native[stride])) | ({3: [17, 17, 33, 65, 129]} if stride == 2 else {})
    assert sides == expected


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("ultra", [False, True])
def test_stride_4_gives_the_finest_maps_size(size, ultra):
    features, top = maps(size)
    assert SemanticFPN((4, 6, 8), 12, ultra=ultra)(features, top).shape == (2, 12, *features[0].shape[-2:])


@pytest.mark.parametrize("size", SIDES)
def test_stride_2_gives_half_the_images_size(size):
    features, top = maps(size)
    decoder = SemanticFPN((4, 6, 8), 12, ultra=True, stride=2)
    assert decoder(features, top, size).shape[-2:] == SIDES[size]
    assert decoder(features, top).shape[-2:] == tuple(2 * n for n in features[0].shape[-2:])


def test_a_branch_is_its_convolutions_each_followed_by_a_resize():
    """The coarsest level written out; align_corners as everywhere in the authors' framework."""
    branches = Branches(3, 5, 4).eval()
    levels = [torch.randn(1, 5, n, n) for n in (9, 5, 3)]
    expected = branches.convs[0][0](levels[0]) + F.interpolate(
        branches.convs[1][0](levels[1]), (9, 9), mode="bilinear", align_corners=True
    )
    x = F.interpolate(branches.convs[2][0](levels[2]), (5, 5), mode="bilinear", align_corners=True)
    expected = expected + F.interpolate(branches.convs[2][1](x), (9, 9), mode="bilinear", align_corners=True)
    torch.testing.assert_close(branches(levels), expected)


def sampled(x, offset, mask, weight, bias):
    """Modulated deformable 3×3 convolution (DCNv2, Zhu et al. 2019, Eq. 1) by grid_sample, tap by tap."""
    height, width = x.shape[-2:]
    y0, x0 = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    total = bias[None, :, None, None].expand(x.shape[0], -1, height, width)
    for tap in range(9):
        y = y0 + tap // 3 - 1 + offset[:, 2 * tap]
        x_ = x0 + tap % 3 - 1 + offset[:, 2 * tap + 1]
        grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        value = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
        total = total + torch.einsum("ok,bkhw->bohw", weight[:, :, tap // 3, tap % 3], value * mask[:, tap : tap + 1])
    return total


def test_alignment_is_deformable_convolution():
    torch.manual_seed(0)
    align = FeatureAlignment(6, 4).double()
    x, where = torch.randn(2, 4, 7, 9).double(), torch.randn(2, 27, 7, 9).double()
    expected = sampled(x, where[:, :18], where[:, 18:].sigmoid(), align.convolve.weight, align.convolve.bias)
    torch.testing.assert_close(align._sampled(x, where), expected)


def test_alignment_starts_as_a_convolution_of_half_the_strength():
    """Offsets of zero, masks of sigmoid(0)."""
    align = FeatureAlignment(6, 4)
    fine, coarse = torch.randn(2, 6, 8, 8), torch.randn(2, 4, 4, 4)
    up = F.interpolate(coarse, (8, 8), mode="bilinear", align_corners=True)
    convolved = F.conv2d(up / 2, align.convolve.weight, align.convolve.bias, padding=1)
    selected = align.select(fine)
    torch.testing.assert_close(align(fine, coarse), convolved.relu() + selected, rtol=1e-4, atol=1e-5)


def test_fapn_trains_in_half_precision():
    features, top = maps((64, 48))
    decoder = FaPN((4, 6, 8), 12).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = decoder(features, top)
    y.float().square().mean().backward()
    assert y.shape == (2, 12, 16, 12)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


def axial_by_hand(x, heads):
    """Both maps of affinities in full: columns first, then rows, values passing through both."""
    parts = []
    for part in x.chunk(heads, dim=1):
        scale = part.shape[1] ** -0.5
        columns = torch.einsum("bchw,bcgw->bwhg", part, part).mul(scale).softmax(-1)
        rows = torch.einsum("bchw,bchv->bhwv", part, part).mul(scale).softmax(-1)
        value = torch.einsum("bwhg,bcgw->bchw", columns, part)
        parts.append(torch.einsum("bhwv,bchv->bchw", rows, value))
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_axial_attention_written_out(heads):
    x = torch.randn(2, 8, 7, 5, dtype=torch.float64, requires_grad=True)
    ours, theirs = AxialAttention(8, heads=heads)(x), axial_by_hand(x, heads)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (first,) = torch.autograd.grad((ours * weights).sum(), x)
    (second,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(first, second)


def test_axial_attention_reaches_every_pixel_in_one_layer():
    x = torch.randn(1, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(AxialAttention(4, heads=1)(x)[0, 0, 2, 3], x)
    assert gradient.abs().sum(dim=1).gt(0).all()


@pytest.mark.parametrize("inner", [None, 3])
def test_self_attention_is_not_scaled(inner):
    torch.manual_seed(0)
    attention = SelfAttention(8, inner=inner).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = (
        (f(x).flatten(2) for f in (attention.query, attention.key, attention.value)) if inner else [x.flatten(2)] * 3
    )
    expected = torch.einsum("bnm,bcm->bcn", (q.transpose(1, 2) @ k).softmax(-1), v).view_as(x)
    torch.testing.assert_close(attention(x), expected)
    if inner:
        assert torch.equal(q, k)  # queries and keys start equal


@pytest.mark.parametrize(("stride", "dilations"), [(32, [3, 6, 9]), (16, [6, 12, 18]), (8, [12, 24, 36])])
def test_aspps_dilations_follow_the_stride(stride, dilations):
    encoding = AtrousPyramid(4, 5, stride)
    assert [conv[0].dilation[0] for conv in encoding.dilated] == dilations
    assert encoding.eval()(torch.randn(1, 4, 6, 5)).shape == (1, 5, 6, 5)
