"""Embedded scenes: deterministic, in every dataset's own layout and raw values, safe to write from two processes."""

from __future__ import annotations

import errno
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data import catalogue
from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import locate, pairs
from harness.data.layout import IGNORE, Root
from harness.data.scenes import scene
from harness.data.synthetic import write
from harness.errors import OutputError
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic


@pytest.mark.parametrize("name", [name for name in catalogue.names() if catalogue.find(name).task == "segmentation"])
def test_labels_survive_the_way_through_raw_values(name: str, synthetic_root: Callable[[str], Root]) -> None:
    root = synthetic_root(name)
    reader = LabelReader(root.layout)
    has_void = IGNORE in root.layout.labels.values()
    for number_of_split, split in enumerate(root.dataset.splits):
        for number, pair in enumerate(pairs(root, split)):
            image, label = read_pair(pair, reader)
            rng = np.random.default_rng([number_of_split, number, root.dataset.num_classes])
            painted, meant = scene(rng, root.dataset.num_classes, (48, 64))
            expected = meant if has_void else np.where(meant == IGNORE, 0, meant)
            np.testing.assert_array_equal(label, expected)
            assert set(np.unique(label)) <= {*range(root.dataset.num_classes), IGNORE}
            assert np.abs(image.astype(int) - painted).mean() < 12  # JPEG


@pytest.mark.parametrize("num_classes", [1, 2, 3, 19, 182])
def test_any_number_of_classes(num_classes: int) -> None:
    seen: set[int] = set()
    for number in range(30):
        image, label = scene(np.random.default_rng(number), num_classes, (32, 40))
        assert image.shape == (32, 40, 3)
        seen |= set(np.unique(label).tolist())
    assert IGNORE in seen
    assert seen - {IGNORE} <= set(range(num_classes))
    assert len(seen) - 1 >= min(num_classes, 12)


def test_companions_stand_on_their_ground_and_low_classes_are_frequent() -> None:
    together = apart = 0
    pixels = np.zeros(256, int)
    for number in range(300):
        _, label = scene(np.random.default_rng(number), 20, (48, 64))
        present = set(np.unique(label).tolist()) - {IGNORE}
        pixels += np.bincount(label.ravel(), minlength=256)
        for k in present:
            if k % 2:
                together += (k - 1) in present
                apart += (k - 1) not in present
    assert together > 3 * apart  # by chance one ground in four would be there
    assert pixels[0] > 2 * pixels[18]


def test_writing_twice_gives_the_same_files(tmp_path: Path) -> None:
    dataset = catalogue.find("cityscapes")
    for place in ("a", "b"):
        write(dataset, Synthetic(train_images=2, test_images=1, size=(24, 32)), tmp_path / place, dataset.layouts[0])
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def _locate(cache: Path) -> Path:
    data = Data(name="camvid", synthetic=Synthetic(train_images=6, test_images=3, size=(24, 32)))
    return locate(data, data_dir=None, cache=cache).path


def test_two_processes_may_write_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        folders = set(pool.map(_locate, [tmp_path] * 8))
    assert len(folders) == 1
    assert len(list(next(iter(folders)).rglob("*.jpg"))) == 12
    assert list((tmp_path / "synthetic").iterdir()) == list(folders), "nothing may be left aside"


def test_a_cache_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        _locate(tmp_path / "cache")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.data import synthetic

    written: list[Path] = []
    save = synthetic.save

    def full(path: Path, pixels: np.ndarray) -> None:
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        save(path, pixels)

    monkeypatch.setattr(synthetic, "save", full)
    with pytest.raises(OutputError, match="the disk is full"):
        _locate(tmp_path)
    assert list((tmp_path / "synthetic").iterdir()) == []
    monkeypatch.undo()
    assert _locate(tmp_path).is_dir()
