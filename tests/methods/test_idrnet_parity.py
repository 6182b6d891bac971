"""IDRNet's head against the released code, whose outputs for two variants are in tests/fixtures/idrnet_head.pt."""

from __future__ import annotations

import pytest
import torch

from harness import ROOT
from methods import registry
from methods.released.sssegmentation.idrnet import from_released, translate
from methods.segmentor import IGNORE, GivenFeatures

FIXTURE = torch.load(ROOT / "tests/fixtures/idrnet_head.pt", weights_only=True)
VARIANTS = {"fcn": "none", "ppm": "ppm"}
STATE = ["class_relations_mean", "class_relations_var", "selected_classes_counter", "dl_cls_representations"]


def close(actual: torch.Tensor, expected: torch.Tensor, name: str = "") -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9, msg=lambda m: f"{name}: {m}")


def build(variant: str) -> torch.nn.Module:
    settings = FIXTURE["variants"][variant]["head"]
    torch.set_num_threads(1)
    model = registry.build(
        "idrnet",
        GivenFeatures(FIXTURE["in_channels"]),
        FIXTURE["K"],
        context=VARIANTS[variant],
        channels=settings["feats_channels"],
        attention_channels=settings["refine_idcontext_channels"],
        dropout=settings["dropout"],
        auxiliary_weight=0.0,
        reduction="exact",  # the fixture is of one process
    ).double()
    state, left = from_released(FIXTURE["variants"][variant]["state_dict"])
    assert left == []
    model.load_state_dict(state)
    return model


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


def step(variant: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    case = FIXTURE["variants"][variant]
    model = build(variant).train()
    model.head.sample = lambda present, counts: torch.tensor(case["deleted"])
    targets = torch.where(case["targets"] == FIXTURE["ignore"], IGNORE, case["targets"])
    losses = model.losses(case["feats"], targets)
    sum(losses.values()).backward()
    return model, losses


def test_eval_logits(variant):
    case = FIXTURE["variants"][variant]
    with torch.no_grad():
        close(build(variant).eval()(case["feats"]), case["eval_logits"])


def test_losses(variant):
    _, losses = step(variant)
    expected = FIXTURE["variants"][variant]["losses"]
    assert losses["stage1"].item() == pytest.approx(expected["loss_cls_stage1"], abs=1e-9)
    assert losses["main"].item() == pytest.approx(expected["loss_cls_stage2"], abs=1e-9)
    assert set(losses) == {"main", "stage1"}


def test_gradients(variant):
    model, _ = step(variant)
    parameters = dict(model.named_parameters())
    expected = FIXTURE["variants"][variant]["grads"]
    assert {translate(name) for name in expected} == set(parameters)
    for name, gradient in expected.items():
        close(parameters[translate(name)].grad, gradient, name)


def test_state_after_a_step(variant):
    """Relation matrices, counter, class memory and norm statistics (the pass with a deleted class moves those twice)."""
    model, _ = step(variant)
    ours = model.state_dict()
    expected = FIXTURE["variants"][variant]["after"]
    before = FIXTURE["variants"][variant]["state_dict"]
    assert all(not torch.equal(expected[name], before[name]) for name in STATE)
    for name, value in expected.items():
        close(ours[translate(name)], value, name)


def test_deletion_weights(variant):
    """The released candidates and probabilities, image after image, are those of the balanced draw."""
    case = FIXTURE["variants"][variant]
    counts = case["state_dict"]["selected_classes_counter"].clone()
    model = build(variant).train()
    present = model.head.encode(case["feats"]).assignment.present_BK
    for image, (candidates, probabilities, chosen) in enumerate(case["choices"]):
        assert present[image].nonzero().flatten().tolist() == candidates
        rates = 1 / counts[candidates]
        close(rates / rates.sum(), torch.tensor(probabilities, dtype=torch.float64))
        counts[chosen] += 1
