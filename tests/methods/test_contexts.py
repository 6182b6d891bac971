"""Context modules against their formulas, written plainly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.errors import UserError
from methods import registry
from methods.contexts.ann import PyramidSamples
from methods.contexts.attention import attend
from methods.contexts.ccnet import CrissCross
from methods.contexts.dnl import DisentangledBlock
from methods.contexts.ocr import gather_regions
from methods.idrnet.table5 import TokenIDRNet
from methods.layers import BatchNorm
from methods.segmentor import IGNORE, Backbone, GivenFeatures

CONTEXTS = [name for name in registry.names("context") if "/" not in name]
RECONSTRUCTIONS = [name for name in registry.names("context") if name.startswith("idrnet_table5/")]


def build(name, in_channels, **options):
    known = registry.find(name, "context").options or {}
    classes = {"num_classes": 5} if "num_classes" in known else {}
    return registry.build(name, in_channels, kind="context", **classes, **options)


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.parametrize("sides", [(12, 9), (1, 1)])
def test_contexts_map_features_to_their_channels(name, sides):
    module = build(name, [16, 24], channels=8).eval()
    features = [torch.randn(2, c, *sides) for c in (16, 24)]
    assert module.channels == 8
    assert module(features).shape == (2, 8, *sides)


@pytest.mark.parametrize("name", [n for n in CONTEXTS if n != "ann"])
def test_contexts_take_a_single_map(name):
    assert build(name, [16], channels=8).eval()([torch.randn(1, 16, 7, 5)]).shape == (1, 8, 7, 5)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_reconstructions_of_table_5_run(name):
    options = {"faked": 12, "channels": 8} if name.endswith("/ann") else {"width": 8}
    module = build(name, [16], **options).eval()
    out = module([torch.randn(2, 16, 9, 7)])
    assert out.shape == (2, module.channels, 9, 7)
    assert out.isfinite().all()


def test_unknown_choices_name_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'aspp'"):
        build("uper", [8, 8], context="asp")
    with pytest.raises(UserError, match="Did you mean 'linear'"):
        build("ocr", [8], coarse="linea")
    with pytest.raises(UserError, match="gives only one"):
        build("ann", [8])


@pytest.mark.parametrize("scale", [None, 0.7])
def test_attend_is_softmax_attention(scale):
    q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6), torch.randn(2, 7, 6)
    weights = torch.einsum("bthw,btm->bhwm", q, k) * (3**-0.5 if scale is None else scale)
    expected = torch.einsum("bhwm,bvm->bvhw", weights.softmax(3), v)
    torch.testing.assert_close(attend(q, k, v, scale=scale), expected)


def test_criss_cross_looks_along_one_row_and_one_column():
    """Huang et al. 2019, Eq. 1 and 2, one pixel at a time; the pixel itself counts once."""
    torch.manual_seed(0)
    module = CrissCross(16).double()
    nn.init.constant_(module.gamma, 0.7)
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    query, key, value = module.query(x), module.key(x), module.value(x)
    out = module(x)
    for i in range(4):
        for j in range(6):
            path = [(g, j) for g in range(4)] + [(i, u) for u in range(6) if u != j]
            keys = torch.stack([key[:, :, a, b] for a, b in path], dim=1)
            values = torch.stack([value[:, :, a, b] for a, b in path], dim=1)
            weights = torch.einsum("bpc,bc->bp", keys, query[:, :, i, j]).softmax(1)
            expected = x[:, :, i, j] + 0.7 * torch.einsum("bp,bpc->bc", weights, values)
            torch.testing.assert_close(out[:, :, i, j], expected)


def test_whitening_makes_the_pairwise_term_blind_to_a_common_shift():
    """Yin et al. 2020: a constant added to every query or key changes nothing; without whitening it would."""
    module = DisentangledBlock(8).double().eval()
    x = torch.randn(1, 8, 5, 4, dtype=torch.float64)
    before = module(x)
    with torch.no_grad():
        module.query.bias += 3.0
        module.key.bias -= 2.0
    torch.testing.assert_close(module(x), before)
    with torch.no_grad():
        module.query.weight *= 2.0
    assert not torch.allclose(module(x), before)


def test_pyramid_samples_are_110_cells():
    x = torch.randn(2, 3, 24, 24)
    samples = PyramidSamples()(x)
    assert samples.shape == (2, 3, 1 + 9 + 36 + 64)
    torch.testing.assert_close(samples[..., 0], x.mean((2, 3)))
    torch.testing.assert_close(samples[..., 1], x[..., :8, :8].mean((2, 3)))


def test_a_region_is_the_mean_of_pixels_by_class_probability():
    features, coarse = torch.randn(1, 4, 2, 3), torch.full((1, 2, 2, 3), -100.0)
    coarse[0, 0, 0, 1] = 100.0  # class 0 is this pixel alone
    coarse[0, 1] = 5.0  # class 1 is everywhere alike
    regions = gather_regions(features, coarse)
    assert regions.shape == (1, 4, 2, 1)
    torch.testing.assert_close(regions[0, :, 0, 0], features[0, :, 0, 1])
    torch.testing.assert_close(regions[0, :, 1, 0], features[0].mean((1, 2)))


def test_ocr_supervises_the_coarse_classifier_that_it_uses():
    model = registry.build("ocrnet", GivenFeatures([8, 16]), 5, channels=8, inner=4).train()
    features = [torch.randn(2, c, 6, 6) for c in (8, 16)]
    targets = torch.randint(5, (2, 12, 12))
    losses = model.losses(features, targets)
    assert set(losses) == {"main", "coarse"}
    losses["coarse"].backward()
    assert model.context.coarse.classifier[1].weight.grad.abs().sum() > 0
    assert model.context.attention.query[0][0].weight.grad is None


def test_tokens_of_table_5_look_only_at_their_image():
    """Images with different numbers of predicted classes share a batch; absent tokens are masked."""
    torch.manual_seed(3)
    module = TokenIDRNet([6], num_classes=5, width=8, inner=4).eval()
    x = torch.randn(2, 6, 8, 8)
    x[1] = 0.1 * x[1, :, :1, :1]  # a nearly uniform image: fewer classes
    classes = [module.coarse(module.reduce(x)).argmax(1)[i].unique().numel() for i in range(2)]
    assert classes[0] != classes[1]
    together = module([x])
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], module([x[i : i + 1]]), rtol=1e-4, atol=1e-5)


def test_batch_norm_of_one_value_uses_running_statistics():
    norm = BatchNorm(3).train()
    norm.running_mean.fill_(1.0)
    x = torch.tensor([3.0, 1.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), (x.flatten() - 1) / (1 + 1e-5) ** 0.5)
    assert torch.equal(norm.running_mean, torch.ones(3))
    pair = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(norm(pair), nn.BatchNorm2d(3)(pair))


def test_a_single_feature_map_has_no_auxiliary_head():
    class One(Backbone):
        channels, strides = (8,), (4,)

    model = registry.build("fcn", One(), 3, channels=4)
    assert model.auxiliary is None
    assert registry.build("fcn", GivenFeatures([8, 8]), 3, channels=4).auxiliary is not None
    assert IGNORE == 255
