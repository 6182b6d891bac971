"""Learning rates against closed forms and torch's own schedulers; parameter groups."""

import itertools
import math
import re

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from timm.optim import param_groups_layer_decay
from torch import nn

from harness.errors import UserError
from harness.recipes.common import Optimizer, Schedule
from harness.recipes.segmentation import Augmentation, Recipe
from harness.training import optim
from methods.backbones import build_backbone
from tests.support import tiny_training

lengths = st.integers(1, 300)
powers = st.floats(0.1, 3)


def rates(schedule: Schedule, iterations: int) -> list[float]:
    return [optim.learning_rate_factor(schedule, t, iterations) for t in range(iterations)]


@given(iterations=lengths, power=powers)
def test_poly_is_torchs(iterations, power):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=iterations, power=power)
    for factor in rates(Schedule(power=power), iterations):
        assert math.isclose(factor, optimizer.param_groups[0]["lr"], rel_tol=1e-9)
        optimizer.step()
        scheduler.step()


@given(iterations=lengths, power=powers, floor=st.floats(0, 1))
def test_floor(iterations, power, floor):
    """IDRNet's released schedule: (1 - t/T)^p·(lr - min_lr) + min_lr."""
    factors = rates(Schedule(power=power, floor=floor), iterations)
    assert factors[0] == pytest.approx(1.0)
    assert all(factor >= floor - 1e-12 for factor in factors)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(factors))
    for t, factor in enumerate(factors):
        assert math.isclose(factor, (1 - t / iterations) ** power * (1 - floor) + floor, abs_tol=1e-12)


@given(iterations=lengths, warmup=st.integers(1, 50), ratio=st.floats(0, 1), floor=st.floats(0, 1))
def test_warmup(iterations, warmup, ratio, floor):
    """It starts at `ratio` of the rate it would have had, and is over after W iterations."""
    with_warmup = rates(Schedule(floor=floor, warmup_iterations=warmup, warmup_ratio=ratio), iterations)
    without = rates(Schedule(floor=floor), iterations)
    assert math.isclose(with_warmup[0], ratio * without[0], abs_tol=1e-12)
    assert with_warmup[warmup:] == without[warmup:]
    shares = [a / b for a, b in zip(with_warmup[:warmup], without[:warmup])]
    steps = [b - a for a, b in itertools.pairwise(shares)]
    assert all(math.isclose(step, (1 - ratio) / warmup, abs_tol=1e-9) for step in steps)


@given(iterations=lengths, power=powers, warmup=st.integers(1, 50), ratio=st.floats(1e-6, 1))
def test_warmup_is_torchs(iterations, power, warmup, ratio):
    """torch's linear warm-up chained with its polynomial decay."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=ratio, total_iters=warmup)
    poly = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=iterations, power=power)
    chained = torch.optim.lr_scheduler.ChainedScheduler([linear, poly])
    schedule = Schedule(power=power, warmup_iterations=warmup, warmup_ratio=ratio)
    for factor in rates(schedule, iterations):
        assert math.isclose(factor, optimizer.param_groups[0]["lr"], rel_tol=1e-9)
        optimizer.step()
        chained.step()


@given(images=st.integers(1, 1000), batch=st.integers(1, 64), epochs=st.integers(1, 9))
def test_epochs_are_whole_batches(images, batch, epochs):
    common = {"dataset": "camvid", "augmentation": Augmentation(resize=None, crop=(8, 8)), "batch_size": batch}
    whole_batches = len(range(0, images - batch + 1, batch))
    expected = epochs * max(1, whole_batches)
    assert Recipe(epochs=epochs, **common).total_iterations(images) == expected
    assert Recipe(iterations=expected, **common).total_iterations(images) == expected


@pytest.mark.parametrize("given", [{}, {"epochs": 2, "iterations": 3}])
def test_a_length_is_said_once(given):
    with pytest.raises(ValidationError, match="say either 'epochs' or 'iterations'"):
        Recipe(dataset="camvid", augmentation=Augmentation(resize=None, crop=(8, 8)), **given)


def model() -> nn.Module:
    return tiny_training.TinySegmentor()


def test_multipliers_scale_the_rate_of_a_group():
    optimizer = optim.build_optimizer(model(), Optimizer(lr=0.1, multipliers={"head": 10.0}))
    optim.set_learning_rate(optimizer, 0.5)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {"backbone": 0.05, "head": 0.5}


def test_unknown_group_is_named_with_the_valid_ones():
    with pytest.raises(UserError, match=r"'haed'.*Did you mean 'head'.*backbone, head"):
        optim.build_optimizer(model(), Optimizer(multipliers={"haed": 10.0}))


def test_norms_and_biases_without_decay():
    segmentor = model()
    segmentor.head.append(nn.LayerNorm((4, 4)))  # a norm whose weight is a matrix
    segmentor.head.absolute_pos_embed = nn.Parameter(torch.zeros(1, 4, 4))
    recipe = Optimizer(name="adamw", weight_decay=0.05, decay_norm_and_bias=False)
    optimizer = optim.build_optimizer(segmentor, recipe)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in segmentor.named_parameters() if id(parameter) in decayed}
    assert names == {"backbone.body.0.weight", "head.1.weight"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(segmentor.parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05, 0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "timms"),
    [
        ("resnet50", "resnet50c"),
        ("swin_large", "swin_large_patch4_window12_384"),
        ("timm/convnext_atto", "convnext_atto"),
    ],
)
def test_layer_decay_and_exemptions_are_timms(name, timms):
    """Rates and weight decay of every parameter of a backbone; in timm's model the classifier is the layer after it."""
    with torch.device("meta"):
        segmentor = tiny_training.TinySegmentor()
        segmentor.backbone = build_backbone(name)
        whole = timm.create_model(timms)
    recipe = Optimizer(name="adamw", lr=1.0, layer_decay=0.8, weight_decay=0.05, decay_norm_and_bias=False)
    groups = list(optim.parameter_groups(segmentor, recipe))
    of = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    named = segmentor.backbone.body.named_parameters()
    ours = {re.sub(r"^([a-z]+)_(\d+)", r"\1.\2", name): of[id(p)] for name, p in named}
    exempt = whole.no_weight_decay() if hasattr(whole, "no_weight_decay") else ()
    names = {id(p): name for name, p in whole.named_parameters()}
    theirs = {}
    for group in param_groups_layer_decay(whole, weight_decay=0.05, no_weight_decay_list=exempt, layer_decay=0.8):
        theirs |= {names[id(p)]: (group["lr_scale"], group["weight_decay"]) for p in group["params"]}
    assert ours == {n: pytest.approx(theirs[n]) for n in ours}
    assert len({rate for rate, _ in ours.values()}) > 10
    assert {of[id(p)][0] for p in segmentor.head.parameters()} == {1.0}


def test_position_parameters_take_no_decay_and_matrices_do():
    with torch.device("meta"):
        segmentor = tiny_training.TinySegmentor()
        segmentor.backbone = build_backbone("timm/swin_tiny_patch4_window7_224")
        segmentor.backbone.absolute_pos_embed = nn.Parameter(torch.zeros(1, 4, 4))
    groups = optim.parameter_groups(segmentor, Optimizer(weight_decay=0.05, decay_norm_and_bias=False))
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name: id(parameter) in decayed for name, parameter in segmentor.named_parameters()}
    tables = [name for name in names if "relative_position_bias_table" in name]
    assert len(tables) == 12
    assert not any(names[name] for name in [*tables, "backbone.absolute_pos_embed"])
    assert all(decays for name, decays in names.items() if name.endswith(("qkv.weight", "fc1.weight")))


def test_a_parameter_left_out_by_a_method_is_a_bug():
    segmentor = model()
    segmentor.parameter_groups = lambda: {"head": list(segmentor.head.parameters())}
    with pytest.raises(AssertionError, match="every trainable parameter"):
        optim.build_optimizer(segmentor, Optimizer())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_step_is_torchs(name, fused):
    """Bit for bit; fused up to rounding."""
    torch.manual_seed(0)
    ours, theirs = model(), model()
    theirs.load_state_dict(ours.state_dict())
    recipe = Optimizer(name=name, lr=0.1, momentum=0.8, betas=(0.8, 0.9), weight_decay=0.01, fused=fused)
    optimizer = optim.build_optimizer(ours, recipe)
    reference = (
        torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.8, weight_decay=0.01)
        if name == "sgd"
        else torch.optim.AdamW(theirs.parameters(), 0.1, betas=(0.8, 0.9), weight_decay=0.01)
    )
    for segmentor, stepper in ((ours, optimizer), (theirs, reference)):
        for parameter in segmentor.parameters():
            parameter.grad = torch.ones_like(parameter)
        stepper.step()
        stepper.step()
    assert all(group["fused"] == fused for group in optimizer.param_groups)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7) if fused else torch.equal(a, b)
