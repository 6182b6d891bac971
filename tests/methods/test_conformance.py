"""What every registered method owes the machine. A new method is proved by this suite as soon as it is registered.

The backbone is a tiny one with the pyramid of a dilated ResNet (strides 4, 8, 8, 8), so that the suite runs in seconds.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.errors import UserError
from harness.jobs.context import Context
from harness.jobs.kinds import ComplexityConfig, Model
from harness.tasks.complexity import conventions, measure
from methods import registry
from methods.layers import conv_bn_relu
from methods.segmentor import IGNORE, Backbone, pixel_loss

METHODS = [name for name in registry.names() if not registry.find(name).own_backbone]  # those are tested apart
NUM_CLASSES = 7
SMALL = {"channels": 16, "inner": 8}  # given to methods that have these options

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


class TinyPyramid(Backbone):
    """images [B, 3, H, W] -> four maps at strides 4, 8, 8, 8; sides rounded up, as in ResNets."""

    channels = (8, 16, 24, 32)
    strides = (4, 8, 8, 8)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=4, padding=3)
        self.stages = nn.ModuleList(
            conv_bn_relu(a, b, 3) for a, b in zip((self.channels[0], *self.channels), self.channels)
        )

    def forward(self, images):
        x, features = self.stem(images), []
        for i, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 3, 2, 1) if i == 1 else x)
            features.append(x)
        return features


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def build(name, *, seed=0):
    torch.manual_seed(seed)
    entry = registry.find(name)
    options = {k: v for k, v in SMALL.items() if k in (entry.options or {})}
    return registry.build(name, TinyPyramid(), NUM_CLASSES, **options)


def batch(size=(64, 48), count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *size, generator=generator)
    targets = torch.randint(NUM_CLASSES, (count, *size), generator=generator)
    targets[:, :5] = IGNORE
    return images, targets


def total(losses):
    assert losses
    assert all(loss.shape == () for loss in losses.values())
    return sum(losses.values())


def without_chance(model):
    """Training mode in which a pass depends neither on chance nor on what else is in the batch."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
            module.eval()
    return model


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (33, 97)])
def test_logits_are_a_map_of_classes(method, size):
    images, _ = batch(size)
    logits = build(method).eval()(images)
    assert logits.shape[:2] == (2, NUM_CLASSES)
    assert tuple(logits.shape[2:]) in {tuple(-(-n // stride) for n in size) for stride in (1, 2, 4, 8)}
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(64, 48), (65, 49)])
def test_gradients_reach_every_trainable_parameter(method, size):
    model = build(method).train()
    total(model.losses(*batch(size))).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_parameter_groups_hold_every_trainable_parameter_once(method):
    model = build(method)
    grouped = [id(p) for group in model.parameter_groups().values() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_ignored_pixels_do_not_count(method):
    """A second image without a single labelled pixel leaves the losses as they were."""
    images, targets = batch()
    targets[1] = IGNORE
    one = without_chance(build(method)).losses(images[:1], targets[:1])
    two = without_chance(build(method)).losses(images, targets)
    assert one.keys() == two.keys()
    for name, loss in one.items():
        torch.testing.assert_close(two[name], loss, msg=name)


@pytest.mark.parametrize("label", [IGNORE, 3])
def test_labels_of_one_kind_only(method, label):
    """Nothing labelled at all, or a single class: finite losses and gradients."""
    images, targets = batch()
    model = build(method).train()
    loss = total(model.losses(images, torch.full_like(targets, label)))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if label == IGNORE:
        assert loss == 0


def test_the_criterion_is_the_loss_of_every_head(method):
    """A recipe's loss reaches all that a method trains: three times the loss is three times every term but its own ones."""
    model = without_chance(build(method))
    own = model.own_losses
    usual = model.losses(*batch())
    assert own <= usual.keys()
    model = without_chance(build(method))
    model.criterion = lambda logits, targets: 3 * pixel_loss(logits, targets)
    losses = model.losses(*batch())
    for name, loss in losses.items():
        torch.testing.assert_close(loss, usual[name] * (1 if name in own else 3), msg=name)


def test_a_batch_of_one_trains_and_predicts(method):
    images, targets = batch((65, 49), count=1)
    model = build(method).train()
    loss = total(model.losses(images, targets))
    loss.backward()
    assert loss.isfinite()
    assert model.eval()(images).isfinite().all()


def test_training_is_a_function_of_its_seed(method):
    def step():
        model = build(method).train()
        torch.manual_seed(5)
        total(model.losses(*batch())).backward()
        return model

    first, second = step(), step()
    for (name, a), b in zip(first.named_parameters(), second.parameters()):
        if a.requires_grad:
            assert torch.equal(a.grad, b.grad), name
    for (name, a), b in zip(first.named_buffers(), second.buffers()):
        assert torch.equal(a, b), name


def test_predicting_repeats_itself_and_changes_nothing(method):
    images, _ = batch()
    model = build(method).eval()
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model(images), model(images))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(method):
    images, _ = batch()
    model = build(method).eval()
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-4, atol=1e-5)


def test_state_dict_round_trip(method):
    """After a training step, a model with other weights becomes the same by loading."""
    images, targets = batch()
    model, other = build(method).train(), build(method, seed=9)
    total(model.losses(images, targets))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(images), other.eval()(images))


def test_the_final_classifier_makes_the_logits_of_its_input(method):
    """A row of its weight per class; its output is what the model returns."""
    images, _ = batch((65, 49))
    model = build(method).eval()
    layer = model.final_classifier
    if layer is None:
        pytest.skip(f"{method} names no final classifier")
    seen = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    logits = model(images)
    handle.remove()
    ((features, output),) = seen
    assert layer.weight.shape == (NUM_CLASSES, features.shape[1], 1, 1)
    assert torch.equal(logits, output)
    bias = torch.zeros(NUM_CLASSES) if layer.bias is None else layer.bias
    by_hand = torch.einsum("kc,bchw->bkhw", layer.weight[:, :, 0, 0], features) + bias[:, None, None]
    assert (by_hand.argmax(1) == logits.argmax(1)).float().mean() > 0.999
    torch.testing.assert_close(by_hand, logits, rtol=1e-4, atol=1e-4)


def test_bfloat16_autocast(method):
    images, targets = batch()
    model = build(method).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = total(model.losses(images, targets))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model.eval()(images).isfinite().all()


@pytest.mark.parametrize("convention", sorted(conventions.COUNTERS))
def test_complexity_can_be_exported(method, convention):
    """Counted as a person would ask for it, on a real backbone; the counts of conventions differ, but not by much."""
    options = {k: v for k, v in SMALL.items() if k in (registry.find(method).options or {})}
    model = Model(name=method, options=options, num_classes=NUM_CLASSES, backbone="resnet18", output_stride=8)
    here = Path()
    config = ComplexityConfig(model=model, input=((1, 3, 64, 64),), convention=convention)
    context = Context(folder=here, cache=here, data_dir=None, device="cpu", threads=1)
    try:
        measured = measure.count(config, context)
    except UserError as error:  # a convention may refuse an operator whose count nobody has published
        if "count this model under another convention" not in str(error):
            raise
        pytest.skip(str(error))
    parameters, flops = (m.value for m in measured)
    backbone_parameters, backbone_flops = 11_176_512, 0.55e9
    assert backbone_parameters < parameters < 1.5 * backbone_parameters
    assert backbone_flops < flops < 2 * backbone_flops
