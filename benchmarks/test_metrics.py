"""Counting a confusion matrix against the field's ways of doing it: 512 × 512 pixels, 150 classes, 8 % ignored."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.data.layout import IGNORE
from harness.tasks.segmentation.confusion import Confusion, scores

K = 150
IMAGES_PER_SECOND = 2000
RATIO = 5.0


def maps(count: int = 8) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        target = np.repeat(np.repeat(rng.integers(0, K, (32, 32)), 16, 0), 16, 1).astype(np.uint8)
        prediction = np.where(rng.random(target.shape) < 0.3, rng.integers(0, K, target.shape), target)
        target[rng.random(target.shape) < 0.08] = IGNORE
        made.append((torch.from_numpy(prediction.astype(np.uint8)), torch.from_numpy(target)))
    return made


def rate(update: Callable[[Tensor, Tensor], object], images: list[tuple[Tensor, Tensor]], repeat: int) -> float:
    """Images per second of CPU time, best of five."""
    best = 0.0
    for _ in range(5):
        started = time.process_time()
        for _ in range(repeat):
            for prediction, target in images:
                update(prediction, target)
        best = max(best, repeat * len(images) / (time.process_time() - started))
    return best


def test_confusion_matrix(benchmark) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
        from mmseg.evaluation import IoUMetric
    torch.set_num_threads(1)
    images = maps()
    confusion = Confusion(K)
    mine = rate(confusion.update, images, 30)
    theirs = rate(lambda p, t: IoUMetric.intersect_and_union(p, t, K, IGNORE), images, 2)
    benchmark.pedantic(lambda: [confusion.update(p, t) for p, t in images], rounds=5)
    areas = [sum(a).double() for a in zip(*(IoUMetric.intersect_and_union(p, t, K, IGNORE) for p, t in images))]
    expected = float(np.nanmean(IoUMetric.total_area_to_metrics(*areas)["IoU"]))
    assert scores(confusion.matrix()).miou == pytest.approx(expected, abs=1e-9)
    benchmark.extra_info.update(images_per_s_core=mine, mmsegmentation=theirs, ratio=mine / theirs)
    print(f"confusion matrix: {mine:.0f} images/s/core, mmsegmentation {theirs:.0f}, ratio {mine / theirs:.1f}")
    assert mine >= IMAGES_PER_SECOND
    assert mine / theirs >= RATIO


def test_memory_is_one_matrix() -> None:
    confusion = Confusion(K)
    before = confusion.counts.data_ptr()
    for prediction, target in maps(3):
        confusion.update(prediction, target)
    assert confusion.counts.data_ptr() == before
    assert confusion.counts.numel() * confusion.counts.element_size() == 512 * 1024
