"""Losses against their definitions, written out pixel by pixel, and against torch's and mmsegmentation's."""

import math
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.recipes.segmentation import Loss
from harness.tasks.segmentation import losses
from harness.training import distributed
from methods.segmentor import IGNORE, cross_entropy_sum, pixel_loss
from tests.support.ranks import run_ranks

CLASSES = 4
ALL = [
    Loss(),
    Loss(mean="all"),
    Loss(class_weights=(1.0, 2.0, 0.5, 1.0)),
    Loss(name="ohem"),
    Loss(name="focal"),
    Loss(name="dice"),
    Loss(name="lovasz"),
    Loss(name="dice", pixel_weight=0),
    Loss(name="lovasz", pixel_weight=0),
]
names = [f"{loss.name}-{loss.mean}-{loss.pixel_weight}-{loss.class_weights is None}" for loss in ALL]


def case(seed: int, batch: int = 2, side: int = 6, ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, CLASSES, side, side, generator=draw, dtype=torch.float64)
    targets = torch.randint(0, CLASSES, (batch, side, side), generator=draw)
    targets[torch.rand(targets.shape, generator=draw) < ignored] = IGNORE
    return logits, targets


def pixels(logits, targets):
    """Every valid pixel's logits and class."""
    return [
        (logits[b, :, y, x], int(targets[b, y, x]))
        for b in range(targets.shape[0])
        for y in range(targets.shape[1])
        for x in range(targets.shape[2])
        if targets[b, y, x] != IGNORE
    ]


@given(st.integers(0, 10**6))
def test_default_is_the_methods_own(seed):
    logits, targets = case(seed)
    assert torch.equal(
        losses.build_loss(Loss(), CLASSES)(logits[..., ::2, ::2], targets), pixel_loss(logits[..., ::2, ::2], targets)
    )
    assert losses.cross_entropy(logits, targets).item() == pytest.approx(
        F.cross_entropy(logits, targets, ignore_index=IGNORE).item(), rel=1e-5
    )


@given(st.integers(0, 10**6))
def test_mean_over_all_pixels(seed):
    """Ignored pixels add nothing and count: the loss over the valid ones scaled by their share."""
    logits, targets = case(seed)
    share = (targets != IGNORE).float().mean()
    torch.testing.assert_close(
        losses.cross_entropy(logits, targets, mean="all"), losses.cross_entropy(logits, targets) * share
    )


def test_class_weights():
    logits, targets = case(0)
    weights = (1.0, 2.0, 0.0, 0.5)
    seen = pixels(logits, targets)
    expected = sum(weights[k] * -math.log(z.softmax(0)[k]) for z, k in seen) / len(seen)
    assert losses.cross_entropy(logits, targets, class_weights=weights).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.floats(0.01, 1))
def test_ohem(seed, threshold, keep):
    logits, targets = case(seed, ignored=0.1)
    each = sorted((-math.log(z.softmax(0)[k]) for z, k in pixels(logits, targets)), reverse=True)
    at_least = max(1, int(keep * len(each)))
    hard = max(sum(loss >= -math.log(threshold) for loss in each), at_least)
    expected = sum(each[:hard]) / hard
    assert losses.ohem(logits, targets, threshold=threshold, keep=keep).item() == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 4))
def test_focal(seed, alpha, gamma):
    logits, targets = case(seed)
    seen, expected = pixels(logits, targets), 0.0
    for z, k in seen:
        for j in range(CLASSES):
            p = torch.sigmoid(z[j]).item()
            p_true, weight = (p, alpha) if j == k else (1 - p, 1 - alpha)
            expected -= weight * (1 - p_true) ** gamma * math.log(p_true)
    value = losses.focal(logits, targets, alpha=alpha, gamma=gamma).item()
    assert value == pytest.approx(expected / max(len(seen), 1), rel=1e-3, abs=1e-6)


def test_dice():
    logits, targets = case(1)
    terms = []
    for b in range(2):
        seen = pixels(logits[b : b + 1], targets[b : b + 1])
        for k in {k for _, k in seen}:
            p = [z.softmax(0)[k].item() for z, _ in seen]
            t = [float(label == k) for _, label in seen]
            overlap = 2 * sum(a * c for a, c in zip(p, t)) + 1
            terms.append(1 - overlap / (sum(p) + sum(t) + 1))
    assert losses.dice(logits, targets).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_lovasz_of_hard_predictions_is_the_jaccard_loss(seed):
    """On the corners of the cube the extension equals the set function: 1 - IoU, mean over classes present."""
    _, targets = case(seed)
    guess, _ = case(seed + 1)
    predicted = guess.argmax(1)
    hard = F.one_hot(predicted, CLASSES).movedim(-1, 1) * 200.0
    valid = targets != IGNORE
    ious = []
    for k in targets[valid].unique():
        both = ((predicted == k) & (targets == k) & valid).sum()
        either = (((predicted == k) | (targets == k)) & valid).sum()
        ious.append((both / either).item())
    expected = 1 - sum(ious) / len(ious)
    assert losses.lovasz_softmax(hard, targets).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss", ALL, ids=names)
def test_perfect_predictions_cost_nothing_and_ignored_pixels_have_no_gradient(loss):
    logits, targets = case(2)
    criterion = losses.build_loss(loss, CLASSES)
    truth = F.one_hot(targets.where(targets != IGNORE, 0), CLASSES).movedim(-1, 1)
    assert criterion((truth * 2.0 - 1) * 100, targets).item() == pytest.approx(0, abs=1e-4)
    logits.requires_grad_()
    criterion(logits, targets).backward()
    assert (logits.grad.movedim(1, -1)[targets == IGNORE] == 0).all()
    assert (logits.grad.movedim(1, -1)[targets != IGNORE] != 0).any()


@pytest.mark.parametrize("loss", ALL, ids=names)
def test_nothing_valid_is_zero_with_a_gradient(loss):
    logits, targets = case(3, ignored=2.0)
    logits.requires_grad_()
    value = losses.build_loss(loss, CLASSES)(logits, targets)
    assert value.item() == 0
    value.backward()
    assert (logits.grad == 0).all()


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ValueError, match=r"'cross_entropy', 'ohem', 'focal', 'dice' or 'lovasz'"):
        Loss(name="hinge")
    with pytest.raises(UserError, match="2 weights for 4 classes"):
        losses.build_loss(Loss(class_weights=(1.0, 2.0)), CLASSES)


@pytest.mark.parametrize("mean", ["valid", "all"])
def test_cross_entropy_is_mmsegmentations(mean):
    released = pytest.importorskip("mmseg.models.losses.cross_entropy_loss")
    logits, targets = case(5)
    expected = released.cross_entropy(logits, targets, ignore_index=IGNORE, avg_non_ignore=mean == "valid")
    value = losses.cross_entropy(logits, targets, mean=mean).item()
    assert value == pytest.approx(expected.item(), rel=1e-8)  # theirs adds 1e-7 to the number of pixels


def test_ohem_chooses_the_pixels_that_mmsegmentation_chooses():
    released = pytest.importorskip("mmseg.structures.sampler.ohem_pixel_sampler")
    logits, targets = case(6)
    valid = (targets != IGNORE).sum().item()
    for kept, threshold in ((5, 0.1), (20, 0.1), (5, 0.6)):
        sampler = released.OHEMPixelSampler(types.SimpleNamespace(ignore_index=IGNORE), threshold, min_kept=kept)
        chosen = sampler.sample(logits, targets[:, None])
        each = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
        expected = (each * chosen).sum() / chosen.sum()
        value = losses.ohem(logits, targets, threshold=threshold, keep=(2 * kept + 0.5) / valid)  # theirs is per image
        assert value.item() == pytest.approx(expected.item(), rel=1e-9)


def test_focal_is_mmsegmentations():
    """Where nothing is ignored; theirs is the mean over classes too, ours their sum."""
    released = pytest.importorskip("mmseg.models.losses.focal_loss")
    logits, targets = case(7, ignored=0.0)
    rows, truth = logits.movedim(1, -1).flatten(0, 2), F.one_hot(targets.flatten(), CLASSES)
    expected = released.py_sigmoid_focal_loss(rows, truth, gamma=1.5, alpha=0.3) * CLASSES
    assert losses.focal(logits, targets, alpha=0.3, gamma=1.5).item() == pytest.approx(expected.item(), rel=1e-9)


def test_lovasz_is_mmsegmentations():
    released = pytest.importorskip("mmseg.models.losses.lovasz_loss")
    logits, targets = case(4)
    theirs = released.LovaszLoss(loss_type="multi_class", classes="present", reduction="none")
    expected = theirs(logits.float(), targets, ignore_index=IGNORE).item()
    assert losses.lovasz_softmax(logits, targets).item() == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 10**6), st.sampled_from([torch.float64, torch.float32, torch.float16]), st.booleans())
def test_image_by_image_has_the_gradient_of_the_whole_batch(seed, dtype, weighted):
    """Resized to twice the size, with the gradient scaled afterwards as a loss scaler does."""
    logits, targets = case(seed, side=8)
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0]) if weighted else None
    ours = logits[..., ::2, ::2].to(dtype).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    value = cross_entropy_sum(ours, targets, None if weights is None else weights.to(wide))
    resized = F.interpolate(theirs, size=targets.shape[-2:], mode="bilinear", align_corners=False)
    expected = F.cross_entropy(
        resized, targets, weight=None if weights is None else weights.double(), ignore_index=IGNORE, reduction="sum"
    )
    (3 * value).backward()
    (3 * expected).backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    assert ours.grad.dtype == dtype
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2}[dtype]
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["cross_entropy", "ohem", "focal", "dice", "lovasz"])
def test_aligned_corners_are_a_resize_before_the_loss(name):
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 4, 5, 7, requires_grad=True), torch.randint(0, 4, (2, 17, 25))
    targets[:, :3] = IGNORE
    aligned = losses.build_loss(Loss(name=name, align_corners=True, mean="all"), 4)(logits, targets)
    (gradient,) = torch.autograd.grad(aligned, logits)
    resized = F.interpolate(logits, (17, 25), mode="bilinear", align_corners=True)
    expected = losses.build_loss(Loss(name=name, mean="all"), 4)(resized, targets)
    torch.testing.assert_close(aligned, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])
    assert not torch.isclose(losses.build_loss(Loss(name=name, mean="all"), 4)(logits, targets), aligned)


# --- several processes ------------------------------------------------------------------------------------------------


SEVERAL = [*ALL, Loss(name="focal", mean="all"), Loss(name="ohem", threshold=0.0, keep=0.3)]
PROCESSES = 2


def shared_cases() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Batches of four, of which each process gets two images, in what makes their halves unlike each other."""
    even, half, one, other = (case(seed, batch=4) for seed in range(4))
    half[1][2:] = IGNORE  # the second half has no valid pixel
    one[1][:] = IGNORE
    one[1][0, 0, 0] = 1  # the whole batch has a single one
    other[1][:2][other[1][:2] == 2] = 0  # class 2 in the second half alone
    return {"even": even, "an empty half": half, "one pixel": one, "a class of one half": other}


def outcomes(part: slice) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Value and gradient of every loss on a part of every case."""
    found = {}
    for about, (logits, targets) in shared_cases().items():
        for loss in SEVERAL:
            own = logits[part].clone().requires_grad_()
            value = losses.build_loss(loss, CLASSES)(own, targets[part])
            value.backward()
            found[f"{loss!r} {about}"] = value.detach(), own.grad
    return found


def half_of_the_batch(folder: Path) -> None:
    with distributed.process_group("cpu") as me:
        torch.save(outcomes(slice(2 * me.rank, 2 * me.rank + 2)), folder / f"{me.rank}.pt")


@pytest.mark.slow
def test_two_processes_with_half_the_batch_each_have_the_loss_of_the_whole(tmp_path):
    """The mean of their values, and the mean of their gradients, which data-parallel training takes."""
    run_ranks(half_of_the_batch, PROCESSES, tmp_path)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    whole = outcomes(slice(None))
    assert len(whole) == 4 * len(SEVERAL)
    for name, (value, gradient) in whole.items():
        values, gradients = zip(*(half[name] for half in halves))
        torch.testing.assert_close(sum(values) / PROCESSES, value, rtol=1e-9, atol=1e-9, msg=name)
        torch.testing.assert_close(torch.cat(gradients) / PROCESSES, gradient, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("mean", ["valid", "all"])
def test_shares_make_of_the_parts_the_mean_of_the_whole(mean):
    logits, targets = case(8, batch=4)
    targets[1, 1:] = IGNORE
    targets[2:] = IGNORE
    parts = targets.split(1)
    each = [losses.cross_entropy(z, t, mean=mean) for z, t in zip(logits.split(1), parts)]
    together = sum(loss * share for loss, share in zip(each, losses.part_weights(parts, mean)))
    torch.testing.assert_close(together, losses.cross_entropy(logits, targets, mean=mean), rtol=1e-6, atol=0)
    assert losses.part_weights([targets], mean) == [1.0]
    nothing = losses.part_weights([torch.full_like(targets, IGNORE)] * 2, "valid")
    assert [share.item() for share in nothing] == [0, 0]


def test_aligned_corners_keep_nothing_of_full_size():
    """HFGD's recipe: each image is resized as its loss is computed, and not the whole batch first."""
    logits = torch.randn(3, 4, 5, 7, requires_grad=True)
    targets = torch.randint(0, 4, (3, 17, 25))
    loss = losses.build_loss(Loss(align_corners=True, mean="all"), 4)(logits, targets)
    total, *_ = loss.grad_fn.next_functions[0]
    assert [x.shape for x in total.saved_tensors] == [logits.shape]
    assert total.next_functions[0][0].variable is logits
