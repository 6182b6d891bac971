"""ECENet and SegViT as methods: presets, losses, what an option changes, bad input, and that they learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.errors import UserError
from methods import registry
from methods.ecenet.losses import diversity_loss, mask_losses
from methods.ecenet.options import CHOICES, DIFFERENCES
from methods.layers import conv_bn_relu, resize
from methods.segmentor import IGNORE, Backbone, GivenFeatures

METHODS = ("ecenet", "segvit")


class Pyramid(Backbone):
    """images [B, 3, H, W] -> four maps at strides 4, 8, 16, 32; sides rounded up."""

    channels = (8, 16, 24, 32)
    strides = (4, 8, 16, 32)

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.stages = nn.ModuleList(conv_bn_relu(a, b, 3) for a, b in zip((8, 8, 16, 24), self.channels))

    def forward(self, images):
        x, features = self.stem(images), []
        for stage in self.stages:
            x = stage(nn.functional.max_pool2d(x, 3, 2, 1))
            features.append(x)
        return features


def build(name="ecenet", classes=5, **options):
    torch.manual_seed(0)
    return registry.build(name, Pyramid(), classes, **{"channels": 16, **options})


def batch(size=(64, 64), count=2, classes=5):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, *size, generator=generator)
    targets = torch.randint(classes, (count, -(-size[0] // 8), -(-size[1] // 8)), generator=generator)
    targets = targets.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, : size[0], : size[1]]
    return images, targets


# --------------------------------------------------------------------------------------------------------- presets


def test_every_difference_between_the_presets_is_one_option():
    paper, release = (build(preset=preset).options for preset in CHOICES["preset"])
    for name, (in_paper, in_release) in DIFFERENCES.items():
        assert (getattr(paper, name), getattr(release, name)) == (in_paper, in_release)
        assert build(**{name: in_release}).options == build(preset="paper", **{name: in_release}).options
    same = set(vars(paper)) - set(DIFFERENCES) - {"preset"}
    assert all(getattr(paper, name) == getattr(release, name) for name in same)
    as_released = build(**{name: value for name, (_, value) in DIFFERENCES.items()})
    images, _ = batch()
    with torch.no_grad():
        torch.testing.assert_close(as_released.eval()(images), build(preset="release").eval()(images))


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_difference_changes_something_and_no_parameter(name):
    paper, other = build(), build(**{name: DIFFERENCES[name][1]})
    assert {n: p.shape for n, p in paper.named_parameters()} == {n: p.shape for n, p in other.named_parameters()} or (
        sum(p.numel() for p in paper.parameters()) == sum(p.numel() for p in other.parameters())
    )
    images, targets = batch()
    losses = [model.eval().losses(images, targets) for model in (paper, other)]
    with torch.no_grad():
        same_logits = torch.allclose(paper(images), other(images))
    if name == "supervised_masks":  # what is predicted stays
        assert same_logits
        assert not torch.isclose(losses[0]["focal"], losses[1]["focal"])
    else:
        assert not same_logits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "relase"}, "option 'preset' cannot be 'relase'.*Did you mean 'release'"),
        ({"updater": "sum"}, "option 'updater' cannot be 'sum'.*gated, plus"),
        ({"channels": 18}, "4 heads do not divide 18 channels"),
        ({"channels": 0}, "'channels' must be a positive whole number, not 0"),
        ({"heads": True}, "'heads' must be a positive whole number, not True"),
        ({"alpha": 0}, "'alpha' must be a positive number, not 0"),
        ({"diversity_weight": -0.1}, "'diversity_weight' must be a number of at least 0, not -0.1"),
        ({"reconstruction": 1}, "option 'reconstruction' cannot be 1"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"heads": 3}, "3 heads do not divide 16 channels"), ({"stages": 0}, "'stages' and 'layers' must be at least 1")],
)
def test_impossible_options_of_segvit(options, message):
    with pytest.raises(UserError, match=message):
        build("segvit", **options)


# ---------------------------------------------------------------------------------------------------------- losses


def test_losses_are_the_weighted_terms_of_equations_11_and_12():
    model = build(diversity_weight=0.3, focal_weight=4.0, dice_weight=3.0).eval()
    images, targets = batch()
    prediction = model.head(model.backbone(images))
    focal, dice = mask_losses(sum(resize(m, prediction.masks[-1].shape[2:]) for m in prediction.masks), targets)
    expected = {
        "main": model.criterion(prediction.logits, targets),
        "focal": 4 * focal,
        "dice": 3 * dice,
        "diversity": 0.3 * diversity_loss(prediction.diverse, targets),
    }
    torch.testing.assert_close(model.losses(images, targets), expected)


def test_masks_without_the_finest_are_supervised_where_the_option_says_so():
    model = build(supervised_masks="coarse").eval()
    images, targets = batch()
    masks = model.head(model.backbone(images)).masks[:-1]
    focal, _ = mask_losses(sum(resize(m, masks[-1].shape[2:]) for m in masks), targets)
    torch.testing.assert_close(model.losses(images, targets)["focal"], 5 * focal)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"main", "focal", "dice", "diversity"}),
        ({"reconstruction": False}, {"main", "focal", "dice"}),
        ({"diversity_weight": 0}, {"main", "focal", "dice"}),
        ({"focal_weight": 0, "dice_weight": 0}, {"main", "diversity"}),
    ],
)
def test_a_term_without_weight_is_not_computed(options, names):
    losses = build(**options).losses(*batch())
    assert losses.keys() == names


def test_logits_are_the_classifier_s_and_certain_classes_masks():
    """logits = P + p_k · sigmoid(M_k), p_k the probability of class k for the k-th embedding: the diagonal."""
    model = build().eval()
    features = model.backbone(batch()[0])
    fused = []
    model.head.classifier.register_forward_hook(lambda module, inputs, output: fused.append(output))
    with torch.no_grad():
        found = model.head(features)
        p = model.head.classify_embeddings(found.embeddings).softmax(dim=2)
        masks = sum(resize(m, found.logits.shape[2:]) for m in found.masks)
        for k in range(5):
            expected = fused[0][:, k] + p[:, k, k, None, None] * masks[:, k].sigmoid()
            torch.testing.assert_close(found.logits[:, k], expected)


def test_segvit_class_loss_is_a_weighted_mean_over_tokens():
    model = build("segvit", absent_weight=0.25).eval()
    targets = torch.full((2, 8, 8), 3)
    targets[0, 0] = IGNORE
    targets[1] = IGNORE
    logits = torch.randn(2, 5, 6)
    log_p = logits[0].log_softmax(dim=1)
    expected = -(log_p[3, 3] + 0.25 * sum(log_p[k, 5] for k in (0, 1, 2, 4))) / 2
    torch.testing.assert_close(model._class_loss(logits, targets), expected)


def test_segvit_logits_are_classes_weighted_by_masks():
    model = build("segvit").eval()
    images, _ = batch()
    with torch.no_grad():
        found = model.head(model.backbone(images))
        masks = resize(found.masks[-1], images.shape[2:]).sigmoid()
        classes = found.classes[-1].softmax(dim=2)
        expected = sum(classes[:, q, 2, None, None] * masks[:, q] for q in range(5))
        torch.testing.assert_close(model(images)[:, 2], expected)


def test_gated_updating_adds_to_segvit_and_changes_tokens():
    plain, gated = build("segvit"), build("segvit", gated_updating=True)
    names = {n for n, _ in gated.named_parameters()} - {n for n, _ in plain.named_parameters()}
    assert names
    assert all(n.startswith(("head.extract", "head.update")) for n in names)
    sum(gated.losses(*batch()).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gated.parameters())


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [(65, 49), (33, 97), (1, 7), (31, 31)])
def test_sides_that_are_no_multiple_of_anything(name, size):
    model, (images, targets) = build(name), batch(size)
    loss = sum(model.losses(images, targets).values())
    loss.backward()
    assert loss.isfinite()
    with torch.no_grad():
        logits = model.eval()(images)
    assert logits.shape == (2, 5, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("label", [0, IGNORE])
def test_a_single_class_in_the_dataset(name, label):
    model, (images, targets) = build(name, classes=1), batch(classes=1)
    loss = sum(model.losses(images, torch.full_like(targets, label)).values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.eval()(images).shape == (2, 1, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_with_large_features(name, dtype):
    """Scores of similar vectors are large; losses and gradients stay finite, and losses are float32."""
    model, (images, targets) = build(name), batch()
    with torch.autocast("cpu", dtype=dtype):
        losses = model.losses(10 * images, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_given_feature_maps_give_logits_at_the_finest_one():
    model = registry.build("ecenet", GivenFeatures((8, 16), (4, 8)), 5, channels=16).eval()
    assert model([torch.randn(1, 8, 12, 9), torch.randn(1, 16, 6, 5)]).shape == (1, 5, 12, 9)


def test_one_feature_map_needs_no_attention():
    model = registry.build("ecenet", GivenFeatures((8,)), 5, channels=16)
    images = [torch.randn(2, 8, 12, 9)]
    assert len(model.head.attend) == 0
    assert model(images).shape == (2, 5, 12, 9)
    assert model.losses(images, torch.zeros(2, 48, 36, dtype=torch.int64)).keys() >= {"main", "focal"}


# -------------------------------------------------------------------------------------------------------- learning


@torch.no_grad()
def accuracy_of(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> float:
    """Share of pixels labelled right in test mode; the model is left in training mode."""
    correct = model.eval()(images).argmax(1) == targets
    model.train()
    return correct.float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("ecenet", {}, 120),
        ("ecenet", {"preset": "release", "updater": "plus"}, 120),
        ("segvit", {"gated_updating": True}, 200),
    ],
)
def test_two_images_are_learnt(name, options, steps):
    """At least 95 % of the pixels within so many steps; the diversity loss falls."""
    model = build(name, **{"channels": 32, **options}).train()
    images, targets = batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(2)
    history = []
    for step in range(steps):
        losses = model.losses(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({k: float(v.detach()) for k, v in losses.items()})
        if step % 20 == 19 and accuracy_of(model, images, targets) >= 0.95:
            break
    assert accuracy_of(model, images, targets) >= 0.95
    assert "diversity" not in history[0] or history[-1]["diversity"] < history[0]["diversity"]
