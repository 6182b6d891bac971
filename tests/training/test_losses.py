"""Losses against their definitions, written out pixel by pixel, and against torch's and mmsegmentation's."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.recipe import Loss
from harness.training import losses
from methods.segmentor import IGNORE, cross_entropy_sum, pixel_loss

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
