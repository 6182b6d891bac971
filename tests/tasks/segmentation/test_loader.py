"""Batches: stateless, the same for any number of workers, and refused early when data is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from harness import ROOT
from harness.data import catalogue
from harness.data.annotations.label_maps import read_pair
from harness.data.files import locate, pairs
from harness.data.layout import IGNORE, Root
from harness.errors import DataError
from harness.jobs.kinds import Data
from harness.recipes.segmentation import Augmentation, TestProtocol
from harness.tasks.segmentation import loader
from harness.tasks.segmentation.loader import Batch, TrainingBatches, geometry, images_for_testing

HOW = Augmentation(resize=(64, 48), crop=(32, 40))


def same(a: Batch, b: Batch) -> bool:
    return a.ids == b.ids and all(torch.equal(x, y) for x, y in zip(a[:3], b[:3]))


@pytest.mark.parametrize("name", [name for name in catalogue.names() if catalogue.find(name).task == "segmentation"])
def test_every_dataset_trains_and_tests(name: str, synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root(name)
    split = next(iter(root.dataset.splits))
    batch = TrainingBatches(root, split, HOW, 2, seed=0).batch(0)
    assert batch.images.shape == (2, 3, 32, 40)
    assert batch.images.dtype == batch.targets.dtype == torch.uint8
    assert set(batch.targets.unique().tolist()) <= {*range(root.dataset.num_classes), IGNORE}
    tested = list(images_for_testing(root, split, TestProtocol(resize=(32, 24), max_images=2)))
    assert [item.image.shape for item in tested] == [(3, 24, 32)] * 2
    assert [item.label.shape for item in tested] == [(48, 64)] * 2


def test_batches_are_the_same_for_any_workers_and_start(synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root("camvid")
    alone = list(TrainingBatches(root, "train", HOW, 2, seed=3).batches(0, 7))
    again = list(TrainingBatches(root, "train", HOW, 2, seed=3).batches(4, 7))
    assert all(same(a, b) for a, b in zip(alone[4:], again, strict=True))
    helped = list(TrainingBatches(root, "train", HOW, 2, seed=3, workers=2).batches(0, 7))
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))
    other = list(TrainingBatches(root, "train", HOW, 2, seed=4).batches(0, 7))
    assert not any(same(a, b) for a, b in zip(alone, other))


def test_workers_compute_in_one_thread_whatever_the_training_has(
    synthetic_root: Callable[[str], Root], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight workers with the training's eight OpenCV threads each would be 64 threads for eight cores."""

    def augment(*arguments):
        return loader_augment(*arguments)._replace(valid=(cv2.getNumThreads(), 0, 0, 0))

    loader_augment, threads = loader.augment, cv2.getNumThreads()
    monkeypatch.setattr(loader, "augment", augment)
    cv2.setNumThreads(4)
    try:
        (batch,) = TrainingBatches(synthetic_root("camvid"), "train", HOW, 2, seed=3, workers=1).batches(0, 1)
    finally:
        cv2.setNumThreads(threads)
    assert batch.valid[:, 0].tolist() == [1, 1]


@pytest.mark.parametrize("processes", [2, 4])
def test_parts_of_a_batch_are_the_batch(
    processes: int, synthetic_root: Callable[[str], Root], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of several processes reads its own images only, with the draws they have in one process."""
    root = synthetic_root("camvid")
    whole = list(TrainingBatches(root, "train", HOW, 4, seed=3).batches(0, 5))
    read: list[str] = []
    monkeypatch.setattr(loader, "read_pair", lambda pair, labels: read.append(pair.id) or read_pair(pair, labels))
    shares = [TrainingBatches(root, "train", HOW, 4, seed=3, part=(k, processes)) for k in range(processes)]
    for iteration, batch in enumerate(whole):
        parts = [share.batch(iteration) for share in shares]
        assert [len(part.ids) for part in parts] == [4 // processes] * processes
        joined = [torch.cat([part[field] for part in parts]) for field in range(3)]
        assert same(Batch(*joined, [id for part in parts for id in part.ids]), batch)
    assert read == [id for batch in whole for id in batch.ids]


def test_an_epoch_is_a_permutation_without_the_incomplete_batch(synthetic_root: Callable[[str], Root]) -> None:
    data = TrainingBatches(synthetic_root("camvid"), "train", HOW, 2, seed=0)
    assert len(data) == 5
    assert data.iterations_per_epoch == 2
    epochs = [[id for batch in data.batches(2 * e, 2 * e + 2) for id in batch.ids] for e in range(12)]
    assert all(len(set(ids)) == 4 for ids in epochs)
    assert len({tuple(ids) for ids in epochs}) > 8, "every epoch has its own order"
    assert {id for ids in epochs for id in ids} == {pair.id for pair in data.pairs}


def test_global_random_state_is_neither_used_nor_changed(synthetic_root: Callable[[str], Root]) -> None:
    data = TrainingBatches(synthetic_root("camvid"), "train", HOW, 2, seed=0)
    np.random.seed(1)
    torch.manual_seed(1)
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    first = data.batch(0)
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    np.random.seed(2)
    assert same(first, data.batch(0))


def test_fewer_images_than_a_batch_is_an_error_with_both_numbers(synthetic_root: Callable[[str], Root]) -> None:
    with pytest.raises(DataError, match=r"5 images are fewer than one batch of 6"):
        TrainingBatches(synthetic_root("camvid"), "train", HOW, 6, seed=0)


def test_bad_file_stops_training_and_testing(own_root: Callable[[str], Root]) -> None:
    root = own_root("camvid")
    victim = Path(pairs(root, "train")[2].image)
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(DataError, match=victim.name):
        TrainingBatches(root, "train", HOW, 5, seed=0).batch(0)
    with pytest.raises(DataError, match=victim.name):
        list(images_for_testing(root, "train", TestProtocol()))


def test_views_follow_the_protocol(synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root("camvid")
    item = next(images_for_testing(root, "val", TestProtocol(scales=(0.5, 1.0, 1.25))))
    assert [tuple(view.shape) for view in item.views] == [(3, 24, 32), (3, 48, 64), (3, 60, 80)]
    item = next(images_for_testing(root, "val", TestProtocol(resize=(40, 30), keep_ratio=False)))
    assert item.image.shape == (3, 40, 30)
    assert item.image.dtype == torch.uint8


def test_parts_and_readers_give_the_same_images(synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root("camvid")
    alone = list(images_for_testing(root, "train", TestProtocol()))
    ahead = list(images_for_testing(root, "train", TestProtocol(), readers=3))
    assert [item.id for item in ahead] == [item.id for item in alone]
    assert all(torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in zip(alone, ahead))
    parts = [item.id for k in range(3) for item in images_for_testing(root, "train", TestProtocol(), part=(k, 3))]
    assert sorted(parts) == [item.id for item in alone]


def camvid_root(tmp_path: Path) -> Root:
    beside = ROOT.parent / "shared" / "data"
    data_dir = Path(os.environ.get("HARNESS_DATA") or beside)
    if not (data_dir / "camvid").is_dir():
        pytest.skip(f"no camvid under {data_dir}; HARNESS_DATA names the folder that holds it")
    return locate(Data(name="camvid"), data_dir=data_dir, cache=tmp_path)


def test_real_camvid(tmp_path: Path) -> None:
    root = camvid_root(tmp_path)
    sizes = {split: len(pairs(root, split)) for split in root.dataset.splits}
    assert sizes == dict(root.dataset.splits)
    how = Augmentation(resize=(480, 360), crop=(256, 256))
    batch = TrainingBatches(root, "train", how, 8, seed=0).batch(0)
    seen = set(batch.targets.unique().tolist())
    assert len(seen) > 8
    assert seen <= {*range(11), IGNORE}
    for item in images_for_testing(root, "val", TestProtocol(max_images=5)):
        assert item.image.shape == (3, 360, 480)
        sky, road = (item.label[region] for region in (np.s_[:40], np.s_[-40:]))
        assert (sky == 3).sum() == 0, "no road at the top of a street scene"
        assert (road == 0).sum() == 0, "no sky at its bottom"


def test_a_frame_and_odd_sides() -> None:
    """A frame grows with the image, is scaled as a whole, and stays odd where it is odd."""
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    found = geometry((375, 500), TestProtocol(frame=(513, 513), odd=True, scales=scales))
    assert (found.image, found.frame) == ((375, 500), (513, 513))
    assert [frame for _, frame in found.views] == [
        (257, 257),
        (385, 385),
        (513, 513),
        (641, 641),
        (769, 769),
        (897, 897),
    ]
    assert [image for image, _ in found.views][:3] == [(188, 250), (281, 375), (375, 500)]
    assert all(i <= f for image, frame in found.views for i, f in zip(image, frame))
    assert geometry((600, 500), TestProtocol(frame=(513, 513), odd=True)).frame == (600, 513)
    assert geometry((600, 501), TestProtocol(odd=True, scales=(0.5,))).views == [((300, 251), (300, 251))]
    small = TestProtocol(frame=(65, 65), resize=(96, 64), scales=(1.0, 0.5))
    assert geometry((64, 96), small) == ((64, 96), (65, 96), [((64, 96), (65, 96)), ((32, 48), (32, 48))])
