"""Verification finds every bad file, not the first; training and testing ask it before their first step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.data import catalogue
from harness.data.files import pairs
from harness.data.layout import Root
from harness.data.synthetic import synthesize
from harness.data.verify import ensure_sound, verify
from harness.errors import DataError
from harness.recipes.profile import Synthetic
from tests.support.waiting import PATIENCE

SCENES = Synthetic(train_images=6, test_images=2, size=(24, 32))


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small CamVid whose published sizes are those of the copy."""
    declared = replace(catalogue.find("camvid"), splits={"train": 6, "val": 2, "test": 2})
    monkeypatch.setattr("harness.data.catalogue.camvid.DATASET", declared)
    synthesize("camvid", tmp_path / "data", scenes=SCENES)
    return tmp_path / "data"


def test_a_sound_dataset(camvid: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    result = verify("camvid", camvid, tmp_path / "cache", progress=lambda *step: seen.append(step))
    assert result.ok
    assert {split: found.images for split, found in result.splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert "no problems found" in result.text()
    assert ("read train", 6, 6) in seen


def test_all_problems_are_found(camvid: Path, tmp_path: Path) -> None:
    folder = camvid / "camvid"
    images, labels = folder / "images/train", folder / "annotations/train"
    (images / "train_000000.jpg").write_bytes((images / "train_000000.jpg").read_bytes()[:300])
    (labels / "train_000001.png").write_bytes(b"")
    cv2.imwrite(str(labels / "train_000002.png"), np.full((24, 32), 12, np.uint8))
    cv2.imwrite(str(labels / "train_000003.png"), np.zeros((24, 31), np.uint8))
    (labels / "train_000004.png").unlink()
    (folder / "images/val/val_000000.jpg").unlink()
    result = verify("camvid", camvid, tmp_path / "cache")
    text = result.text()
    for part in (
        "train_000000.jpg: truncated JPEG",
        "train_000001.png: the file is empty",
        "train_000002.png: label 12 outside the allowed values 0..11",
        "train_000003.png: the image has 32×24 pixels, the label map 31×24",
        "train_000004.png: label map of an image is not there",
        "val_000000.jpg: image of a label map is not there",
        "split 'train' has 5 complete pairs, published are 6",
        "split 'val' has 1 complete pairs, published are 2",
    ):
        assert part in text
    assert len(result.problems) == 8
    assert text.endswith("8 problems found")


def test_changed_contents_are_noticed_until_accepted(camvid: Path, tmp_path: Path) -> None:
    assert verify("camvid", camvid, tmp_path / "cache").ok
    label = camvid / "camvid/annotations/test/test_000001.png"
    cv2.imwrite(str(label), np.zeros((24, 32), np.uint8))
    result = verify("camvid", camvid, tmp_path / "cache")
    assert result.problems == [f"{label}: its content differs from when the dataset was last verified"]
    assert not verify("camvid", camvid, tmp_path / "cache").ok
    assert verify("camvid", camvid, tmp_path / "cache", accept=True).ok
    assert verify("camvid", camvid, tmp_path / "cache").ok


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the images that the verification has read."""
    from harness.data import verify as room

    paths: list[str] = []
    read = room.read_image
    monkeypatch.setattr(room, "read_image", lambda path: paths.append(path) or read(path))
    return paths


def test_ensure_sound_names_every_bad_file_and_reads_once(
    own_root: Callable[[str], Root], tmp_path: Path, reads: list[str]
) -> None:
    root = own_root("camvid")
    found = pairs(root, "train")
    good = {pair.image: Path(pair.image).read_bytes() for pair in found[:2]}
    for image, data in good.items():
        Path(image).write_bytes(data[:100])
    with pytest.raises(DataError, match="2 problems") as caught:
        ensure_sound(root, "train", tmp_path)
    assert all(Path(image).name in str(caught.value) for image in good)
    assert len(reads) == 5
    for image, data in good.items():
        Path(image).write_bytes(data)
    ensure_sound(root, "train", tmp_path)
    assert len(reads) == 5 + 2, "only what was bad or changed is read again"
    ensure_sound(root, "train", tmp_path)
    assert len(reads) == 7
    Path(found[3].label).unlink()
    with pytest.raises(DataError, match=Path(found[3].label).name):
        ensure_sound(root, "train", tmp_path)


def test_several_processes_read_a_part_each_and_all_name_every_bad_file(
    own_root: Callable[[str], Root], tmp_path: Path, reads: list[str]
) -> None:
    root = own_root("camvid")
    found = pairs(root, "train")
    good = {pair.image: Path(pair.image).read_bytes() for pair in found[:3]}
    for image, data in good.items():
        Path(image).write_bytes(data[:100])
    texts, meeting = ["", ""], threading.Barrier(2)

    def process(k: int) -> str:
        def gather(text: str) -> list[str]:
            texts[k] = text
            meeting.wait(timeout=PATIENCE)
            return list(texts)

        try:
            ensure_sound(root, "train", tmp_path, part=(k, 2), gather=gather)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as both:
        first, second = both.map(process, range(2))
        assert first == second
        assert "3 problems" in first
        assert all(Path(image).name in first for image in good)
        assert sorted(reads) == sorted(pair.image for pair in found), "each is read once"
        for image, data in good.items():
            Path(image).write_bytes(data)
        assert list(both.map(process, range(2))) == ["", ""]
    assert len(reads) == len(found) + 3
    ensure_sound(root, "train", tmp_path)
    assert len(reads) == len(found) + 3, "what all have read is remembered"


def test_another_meaning_of_labels_is_checked_anew(own_root: Callable[[str], Root], tmp_path: Path) -> None:
    root = own_root("lip")
    ensure_sound(root, "train", tmp_path)
    fewer = replace(root, layout=replace(root.layout, labels={0: 0}))
    with pytest.raises(DataError, match="outside the allowed values"):
        ensure_sound(fewer, "train", tmp_path)
