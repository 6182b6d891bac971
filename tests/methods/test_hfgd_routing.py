"""HFGM's stop-gradients, tensor by tensor: what each loss trains in each mode, on every decoder of Table 8."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods import registry
from methods.layers import conv_bn_relu
from methods.segmentor import Backbone

K = 5
DECODERS = {
    "sfpn": {"decoder": "sfpn", "encoding": "cae"},
    "usfpn": {"decoder": "usfpn", "encoding": "cae"},
    "usfpn_os2": {"decoder": "usfpn", "stride": 2, "encoding": "cae"},
    "fapn": {"decoder": "fapn", "encoding": "identity"},
    "upernet": {"decoder": "upernet", "encoding": "ppm"},
    "deeplabv3plus": {"decoder": "deeplabv3plus", "encoding": "aspp"},
}
TEACHER = ("backbone", "encoding", "projection")
STUDENT = ("decoder", "axial")
TOKENS = ("classifier",)


class Pyramid(Backbone):
    """images [B, 3, H, W] -> four maps at strides 4, 8, 16, 32"""

    channels = (4, 6, 8, 10)
    strides = (4, 8, 16, 32)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.stages = nn.ModuleList(conv_bn_relu(a, b, 3) for a, b in zip((4, *self.channels), self.channels))

    def forward(self, images):
        x, features = self.stem(images), []
        for i, stage in enumerate(self.stages):
            x = stage(x[..., ::2, ::2] if i else x)
            features.append(x)
        return features


def build(options, **more):
    torch.manual_seed(0)
    sizes = {"channels": 8, "inner": 8, "wide": 12, "attention_channels": 4}
    return registry.build("hfgd", Pyramid(), K, **sizes, **options, **more).train()


def reached(model, term):
    """Names of the parameters that a loss moves, and those whose gradient exists but is zero throughout."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    images, targets = torch.randn(2, 3, 65, 97), torch.randint(K, (2, 65, 97))
    model.losses(images, targets)[term].backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


def of(model, *parts):
    return {name for name, _ in model.named_parameters() if name.partition(".")[0] in parts}


def may_be_zero(name):
    """Parameters whose gradient is zero by construction at the start: biases before a normalisation cancel, and offsets
    of value zero let nothing through to what makes them."""
    return ".join." in name or name.endswith("regularised.linear.bias")


def assert_trains(model, term, expected, *, never=frozenset()):
    trained = reached(model, term)
    assert trained <= expected, sorted(trained - expected)
    missing = {name for name in expected - trained if not may_be_zero(name)}
    assert not missing, sorted(missing)
    assert not trained & never


@pytest.mark.parametrize("mode", ["guidance", "full"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_student_trains_the_upsampler_alone(decoder, mode):
    model = build(DECODERS[decoder], hfgm=mode)
    assert_trains(model, "main", of(model, *STUDENT), never=of(model, *TEACHER, *TOKENS))


@pytest.mark.parametrize("mode", ["guidance", "full"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_teacher_trains_backbone_encoding_and_tokens(decoder, mode):
    model = build(DECODERS[decoder], hfgm=mode)
    assert_trains(model, "teacher", of(model, *TEACHER, *TOKENS), never=of(model, *STUDENT))


@pytest.mark.parametrize("term", ["car_intra", "car_centres", "car_pixels"])
@pytest.mark.parametrize("mode", ["none", "full"])
def test_car_regularises_what_comes_before_its_linear_layer(mode, term):
    model = build(DECODERS["usfpn"], hfgm=mode)
    before = of(model, "backbone") | {name for name in of(model, "encoding") if not name.startswith("encoding.tail")}
    trained = reached(model, term)
    assert trained <= before
    assert of(model, "backbone") <= trained


@pytest.mark.parametrize("mode", ["none", "aa"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_without_guidance_there_is_one_loss_and_it_trains_everything(decoder, mode):
    model = build(DECODERS[decoder], hfgm=mode, car_weight=0.0)
    assert_trains(model, "main", {name for name, _ in model.named_parameters()})
    losses = model.losses(torch.randn(2, 3, 64, 64), torch.randint(K, (2, 64, 64)))
    assert "teacher" not in losses


@pytest.mark.parametrize("mode", ["guidance", "full"])
def test_without_stop_gradients_the_student_trains_everything_too(mode):
    model = build(DECODERS["usfpn"], hfgm=mode, stop_gradients=False)
    assert_trains(model, "main", {name for name, _ in model.named_parameters()})
    assert_trains(model, "teacher", of(model, *TEACHER, *TOKENS))


def test_stop_gradients_change_no_loss():
    """They change what is learned from it."""
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(K, (2, 64, 64))
    stopped = build(DECODERS["usfpn"]).losses(images, targets)
    joint = build(DECODERS["usfpn"], stop_gradients=False).losses(images, targets)
    for name, loss in stopped.items():
        torch.testing.assert_close(joint[name], loss)


def test_teacher_and_student_have_the_same_tokens():
    """The teacher's logits at its own resolution are the classifier's of the high-level map, the student's of the decoder's."""
    model = build(DECODERS["sfpn"], hfgm="guidance").eval()
    seen = []
    model.criterion = lambda logits, targets: seen.append(logits) or logits.sum() * 0
    images, targets = torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long)
    model.losses(images, targets)
    teacher, student = seen
    assert teacher.shape[-2:] == (2, 2)
    torch.testing.assert_close(student, model(images))
    features = model.backbone(images)
    torch.testing.assert_close(teacher, model.classifier(model.projection(model.encoding(features[-1]))))


def test_nothing_of_the_teacher_runs_at_test_time():
    """One classification, of the student's map; no label is resized and no centre taken."""
    model = build(DECODERS["usfpn"]).eval()
    calls = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 64, 64))
    assert calls.count("classifier") == 1
    assert calls[-2] == "classifier"  # the last is the model itself
    assert logits.shape[-2:] == (16, 16)


@pytest.mark.parametrize("isolated", [False, True])
def test_the_auxiliary_fcn_of_the_study(isolated):
    """Sec. 5.1: with SemanticFPN beside it; the FCN's gradient reaches the backbone or not."""
    torch.manual_seed(0)
    model = registry.build("hfgd_auxiliary_fcn", Pyramid(), K, channels=8, inner=8, isolated=isolated).train()
    fcn = of(model, "head", "classifier")
    assert_trains(model, "main", fcn if isolated else fcn | of(model, "backbone"))
    assert_trains(model, "decoder", of(model, "backbone", "auxiliary"))
    with_decoder = sum(p.numel() for p in model.parameters())
    expected = model.eval()(images := torch.randn(1, 3, 64, 64))
    model.auxiliary = None
    assert torch.equal(model(images), expected)
    assert sum(p.numel() for p in model.parameters()) < with_decoder
