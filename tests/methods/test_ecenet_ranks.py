"""Losses that count images and masks: two processes with half of a batch each have those of one with all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.training import distributed
from methods import registry
from methods.segmentor import IGNORE, GivenFeatures
from tests.support.ranks import run_ranks

pytestmark = pytest.mark.slow  # several processes

METHODS = ("ecenet", "segvit")
CLASSES, RANKS, PER_RANK = 4, 2, 2


def gradients_and_losses(name: str, first: int, last: int) -> dict[str, torch.Tensor]:
    """Of images first..last, in float64; the second image has no label, the last has all classes, others one or two."""
    torch.manual_seed(0)
    model = registry.build(name, GivenFeatures((6, 8)), CLASSES, channels=8).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout | nn.Dropout2d):
            module.eval()
    torch.manual_seed(1)
    features = [torch.randn(4, c, s, s, dtype=torch.float64) for c, s in ((6, 8), (8, 4))]
    targets = torch.zeros(4, 16, 16, dtype=torch.int64)
    targets[1] = IGNORE
    targets[2, :3] = 2
    targets[3] = torch.arange(16) % CLASSES
    losses = model.losses([x[first:last] for x in features], targets[first:last])
    sum(losses.values()).backward()
    found = {f"loss {name}": loss.detach() for name, loss in losses.items()}
    return found | {name: p.grad for name, p in model.named_parameters()}


def rank_main(folder: Path) -> None:
    with distributed.process_group("cpu") as me:
        part = (me.rank * PER_RANK, (me.rank + 1) * PER_RANK)
        torch.save({name: gradients_and_losses(name, *part) for name in METHODS}, folder / f"{me.rank}.pt")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(rank_main, RANKS, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("name", METHODS)
def test_averages_over_ranks_are_those_of_the_whole_batch(parts, name):
    whole = gradients_and_losses(name, 0, RANKS * PER_RANK)
    assert whole.keys() == parts[0][name].keys()
    for key, expected in whole.items():
        average = sum(part[name][key] for part in parts) / RANKS
        torch.testing.assert_close(average, expected, rtol=1e-6, atol=1e-8, msg=key)
