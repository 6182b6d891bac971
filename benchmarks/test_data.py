"""The training pipeline against mmsegmentation's at ADE20K's sizes, and how soon a loader over 20 210 pairs starts.

CPU time of one core, so that a busy machine does not decide; ours and the peer's rounds alternate in one run.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch

from harness.data import catalogue
from harness.data.files import locate, manifest, pairs
from harness.data.layout import Root
from harness.data.scenes import scene
from harness.data.synthetic import write_pair
from harness.data.verify import ensure_sound
from harness.jobs.context import Context, Progress
from harness.jobs.kinds import Data
from harness.recipes.segmentation import Augmentation, TestProtocol
from harness.tasks.segmentation.evaluate import confusion_of
from harness.tasks.segmentation.loader import TrainingBatches

IMAGES = 48
BATCH = 16
RATIO = 1.5
IMAGES_TESTED = 600
ADE20K_TRAIN = 20210
HOW = Augmentation(resize=(2048, 512), crop=(512, 512))


@pytest.fixture(scope="module")
def ade_sized(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """Scenes of 512 to 800 pixels as JPEG, in ADE20K's layout."""
    dataset = catalogue.find("ade20k")
    root = Root(dataset, dataset.layouts[0], tmp_path_factory.mktemp("ade20k"))
    for number in range(IMAGES):
        rng = np.random.default_rng(number)
        size = ((512, 683), (600, 800), (683, 512))[number % 3]
        image, label = scene(rng, dataset.num_classes, size)
        write_pair(root.path, root.layout, "train", f"a{number:06d}", cv2.GaussianBlur(image, (0, 0), 1.0), label)
    return root


def peer_pipeline(root: Root) -> Callable[[], int]:
    """mmsegmentation's pipeline for ADE20K at 512 × 512, up to packed tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mmseg", reason="the extra 'mmseg' is not installed")
        from mmcv.transforms import Compose
        from mmseg.utils import register_all_modules

        register_all_modules()
        pipeline = Compose(
            [
                {"type": "LoadImageFromFile"},
                {"type": "LoadAnnotations", "reduce_zero_label": True},
                {"type": "RandomResize", "scale": (2048, 512), "ratio_range": (0.5, 2.0), "keep_ratio": True},
                {"type": "RandomCrop", "crop_size": (512, 512), "cat_max_ratio": 0.75},
                {"type": "RandomFlip", "prob": 0.5},
                {"type": "PhotoMetricDistortion"},
                {"type": "PackSegInputs"},
            ]
        )
    records = [
        {"img_path": pair.image, "seg_map_path": pair.label, "reduce_zero_label": True, "label_map": None}
        for pair in pairs(root, "train")
    ]

    def run() -> int:
        for record in records:
            pipeline({**record, "seg_fields": []})
        return len(records)

    return run


def rates(*runs: Callable[[], int], rounds: int = 5) -> list[float]:
    """Images per second of CPU time of each, the best of alternating rounds."""
    best = [0.0] * len(runs)
    for _ in range(rounds):
        for i, run in enumerate(runs):
            started = time.process_time()
            images = run()
            best[i] = max(best[i], images / (time.process_time() - started))
    return best


def test_training_pipeline(ade_sized: Root, benchmark) -> None:
    torch.set_num_threads(1)
    peer = peer_pipeline(ade_sized)
    cv2.setNumThreads(0)
    data = TrainingBatches(ade_sized, "train", HOW, BATCH, seed=0)
    iterations = IMAGES // BATCH
    epoch = iter(range(10_000))

    def ours() -> int:
        first = next(epoch) * iterations
        return sum(len(batch.ids) for batch in data.batches(first, first + iterations))

    mine, theirs = rates(ours, peer)
    benchmark.pedantic(ours, rounds=1)
    benchmark.extra_info.update(images_per_s_core=mine, mmsegmentation=theirs, ratio=mine / theirs)
    print(f"training pipeline: {mine:.0f} images/s/core, mmsegmentation {theirs:.0f}, ratio {mine / theirs:.2f}")
    assert mine / theirs >= RATIO


def many(data_dir: Path, size: tuple[int, int], **counts: int) -> None:
    """ADE20K's layout with so many images per split; they are one image under many names."""
    dataset = catalogue.find("ade20k")
    layout, folder = dataset.layouts[0], data_dir / dataset.folder
    image, label = scene(np.random.default_rng(0), 150, size)
    for split, count in counts.items():
        write_pair(folder, layout, split, "first", image, label)
        for pattern in (layout.image_path(split, "{id}"), layout.label_path(split, "{id}")):
            source = folder / pattern.format(id="first")
            for number in range(1, count):
                os.link(source, folder / pattern.format(id=f"ADE_{number:08d}"))


def test_evaluation_memory_does_not_grow(tmp_path: Path) -> None:
    """Resident memory after the last image against that after the 100th."""
    many(tmp_path, (96, 128), val=IMAGES_TESTED)
    root = locate(Data(name="ade20k"), data_dir=tmp_path, cache=tmp_path / "cache")
    resident: list[int] = []

    class Constant(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 150, 2, 2)

    def measure(progress: Progress) -> None:
        if progress.done in (100, IMAGES_TESTED):
            resident.append(psutil.Process().memory_info().rss)

    torch.set_num_threads(1)
    context = Context(tmp_path, tmp_path / "cache", tmp_path, "cpu", 1, progress=measure)
    confusion_of(Constant(), root, TestProtocol(resize=(64, 64)), context)
    grown = (resident[1] - resident[0]) / 2**20
    print(f"evaluation: {resident[1] / 2**20:.0f} MiB after {IMAGES_TESTED} images, {grown:+.1f} MiB since the 100th")
    assert grown < IMAGES_TESTED * 96 * 128 * 5 / 2**20 / 8, (
        "an eighth of what images, labels and predictions would take if kept"
    )


def test_loader_starts_within_a_second(tmp_path: Path, benchmark) -> None:
    many(tmp_path, (8, 8), train=ADE20K_TRAIN, val=1)
    root = locate(Data(name="ade20k"), data_dir=tmp_path, cache=tmp_path / "cache")
    manifest(root, tmp_path / "cache")
    ensure_sound(root, "train", tmp_path / "cache")

    def start() -> None:
        found = locate(Data(name="ade20k"), data_dir=tmp_path, cache=tmp_path / "cache")
        manifest(found, tmp_path / "cache")
        ensure_sound(found, "train", tmp_path / "cache")
        data = TrainingBatches(found, "train", HOW.model_copy(update={"crop": (32, 32)}), 2, seed=0)
        assert len(data) == ADE20K_TRAIN
        data.batch(0)

    started = time.process_time()
    benchmark.pedantic(start, rounds=3)
    seconds = (time.process_time() - started) / 3
    benchmark.extra_info["cpu_seconds"] = seconds
    print(
        f"loader over {ADE20K_TRAIN} pairs starts in {seconds:.2f} s (digest and files checked, first batch included)"
    )
    assert seconds <= 1.0
