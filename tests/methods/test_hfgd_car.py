"""CAR's losses against the authors' TensorFlow code (tests/fixtures/car_losses.npz); over processes; folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.training import distributed
from methods import registry
from methods.hfgd import car
from methods.hfgd.car import class_aware_losses, nearest_labels
from methods.hfgd.options import CHOICES
from methods.segmentor import IGNORE, GivenFeatures
from tests.support.ranks import run_ranks

FIXTURE = Path(__file__).parents[1] / "fixtures" / "car_losses.npz"
RANKS = 2


def released():
    """Features [3, 32, 17, 13], labels [3, 17, 13] (the file's 0 is ignored), and what the released code gave."""
    with np.load(FIXTURE) as file:
        arrays = {name: file[name] for name in file}
    labels = torch.from_numpy(arrays["label_NHW"]).long() - 1
    x = torch.from_numpy(arrays["x_NHWC"]).permute(0, 3, 1, 2)
    return x, labels.where(labels >= 0, IGNORE), arrays


def losses_and_gradient(x, labels, mean="all"):
    x = x.clone().requires_grad_()
    losses = class_aware_losses(x, labels, 59, mean=mean)
    (gradient,) = torch.autograd.grad(sum(losses.values()), x)
    return {name: loss.detach() for name, loss in losses.items()}, gradient


def test_losses_and_gradient_are_the_released_codes():
    x, labels, arrays = released()
    assert (labels == IGNORE).any()
    losses, gradient = losses_and_gradient(x, labels)
    for name, theirs in (("car_intra", "intra"), ("car_centres", "inter_c2c"), ("car_pixels", "inter_c2p")):
        assert float(losses[name]) == pytest.approx(float(arrays[theirs]), rel=1e-5)
    theirs = torch.from_numpy(arrays["grad_total_NHWC"]).permute(0, 3, 1, 2)
    torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


class Operators(TorchDispatchMode):
    """Counts what is dispatched."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_no_loop_runs_over_the_classes():
    """As many operators with 171 classes as with 2, forward and backward."""

    def operators(num_classes):
        x = torch.randn(1, 4, 5, 5, requires_grad=True)
        with Operators() as seen:
            sum(class_aware_losses(x, torch.arange(25).view(1, 5, 5) % num_classes, num_classes).values()).backward()
        return seen.count

    assert operators(171) == operators(2) > 0


def test_means_over_valid_pixels_leave_ignored_ones_out():
    x, labels, _ = released()
    all_ignored = torch.full_like(labels[:1], IGNORE)
    longer = torch.cat([x, torch.randn_like(x[:1])]), torch.cat([labels, all_ignored])
    alone, gradient = losses_and_gradient(x, labels, "valid")
    beside, longer_gradient = losses_and_gradient(*longer, "valid")
    for name, loss in alone.items():
        torch.testing.assert_close(beside[name], loss, msg=name)
    torch.testing.assert_close(longer_gradient[:3], gradient)
    assert not longer_gradient[3].any()
    released_mean = losses_and_gradient(*longer, "all")[0]["car_intra"]
    assert released_mean < 0.8 * losses_and_gradient(x, labels, "all")[0]["car_intra"]


@pytest.mark.parametrize("mean", CHOICES["car_mean"])
def test_without_a_label_there_is_nothing_to_regularise(mean):
    x, labels, _ = released()
    losses, gradient = losses_and_gradient(x, torch.full_like(labels, IGNORE), mean)
    assert all(loss == 0 for loss in losses.values())
    assert not gradient.any()


@pytest.mark.parametrize("num_classes", [1, 5])
def test_one_class_only_is_finite(num_classes):
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    losses = class_aware_losses(x, torch.zeros(2, 3, 3, dtype=torch.long), num_classes)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert x.grad.isfinite().all()


def test_a_features_own_scale_does_not_overflow_in_half_precision():
    """Under autocast the losses are computed in float32 all the same."""
    x, labels, _ = released()
    layer = car.Regularised(32, 59)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = layer.losses((300 * x).bfloat16(), labels)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize(
    ("full", "size"), [((65, 49), (3, 2)), ((33, 40), (9, 5)), ((12, 7), (12, 7)), ((9, 9), (1, 1))]
)
def test_labels_are_resized_with_aligned_corners(full, size):
    targets = torch.randint(9, (2, *full))
    labels = nearest_labels(targets, torch.Size(size))
    assert labels.shape == (2, *size)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (int(k * (f - 1) / max(s - 1, 1) + 0.5) for k, f, s in zip((i, j), full, size))
            assert torch.equal(labels[:, i, j], targets[:, y, x])


def rank_main(folder: Path) -> None:
    with distributed.process_group("cpu") as me:
        found = {mean: losses_and_gradient(*part(me.rank), mean) for mean in CHOICES["car_mean"]}
        torch.save(found, folder / f"{me.rank}.pt")


def part(rank):
    """Two of four images; the second rank's last is all but unlabelled, so that the ranks count differently."""
    x, labels, _ = released()
    x, labels = torch.cat([x, x[:1].flip(2)]), torch.cat([labels, labels[:1]])
    labels[3, 1:] = IGNORE
    return x[2 * rank : 2 * rank + 2], labels[2 * rank : 2 * rank + 2]


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(rank_main, RANKS, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("mean", CHOICES["car_mean"])
def test_two_processes_have_the_losses_and_gradient_of_one(by_rank, mean):
    (x0, y0), (x1, y1) = part(0), part(1)
    expected, gradient = losses_and_gradient(torch.cat([x0, x1]), torch.cat([y0, y1]), mean)
    for losses, _ in (ranks[mean] for ranks in by_rank):
        for name, loss in expected.items():
            torch.testing.assert_close(losses[name], loss, msg=name)
    # training averages the ranks' gradients of parameters, of which each has its own pixels' part
    averaged = torch.cat([ranks[mean][1] for ranks in by_rank]) / RANKS
    torch.testing.assert_close(averaged, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("encoding", ["sa_car", "cae"])
def test_folding_the_linear_layer_changes_no_logit(encoding):
    torch.manual_seed(0)
    options = {"decoder": "none", "hfgm": "none", "encoding": encoding, "inner": 16, "wide": 24, "channels": 8}
    model = registry.build("hfgd", GivenFeatures((4, 12)), 5, **options)
    features = [torch.randn(2, 4, 9, 9), torch.randn(2, 12, 9, 9)]
    model(features)  # moves the running statistics away from their start
    expected = model.eval()(features)
    before = sum(p.numel() for p in model.parameters())
    assert model.auxiliary is not None
    model.auxiliary = None
    assert model.auxiliary is None
    torch.testing.assert_close(model(features), expected, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == before - 16 * 17
