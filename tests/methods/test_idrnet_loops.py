"""IDRNet's head against the paper's equations written as loops over images and classes, from a random state."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from methods import registry
from methods.segmentor import IGNORE, GivenFeatures
from tests.support import idrnet_loops

K = 7
CASES = {
    "fcn": {},
    "ppm": {"context": "ppm", "coarse_attention": "after", "stage1_from": "features"},
    "aspp": {"context": "aspp", "coarse_attention": "before", "dilations": (1, 2)},
    "uper": {"context": "uper", "coarse_attention": "after", "fpn_channels": 10},
    "uper_aspp": {"context": "uper", "uper_top": "aspp", "dilations": (1, 2), "fpn_channels": 10},
}


def shake(head: torch.nn.Module) -> None:
    """Random state instead of the identity and zeros; norms with weights that are not one."""
    for matrix in head.relations.matrices().values():
        matrix.copy_(torch.randn(K, K))
    head.memory.copy_(torch.randn_like(head.memory))
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)


def close(actual, expected, name=""):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11, msg=lambda m: f"{name}: {m}")


@pytest.fixture(params=CASES)
def heads(request):
    torch.set_num_threads(1)
    torch.manual_seed(3)
    small = {"channels": 8, "attention_channels": 6, "dropout": 0.0, "reduction": "exact"}
    head = registry.build("idrnet", GivenFeatures((3, 4, 5, 9)), K, **small, **CASES[request.param]).double().head
    shake(head)
    return head, copy.deepcopy(head)


@pytest.fixture
def features():
    sizes = ((3, 12, 14), (4, 6, 7), (5, 6, 7), (9, 6, 7))
    return [torch.randn(3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]


@pytest.fixture
def targets():
    coarse = torch.randint(0, K, (3, 1, 4, 5)).float()
    targets = F.interpolate(coarse, size=(50, 59)).long().squeeze(1)
    targets[:, :5] = IGNORE
    targets[0, -1, -1] = K - 1
    return targets


def test_eval_logits(heads, features):
    ours, plain = (head.eval() for head in heads)
    close(ours(features), idrnet_loops.logits(plain, features))


@pytest.mark.slow
def test_training_step(heads, features, targets):
    """Losses, gradients of weights and inputs, and every state after two steps."""
    ours, plain = heads
    with torch.no_grad():
        deleted = plain.encode(features).assignment.present_BK.float().argmax(dim=1)
        deleted[2] = deleted[1]  # two images that delete the same class: the order of the updates shows
    ours.sample = lambda present, counts: deleted
    plain.load_state_dict(ours.state_dict())
    for _ in range(2):
        losses = ours.losses(features, targets)
        expected = idrnet_loops.losses(plain, features, targets, deleted.tolist())
        for name in losses:
            close(losses[name], expected[name], name)
    inputs = [features[-1]] if ours.pyramid is None else features
    gradients = torch.autograd.grad(sum(losses.values()), [*ours.parameters(), *inputs])
    wanted = torch.autograd.grad(sum(expected.values()), [*plain.parameters(), *inputs])
    names = [name for name, _ in ours.named_parameters()] + ["features"] * len(inputs)
    for name, gradient, reference in zip(names, gradients, wanted):
        close(gradient, reference, name)
    skipped = ("deletion_counts", "row_updates")  # kept by the draw, which is fixed here
    state, reference = ours.state_dict(), plain.state_dict()
    for name in state:
        if name not in skipped:
            close(state[name], reference[name], name)
    assert int(ours.row_updates.sum()) == 6


def test_loops_draw_among_the_classes_present():
    torch.manual_seed(0)
    head = registry.build("idrnet", GivenFeatures((4,)), K, channels=4).head
    labels = torch.tensor([[[1, 2], [2, 5]], [[3, 3], [3, 3]]])
    drawn = idrnet_loops.draw(head, labels)
    assert drawn[0] in (1, 2, 5)
    assert drawn[1] == 3
    assert float(head.deletion_counts.sum()) == pytest.approx(2, abs=1e-4)
