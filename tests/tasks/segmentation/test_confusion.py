"""The confusion matrix is exact, and its scores are the definitions and mmsegmentation's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.layout import IGNORE
from harness.tasks.segmentation.confusion import Confusion, scores


def maps(seed: int, classes: int, shape: tuple[int, ...] = (9, 13)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, shape).astype(np.uint8)
    target[rng.random(shape) < 0.1] = IGNORE
    return rng.integers(0, classes, shape).astype(np.uint8), target


def count(classes: int, *pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    confusion = Confusion(classes)
    for prediction, target in pairs:
        confusion.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return confusion.matrix()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_matrix_counts_every_pixel(seed: int, classes: int) -> None:
    prediction, target = maps(seed, classes)
    matrix = count(classes, (prediction, target))
    assert matrix.dtype == np.int64
    expected = np.zeros((classes + 1, classes), int)
    for p, t in zip(prediction.ravel(), target.ravel()):
        expected[classes if t == IGNORE else t, p] += 1
    np.testing.assert_array_equal(matrix, expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=5), st.randoms())
def test_order_and_batching_do_not_matter(seeds: list[int], random: object) -> None:
    images = [maps(seed, 6) for seed in seeds]
    whole = count(6, (np.stack([p for p, _ in images]), np.stack([t for _, t in images])))
    random.shuffle(images)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(count(6, *images), whole)
    np.testing.assert_array_equal(sum(count(6, image) for image in images), whole)


def test_counts_beyond_float32_are_exact() -> None:
    confusion = Confusion(2)
    confusion.counts[0] = 2**24
    confusion.update(torch.zeros(3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8))
    assert confusion.matrix()[0, 0] == 2**24 + 3


def test_a_class_id_outside_the_classes_is_noticed() -> None:
    confusion = Confusion(3)
    confusion.update(torch.tensor([3], dtype=torch.uint8), torch.tensor([0], dtype=torch.uint8))
    with pytest.raises(AssertionError, match="outside the classes"):
        confusion.matrix()


def test_scores_by_hand() -> None:
    # classes: 0 half right, 1 all right but over-predicted, 2 never there but predicted, 3 neither; 5 pixels of void
    matrix = np.array([[2, 1, 1, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0]])
    result = scores(matrix)
    np.testing.assert_allclose(result.iou, [2 / 4, 4 / 5, 0, np.nan])
    np.testing.assert_allclose(result.accuracy, [2 / 4, 1, np.nan, np.nan])
    assert result.miou == pytest.approx((0.5 + 0.8 + 0) / 3)
    assert result.macc == pytest.approx(0.75)
    assert result.aacc == pytest.approx(6 / 8)
    assert result.fwiou == pytest.approx(0.5 * 0.5 + 0.5 * 0.8)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_perfect_prediction_and_permuted_classes(seed: int, classes: int) -> None:
    prediction, target = maps(seed, classes)
    right = scores(count(classes, (np.where(target == IGNORE, 0, target).astype(np.uint8), target)))
    assert right.miou == right.aacc == right.macc == 1
    first = scores(count(classes, (prediction, target)))
    order = np.random.default_rng(seed).permutation(classes).astype(np.uint8)
    table = np.concatenate([order, np.zeros(255 - classes, np.uint8), [np.uint8(IGNORE)]]).astype(np.uint8)
    again = scores(count(classes, (table[prediction], table[target])))
    np.testing.assert_allclose(again.iou[order], first.iou)
    assert again.miou == pytest.approx(first.miou)
    assert again.aacc == first.aacc


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 5), min_size=1))
def test_rescoring_a_subset_equals_ignoring_the_others(seed: int, chosen: set[int]) -> None:
    prediction, target = maps(seed, 6)
    rescored = scores(count(6, (prediction, target)), sorted(chosen))
    voided = np.where(np.isin(target, sorted(chosen)), target, IGNORE).astype(np.uint8)
    direct = scores(count(6, (prediction, voided)))
    np.testing.assert_allclose(rescored.iou, direct.iou[sorted(chosen)])
    np.testing.assert_allclose(rescored.accuracy, direct.accuracy[sorted(chosen)])
    assert rescored.aacc == pytest.approx(direct.aacc, nan_ok=True)


def test_nothing_to_score_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = scores(np.zeros((4, 3), np.int64))
    assert np.isnan([result.miou, result.aacc, result.macc, result.fwiou]).all()


@pytest.mark.parametrize("classes", [2, 19, 150, 182])
def test_parity_with_mmsegmentation(classes: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
        from mmseg.evaluation import IoUMetric
    images = [maps(seed, max(2, classes - seed), (64, 80)) for seed in range(6)]
    theirs = [
        IoUMetric.intersect_and_union(torch.from_numpy(p), torch.from_numpy(t), classes, IGNORE) for p, t in images
    ]
    intersect, union, predicted, label = (sum(areas).double() for areas in zip(*theirs))
    matrix = count(classes, *images)
    valid = matrix[:classes]
    np.testing.assert_array_equal(np.diag(valid), intersect.numpy())
    np.testing.assert_array_equal(valid.sum(0), predicted.numpy())
    np.testing.assert_array_equal(valid.sum(1), label.numpy())
    np.testing.assert_array_equal(valid.sum(0) + valid.sum(1) - np.diag(valid), union.numpy())
    expected = IoUMetric.total_area_to_metrics(intersect, union, predicted, label)
    result = scores(matrix)
    assert result.miou == pytest.approx(np.nanmean(expected["IoU"]), abs=1e-9)
    assert result.macc == pytest.approx(np.nanmean(expected["Acc"]), abs=1e-9)
    assert result.aacc == pytest.approx(float(expected["aAcc"]), abs=1e-9)
    np.testing.assert_allclose(result.iou, expected["IoU"], atol=1e-9)
