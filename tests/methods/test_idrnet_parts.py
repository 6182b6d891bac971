"""The parts of IDRNet against their definitions: tokens, relations, deletion, memory, refiner."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from methods.idrnet.deletion import class_statistics, diagnose, sample_deletions
from methods.idrnet.memory import class_sums, initial_memory, update_memory_
from methods.idrnet.refine import ContextRefiner
from methods.idrnet.relations import Relations, relation_weights, update_rows_
from methods.idrnet.tokens import assign_pixels, class_tokens, look_up
from methods.segmentor import IGNORE

B, K, C, SIZE = 2, 5, 3, (6, 7)


@pytest.fixture(autouse=True)
def _seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def logits():
    logits = torch.randn(B, K, *SIZE, dtype=torch.float64)
    logits[:, 2] -= 100  # class 2 owns no pixel
    return logits.requires_grad_()


@pytest.fixture
def features():
    return torch.randn(B, C, *SIZE, dtype=torch.float64)


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_pooling_weights_of_a_class_sum_to_one(logits):
    labels, weights, present = assign_pixels(logits, pooling="softmax")
    sums = torch.zeros(B, K, dtype=torch.float64).scatter_add(1, labels, weights)
    assert present.tolist() == [[True, True, False, True, True]] * B
    torch.testing.assert_close(sums, present.double())


@pytest.mark.parametrize("pooling", ["softmax", "probability"])
def test_tokens_equal_a_loop_over_classes(logits, features, pooling):
    """Values and the gradient that reaches stage 1's logits."""
    memory = torch.randn(K, C, dtype=torch.float64)
    tokens = class_tokens(features, assign_pixels(logits, pooling=pooling), memory)
    expected = torch.zeros(B, K, 2 * C, dtype=torch.float64)
    labels = logits.argmax(dim=1)
    for image in range(B):
        for k in labels[image].unique().tolist():
            inside = labels[image] == k
            if pooling == "softmax":
                weights = torch.softmax(logits[image, k][inside], dim=0)
            else:
                weights = torch.softmax(logits[image], dim=0)[k][inside]
            vectors = torch.cat([features[image][:, inside], memory[k][:, None].expand(C, int(inside.sum()))])
            expected[image, k] = (vectors * weights).sum(dim=1)
    torch.testing.assert_close(tokens, expected)
    weight = torch.randn_like(tokens)
    ours, wanted = (torch.autograd.grad((x * weight).sum(), logits, retain_graph=True)[0] for x in (tokens, expected))
    torch.testing.assert_close(ours, wanted)
    assert ours.abs().max() > 0


def test_memory_half_of_a_token_is_the_class_memory(logits, features):
    memory = torch.randn(K, C, dtype=torch.float64)
    assignment = assign_pixels(logits, pooling="softmax")
    tokens = class_tokens(features, assignment, memory)
    torch.testing.assert_close(tokens[..., C:], memory * assignment.present_BK[..., None])


def test_look_up_gives_each_pixel_its_class():
    table, labels = torch.randn(B, K, 4), torch.randint(0, K, (B, 6))
    found = look_up(table, labels, torch.empty(B, 1, 2, 3))
    assert all(torch.equal(found[b, :, n // 3, n % 3], table[b, labels[b, n]]) for b in range(B) for n in range(6))


def test_large_logits_stay_finite():
    logits = 1e4 * torch.randn(B, K, *SIZE).half().float()
    assert assign_pixels(logits, pooling="softmax").weights_BN.isfinite().all()


# --- relations --------------------------------------------------------------------------------------------------------


def test_initial_context_is_the_own_token_and_evenly_the_others():
    """At the identity the thresholded mean keeps only the class itself; the variance gives e / (e + P - 1)."""
    relations = Relations(K, "both", threshold="mean", zero_is_weak=True)
    present = torch.tensor([[True, True, False, True, False]])
    mean, variance = (w[0] for w in relations.weights(present))
    kept = present[0].float()
    torch.testing.assert_close(mean, torch.diag(kept))
    classes = 3
    own, other = math.e / (math.e + classes - 1), 1 / (math.e + classes - 1)
    expected = (torch.full((K, K), other) + (own - other) * torch.eye(K)) * kept[:, None] * kept
    torch.testing.assert_close(variance, expected)


def test_row_of_weak_relations_mixes_the_present_classes_evenly():
    relations = Relations(K, "mean", threshold="mean", zero_is_weak=True)
    relations.mean.copy_(-torch.rand(K, K))
    present = torch.tensor([[True, False, True, True, False]])
    row = relations.weights(present)[0][0, 0]
    torch.testing.assert_close(row, torch.tensor([1, 0, 1, 1, 0]) / 3)


def test_zero_takes_part_unless_it_is_weak():
    present = torch.ones(1, K, dtype=torch.bool)
    cut, kept = (Relations(K, "mean", threshold="mean", zero_is_weak=z).weights(present)[0] for z in (True, False))
    assert (cut[0] > 0).sum() == K
    assert (kept[0] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_finite_in_every_precision(dtype):
    """In float16 the weak entries' -1e16 would be minus infinity, and a row of them not a number."""
    matrix = torch.full((K, K), -60000.0, dtype=dtype)
    matrix[1] = 60000
    weak = matrix <= 0
    present = torch.tensor([[True] * K, [True, False, False, False, False], [False] * K])
    weights = relation_weights(matrix, present, weak_KK=weak)
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(2), present.float())


def test_update_moves_one_row_per_image_in_order():
    matrix = torch.eye(K)
    change = torch.tensor([[1.0] * K, [2.0] * K])
    seen = torch.tensor([[True, True, False, False, False], [True, False, True, False, False]])
    update_rows_(matrix, torch.tensor([3, 3]), change, seen, 0.1)
    expected = torch.eye(K)
    expected[3, 0] = 0.9 * (0.1 * 1) + 0.1 * 2
    expected[3, 1] = 0.1
    expected[3, 2] = 0.2
    torch.testing.assert_close(matrix, expected)


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_never_deleted_classes_come_first():
    present = torch.tensor([[True, True, True, False]]).expand(3, 4)
    for _ in range(20):
        deleted = sample_deletions(present, torch.full((4,), 1e-6), balanced=True)
        assert sorted(deleted.tolist()) == [0, 1, 2]


def test_draw_follows_the_inverse_counts():
    """Eq. 12: classes deleted 1, 2 and 4 times are drawn in proportion 4 : 2 : 1; at random evenly."""
    present = torch.tensor([[True, True, True, False]])
    counts = torch.tensor([1.0, 2.0, 4.0, 1e-6])
    for balanced, expected in ((True, [4 / 7, 2 / 7, 1 / 7, 0]), (False, [1 / 3, 1 / 3, 1 / 3, 0])):
        drawn = torch.cat([sample_deletions(present, counts, balanced=balanced) for _ in range(4000)])
        frequency = torch.bincount(drawn, minlength=4) / 4000
        torch.testing.assert_close(frequency, torch.tensor(expected), atol=0.04, rtol=0)
    assert counts.tolist() == [1.0, 2.0, 4.0, pytest.approx(1e-6)]


def test_diagnosis_by_definition():
    """Released: differences of the mean and the biased variance per class. Eq. 14: of sums, over K · H · W."""
    targets = torch.randint(0, K - 1, (B, 8, 9))
    targets[0, 0, 0] = K - 1  # one pixel only: no variance
    targets[:, :2, 1:] = IGNORE
    before, after = torch.rand(2, B, 8, 9, dtype=torch.float64)
    kept, without = (class_statistics(x, targets, K) for x in (before, after))
    released = diagnose(kept, without)
    area = float(K * 8 * 9)
    paper = diagnose(kept, without, normaliser=area)
    for image in range(B):
        for k in range(K):
            a, b = before[image][targets[image] == k], after[image][targets[image] == k]
            assert released.seen_mean[image, k] == (len(a) > 0)
            assert released.seen_variance[image, k] == (len(a) > 1)
            if len(a) > 1:
                torch.testing.assert_close(released.mean[image, k], b.mean() - a.mean())
                variance = b.var(correction=0) - a.var(correction=0)
                torch.testing.assert_close(released.variance[image, k], variance)
                torch.testing.assert_close(paper.mean[image, k], (b.sum() - a.sum()) / area)
                torch.testing.assert_close(paper.variance[image, k], variance * len(a) / area)


def test_only_reserved_classes_are_observed_on_demand():
    targets = torch.zeros(1, 4, 4, dtype=torch.int64)
    targets[0, 0] = 1
    kept = class_statistics(torch.rand(1, 4, 4), targets, 3)
    reserved = torch.tensor([[True, False, True]])
    assert diagnose(kept, kept, reserved_BK=reserved).seen_mean.tolist() == [[True, False, False]]


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 56), (45, 50), (6, 7), (5, 9), (3, 2)])
def test_class_sums_equal_upsampled_means(features, size):
    """The adjoint formulation equals upsampling the features and averaging them per class (Eq. 5)."""
    labels = torch.randint(0, K - 1, (B, *size))
    labels[:, 0] = IGNORE
    up = F.interpolate(features, size=size, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    sums, counts = class_sums(features, labels, K)
    for image in range(B):
        for k in range(K):
            inside = labels[image] == k
            assert counts[image, k] == inside.sum()
            torch.testing.assert_close(sums[image, k], up[image][inside].sum(dim=0), atol=1e-9, rtol=1e-9)


def test_memory_moves_only_classes_that_were_seen(features):
    memory = torch.randn(K, C, dtype=torch.float64)
    labels = torch.full((B, 12, 14), IGNORE)
    labels[1, 3:5] = 2
    before = memory.clone()
    sums, counts = (of_images.sum(dim=0) for of_images in class_sums(features, labels, K))
    update_memory_(memory, sums, counts, 0.1)
    assert torch.equal(memory[[0, 1, 3, 4]], before[[0, 1, 3, 4]])
    torch.testing.assert_close(memory[2], 0.9 * before[2] + 0.1 * sums[2] / 28)


def test_orthogonal_vectors():
    vectors = initial_memory(4, 9, "orthogonal")
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(4), atol=1e-5, rtol=0)
    wide = initial_memory(9, 4, "orthogonal")
    torch.testing.assert_close(wide.T @ wide, torch.eye(4), atol=1e-5, rtol=0)
    assert not initial_memory(4, 9, "memory").any()


# --- refiner ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_refiner_equals_attention_over_the_whole_concatenation(logits, features, training):
    """Projecting parts and looking up class rows equals convolving the 6C map, norm statistics included."""
    refiner = ContextRefiner(C, C, 2 * C, relations=2, channels=4, out=5).double().train(training)
    memory = torch.randn(K, C, dtype=torch.float64)
    assignment = assign_pixels(logits, pooling="softmax")
    labels, _, present = assignment
    weights = [relation_weights(torch.randn(K, K, dtype=torch.float64), present) for _ in range(2)]
    tokens = class_tokens(features, assignment, memory)
    refined = refiner.refine(refiner.prepare(features, memory, tokens), weights, labels)
    statistics = refiner.query.norm[0].running_mean.clone()

    refiner.query.norm[0].reset_running_stats()
    rows = [memory.expand(B, -1, -1), *(w @ tokens for w in weights)]
    whole = torch.cat([features, *(look_up(r, labels, features) for r in rows)], dim=1)
    q, k, v = (
        p.rest(p.norm(F.conv2d(whole, p.first.weight))).flatten(2) for p in (refiner.query, refiner.key, refiner.value)
    )
    mixed = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(4), dim=2) @ v.transpose(1, 2)
    expected = refiner.out(mixed.transpose(1, 2).reshape(B, 4, *SIZE))
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(statistics, refiner.query.norm[0].running_mean)
