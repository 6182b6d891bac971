"""ECENet's parts against its equations, written out with loops where the code has products."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from harness.errors import UserError
from methods.ecenet.aggregation import Aggregation, GhostUpsampling
from methods.ecenet.class_extraction import ClassExtraction, MaskProjection, pooling_bins
from methods.ecenet.class_updater import GatedUpdater, SumUpdater, build_updater
from methods.ecenet.feature_reconstruction import FeatureReconstruction, SqueezeExcitation
from methods.ecenet.losses import class_presence, diversity, diversity_loss, mask_losses
from methods.ecenet.semantics_attention import (
    ConvolutionalMLP,
    SemanticsAttention,
    attend,
    attend_with_scores,
    explicit_attend_with_scores,
)
from methods.segmentor import IGNORE


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------------------- attention


def heads_of(batch=2, heads=4, pixels=30, classes=7, depth=8):
    q, k, v = torch.randn(batch, heads, pixels, depth), *(torch.randn(batch, heads, classes, depth) for _ in range(2))
    return [x.requires_grad_() for x in (q, k, v)]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_fused_attention_and_masks_are_the_explicit_ones(heads, inverted):
    """Values, masks and all gradients, to 1e-5."""
    inputs = heads_of(heads=heads)
    results = []
    for formulation in (attend_with_scores, explicit_attend_with_scores):
        attended, scores = formulation(*inputs, inverted=inverted)
        gradients = torch.autograd.grad(attended.square().sum() + scores.square().sum(), inputs)
        results.append((attended, scores, *gradients))
    for fused, explicit in zip(*results):
        torch.testing.assert_close(fused, explicit, rtol=1e-5, atol=1e-5)


def test_masks_are_the_mean_over_heads_of_scaled_scores():
    q, k, v = (x.detach() for x in heads_of())
    _, scores = attend_with_scores(q, k, v)
    b, pixel, cls = 1, 3, 5
    by_hand = sum(float(q[b, h, pixel] @ k[b, h, cls]) / math.sqrt(8) for h in range(4)) / 4
    assert math.isclose(float(scores[b, pixel, cls]), by_hand, rel_tol=1e-5)


def test_inverted_attention_prefers_the_least_similar_class():
    q = torch.tensor([[[[1.0, 0.0]]]])
    keys = torch.tensor([[[[9.0, 0.0], [-9.0, 0.0]]]])
    values = torch.tensor([[[[1.0], [0.0]]]])
    assert attend(q, keys, values.expand(1, 1, 2, 2)).squeeze()[0] > 0.99
    assert attend(q, keys, values.expand(1, 1, 2, 2), inverted=True).squeeze()[0] < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mlp_in_parts_is_the_mlp(dtype):
    """Its value and every gradient, also under autocast, where the parts are computed again in the same precision."""
    module, x = ConvolutionalMLP(16), torch.randn(2, 16, 5, 6, requires_grad=True)

    def plain(x):
        return module.reduce(F.gelu(module.mix(module.expand(x))))

    found = []
    for forward in (module, plain):
        module.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            y = forward(x)
        (gradient,) = torch.autograd.grad(y.float().square().sum(), x, retain_graph=True)
        y.float().square().sum().backward()
        found.append([y.float(), gradient, *(p.grad for p in module.parameters())])
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.5}
    for parts, whole in zip(*found):
        torch.testing.assert_close(parts, whole, **tolerance)
    with torch.no_grad():
        torch.testing.assert_close(module(x), plain(x))


def test_semantics_attention_of_zero_values_leaves_the_mlp_alone():
    """Without values nothing is added but the output layer's bias: what the embeddings say reaches x through them alone."""
    block = SemanticsAttention(16, heads=4).eval()
    x, embeddings = torch.randn(2, 16, 5, 6), torch.randn(2, 7, 16)
    with torch.no_grad():
        block.key_value.weight[16:] = 0
        block.output.bias.zero_()
        out, masks = block(x, embeddings)
        torch.testing.assert_close(out, x + block.mlp(block.norm_mlp(x)))
    assert masks.shape == (2, 7, 5, 6)


def test_masks_do_not_depend_on_the_order_of_other_classes():
    block = SemanticsAttention(16, heads=4).eval()
    x, embeddings = torch.randn(1, 16, 5, 6), torch.randn(1, 7, 16)
    order = torch.randperm(7)
    with torch.no_grad():
        out, masks = block(x, embeddings)
        shuffled, permuted = block(x, embeddings[:, order])
    torch.testing.assert_close(shuffled, out)
    torch.testing.assert_close(permuted, masks[:, order])


# --------------------------------------------------------------------------------------- class extraction, updater


@pytest.mark.parametrize(
    ("classes", "alpha", "bins", "inputs"),
    [
        (150, 1, (1, 2, 3, 6, 13), 219),
        (59, math.sqrt(2), (1, 2, 3, 6, 11), 171),
        (60, math.sqrt(2), (1, 2, 3, 6, 11), 171),
        (19, 3, (1, 2, 3, 6, 13), 219),
        (1, 1, (1, 2, 3, 6, 1), 51),
        (1, 0.1, (1, 2, 3, 6, 1), 51),
    ],
)
def test_pooling_grids_of_the_datasets(classes, alpha, bins, inputs):
    assert pooling_bins(classes, alpha) == bins
    assert ClassExtraction(8, bins).project.in_features == inputs


@pytest.mark.parametrize("size", [(26, 39), (5, 5), (1, 1)])
def test_an_embedding_is_a_linear_function_of_its_own_mask_s_means(size):
    """Grids finer than the map (13 cells on 5 pixels) repeat pixels."""
    module = ClassExtraction(8, (1, 2, 13)).eval()
    masks = torch.randn(2, 3, *size)
    height, width = size
    cells = []
    for side in (1, 2, 13):
        for i in range(side):
            for j in range(side):
                rows = slice(i * height // side, -(-(i + 1) * height // side))
                columns = slice(j * width // side, -(-(j + 1) * width // side))
                cells.append(masks[:, :, rows, columns].mean(dim=(2, 3)))
    expected = torch.stack(cells, dim=2) @ module.project.weight.T + module.project.bias
    torch.testing.assert_close(module(masks), expected)


def test_masks_of_the_last_stage_are_linear_and_grouped():
    module = MaskProjection(16, 5, groups=4)
    x, y = torch.randn(2, 1, 16, 3, 4).unbind()
    torch.testing.assert_close(module(x + 2 * y), module(x) + 2 * module(y), atol=1e-5, rtol=1e-5)
    assert module[0].weight.shape == (16, 4, 1, 1)


def test_gated_update_is_equations_9_and_10_and_a_last_layer():
    updater = GatedUpdater(6).eval()
    extracted, embeddings = torch.randn(2, 1, 3, 6).unbind()
    phi3, psi2 = updater.from_extracted.weight.chunk(2)
    bias3, bias2 = updater.from_extracted.bias.chunk(2)
    fused = (extracted @ phi3.T + bias3) * updater.from_embeddings(embeddings)
    norm = lambda x, layer: F.layer_norm(x, (6,), layer.weight, layer.bias)  # noqa: E731
    gate = torch.sigmoid(norm(updater.gate[0](fused), updater.gate[1]))
    updated = gate * norm(extracted @ psi2.T + bias2, updater.norm) + embeddings
    expected = torch.relu(norm(updater.output[0](updated), updater.output[1]))
    torch.testing.assert_close(updater(extracted, embeddings), expected)


def test_plus_is_a_sum_and_other_updaters_are_unknown():
    extracted, embeddings = torch.randn(2, 1, 3, 6).unbind()
    assert torch.equal(SumUpdater(6)(extracted, embeddings), extracted + embeddings)
    assert not list(SumUpdater(6).parameters())
    with pytest.raises(UserError, match=r"unknown updater 'gatd'\. Did you mean 'gated'"):
        build_updater("gatd", 6)


# ------------------------------------------------------------------------------- feature reconstruction, aggregation


@pytest.mark.parametrize(("gate", "expected"), [("sigmoid", 0.5), ("none", 0.0)])
def test_recalibration_without_excitation(gate, expected):
    module = SqueezeExcitation(8, gate=gate)
    torch.nn.init.zeros_(module.excite.weight)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(module(x), expected * x)


def test_reconstruction_keeps_the_shape_and_norms_each_position():
    module = FeatureReconstruction(8).eval()
    y, diverse = module(torch.randn(2, 8, 5, 7))
    assert (y.shape, diverse.shape) == ((2, 8, 5, 7), (2, 4, 5, 7))
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2, 5, 7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(4, 6), (1, 1)])
def test_ghost_upsampling_doubles(size):
    module = GhostUpsampling(8).eval()
    x = torch.randn(2, 8, *size)
    y = module(x)
    assert y.shape == (2, 8, 2 * size[0], 2 * size[1])
    with torch.no_grad():  # pixel shuffle: four neighbours are four channels of one position
        primary = module.primary(x)
        beside = torch.cat([primary, module.cheap(primary)], dim=1)
        torch.testing.assert_close(y[:, 3, 1, 0], beside[:, 4 * 3 + 2, 0, 0])


@pytest.mark.parametrize("sizes", [[(16, 16), (8, 8), (4, 4), (2, 2)], [(17, 13), (9, 7), (9, 7), (5, 4)], [(3, 3)]])
def test_aggregation_comes_to_the_finest_size(sizes):
    module = Aggregation(8, len(sizes)).eval()
    assert [len(up) for up in module.upsample] == list(range(len(sizes)))
    assert module([torch.randn(1, 8, *size) for size in sizes]).shape == (1, 8, *sizes[0])


# ---------------------------------------------------------------------------------------------------------- losses


def test_diversity_is_equation_3():
    x = torch.randn(1, 3, 2, 4)
    maps = [[math.exp(v) for v in channel] for channel in x[0].flatten(1).tolist()]
    maps = [[v / sum(channel) for v in channel] for channel in maps]
    expected = 1 - sum(max(channel[j] for channel in maps) for j in range(8)) / 3
    assert math.isclose(float(diversity(x)), expected, rel_tol=1e-5)


def test_disjoint_peaks_are_diverse_and_equal_channels_are_not():
    peaks = torch.zeros(1, 4, 1, 6)
    peaks[0, range(4), 0, range(4)] = 100
    assert float(diversity(peaks)) == pytest.approx(0, abs=1e-6)
    assert float(diversity(torch.randn(1, 1, 1, 6).expand(1, 4, 1, 6))) == pytest.approx(1 - 1 / 4, abs=1e-6)


@pytest.mark.parametrize("scale", [0, 1, 30])
@pytest.mark.parametrize(("channels", "size"), [(4, (8, 8)), (16, (2, 3)), (16, (1, 1)), (1, (3, 3))])
def test_diversity_lies_in_its_range(channels, size, scale):
    """[max(0, 1 − HW/C), 1 − 1/C]: with fewer pixels than channels, zero cannot be reached."""
    found = diversity(scale * torch.randn(20, channels, *size))
    least = max(0, 1 - size[0] * size[1] / channels)
    assert (found >= least - 1e-5).all()
    assert (found <= 1 - 1 / channels + 1e-5).all()


@pytest.mark.parametrize(
    ("channels", "side", "least"), [(512, 20, 0.219), (768, 20, 0.479), (768, 15, 0.707), (64, 160, 0.0)]
)
def test_least_diversity_of_the_published_settings(channels, side, least):
    """One peak per channel, as many different pixels as there are: stage 4 of Swin-B and Swin-L at 640, Swin-L at 480."""
    pixels = side * side
    peaks = torch.zeros(1, channels, pixels)
    peaks[0, torch.arange(channels), torch.arange(channels) % pixels] = 100
    assert float(diversity(peaks.unflatten(2, (side, side)))) == pytest.approx(least, abs=5e-4)


def test_diversity_is_computed_in_float32_under_half_precision():
    x = torch.randn(2, 8, 40, 40)
    assert diversity(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(diversity(x.half()), diversity(x.half().float()))


def test_diversity_is_summed_over_stages_and_averaged_over_labelled_images():
    stages = [torch.randn(3, 4, 6, 6), torch.randn(3, 8, 2, 2)]
    targets = torch.zeros(3, 5, 5, dtype=torch.int64)
    targets[1] = IGNORE
    expected = sum((diversity(x)[0] + diversity(x)[2]) / 2 for x in stages)
    torch.testing.assert_close(diversity_loss(stages, targets), expected)


def detr_losses(masks, targets):
    """DETR's criterion over the masks of the classes present, ignored pixels taken out first."""
    focal, dice = [], []
    for image, target in zip(F.interpolate(masks, size=targets.shape[1:], mode="bilinear"), targets):
        valid = target != IGNORE
        for k in target[valid].unique().tolist():
            logits, truth = image[k][valid], (target[valid] == k).float()
            p = logits.sigmoid()
            right = torch.where(truth == 1, p, 1 - p)
            balance = torch.where(truth == 1, 0.25, 0.75)
            focal.append((-balance * (1 - right) ** 2 * right.log()).mean())
            dice.append(1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1))
    return torch.stack(focal).mean(), torch.stack(dice).mean()


def test_mask_losses_are_detr_s_over_the_classes_present():
    masks = (2 * torch.randn(3, 6, 5, 7)).requires_grad_()
    targets = torch.randint(4, (3, 20, 28))
    targets[:, :6] = IGNORE
    targets[1] = IGNORE
    targets[1, -1] = 5
    found, expected = mask_losses(masks, targets), detr_losses(masks, targets)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(sum(losses), masks)[0] for losses in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_ranges_of_mask_losses():
    targets = torch.zeros(1, 8, 8, dtype=torch.int64)
    targets[:, 4:] = 1
    right = torch.where(F.one_hot(targets, 2).movedim(3, 1) == 1, 30.0, -30.0)
    focal, dice = mask_losses(right, targets)
    assert float(focal) < 1e-6
    assert float(dice) < 1e-6
    focal, dice = mask_losses(-right, targets)
    assert float(focal) > 10
    assert 0.9 < float(dice) < 1


def test_nothing_labelled_costs_nothing():
    masks = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = mask_losses(masks, torch.full((2, 8, 8), IGNORE))
    sum(losses).backward()
    assert [x.item() for x in losses] == [0, 0]
    assert masks.grad.abs().sum() == 0


def test_presence_leaves_ignored_pixels_out():
    targets = torch.tensor([[[0, 2], [IGNORE, 2]], [[IGNORE] * 2] * 2])
    assert class_presence(targets, 3).tolist() == [[True, False, True], [False] * 3]
