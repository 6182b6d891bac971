"""MS COCO detection: declared and verified like every dataset, and refused where label maps are needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from harness.data import catalogue
from harness.data.annotations import coco
from harness.data.files import digest, locate, pairs
from harness.data.layout import Root
from harness.data.prepare import prepare
from harness.data.scenes import scene
from harness.data.synthetic import synthesize
from harness.data.verify import ensure_sound, verify
from harness.errors import DataError, UserError
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic
from harness.table import recipes

SCENES = Synthetic(train_images=3, test_images=2, size=(48, 64))
COCO = catalogue.find("coco_detection")


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a small MS COCO whose published sizes are those of the copy."""
    monkeypatch.setattr("harness.data.catalogue.coco_detection.DATASET", replace(COCO, splits={"train": 3, "val": 2}))
    synthesize(COCO.name, tmp_path / "data", scenes=SCENES)
    return tmp_path / "data"


@pytest.fixture
def change(data_dir: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Applies a change to the annotations of the training split."""

    def apply(how: Callable[[dict[str, Any]], object]) -> Path:
        file = data_dir / "coco/annotations/instances_train2017.json"
        record = json.loads(file.read_text())
        how(record)
        file.write_text(json.dumps(record))
        return file

    return apply


def test_eighty_categories_with_their_published_ids() -> None:
    labels = COCO.layouts[0].labels
    known = {1: "person", 3: "car", 11: "fire hydrant", 13: "stop sign", 62: "chair", 90: "toothbrush"}
    assert COCO.num_classes == len(labels) == 80
    assert {raw: COCO.classes[labels[raw]] for raw in known} == known
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91} & set(labels)
    assert dict(COCO.splits) == {"train": 118287, "val": 5000}


def test_scenes_are_in_its_own_layout(data_dir: Path, tmp_path: Path) -> None:
    """Outlines drawn again are the scene's patches, box by box and pixel by pixel."""
    record = coco.read(data_dir / "coco/annotations/instances_val2017.json")
    assert [image["file_name"] for image in record["images"]] == ["000000000000.jpg", "000000000001.jpg"]
    assert [c["id"] for c in record["categories"]] == sorted(COCO.layouts[0].labels)
    assert (data_dir / "coco/val2017/000000000001.jpg").is_file()
    for image in record["images"]:
        _, label = scene(np.random.default_rng([1, image["id"], 80]), 80, SCENES.size)
        own = [a for a in record["annotations"] if a["image_id"] == image["id"]]
        assert {COCO.layouts[0].labels[a["category_id"]] for a in own} == set(np.unique(label).tolist()) - {255}
        for one in own:
            mask = np.zeros(label.shape, np.uint8)
            cv2.fillPoly(mask, [np.array(one["segmentation"][0]).reshape(-1, 2)], 1)
            left, top, width, height = one["bbox"]
            assert cv2.boundingRect(mask) == (left, top, width, height)
            inside = (label == COCO.layouts[0].labels[one["category_id"]]) & (mask == 1)
            assert inside.sum() >= one["area"]


def test_verify_is_content_with_them(data_dir: Path, tmp_path: Path) -> None:
    found = verify(COCO.name, data_dir, tmp_path / "cache")
    assert found.ok, found.text()
    assert {split: report.images for split, report in found.splits.items()} == {"train": 3, "val": 2}


def test_every_problem_is_found(data_dir: Path, tmp_path: Path, change: Callable) -> None:
    def damage(record: dict[str, Any]) -> None:
        record["annotations"][0]["category_id"] = 12
        record["annotations"][1]["bbox"] = [50, 10, 30, 5]
        record["annotations"][2]["image_id"] = 77
        record["images"][1]["width"] = 65
        record["images"].append({"id": 9, "file_name": "000000000009.jpg", "height": 4, "width": 4})

    file = change(damage)
    images = data_dir / "coco/train2017"
    (images / "000000000002.jpg").write_bytes((images / "000000000002.jpg").read_bytes()[:200])
    (images / "000000000005.jpg").write_bytes((images / "000000000000.jpg").read_bytes())
    text = verify(COCO.name, data_dir, tmp_path / "cache").text()
    for part in (
        f"{file}: annotation 1: category 12 outside the allowed values 1..11, 13..25",
        f"{file}: annotation 2: box [50, 10, 30, 5] is not within its image of 64×48 pixels",
        f"{file}: annotation 3: there is no image 77",
        f"000000000001.jpg: the image has 64×48 pixels, {file} says 65×48",
        "000000000009.jpg: image of instances_train2017.json is not there",
        "000000000002.jpg: truncated JPEG",
        "000000000005.jpg: image is not listed in instances_train2017.json",
    ):
        assert part in text
    assert "7 problems found" in text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": []}', '{"images": [{}], "annotations": [], "categories": []}']
)
def test_a_broken_annotation_file_is_named(data_dir: Path, tmp_path: Path, text: str) -> None:
    file = data_dir / "coco/annotations/instances_train2017.json"
    file.write_text(text)
    found = verify(COCO.name, data_dir, tmp_path / "cache")
    assert found.splits["train"].images == 0
    assert any(str(file) in line for line in found.splits["train"].problems)


def test_an_incomplete_record_is_named(data_dir: Path, tmp_path: Path, change: Callable) -> None:
    file = change(lambda record: record["annotations"][0].pop("bbox"))
    found = verify(COCO.name, data_dir, tmp_path / "cache")
    assert found.splits["train"].problems == (f"{file}: a record is not as MS COCO's are (KeyError('bbox'))",)


def test_the_digest_notices_annotations(data_dir: Path, tmp_path: Path, change: Callable) -> None:
    def now() -> str:
        return digest(Data(name=COCO.name), data_dir=data_dir, cache=tmp_path / "cache")

    before = now()
    assert now() == before
    change(lambda record: record["annotations"].pop())
    assert now() != before


def test_half_unpacked_and_prepared(data_dir: Path, tmp_path: Path) -> None:
    root = prepare(COCO.name, data_dir / "coco", tmp_path / "prepared")
    assert root.path == tmp_path / "prepared/coco"
    for file in (root.path / "annotations").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"half there.*train2017 is there, but .*instances_train2017.json is not"):
        locate(Data(name=COCO.name), data_dir=tmp_path / "prepared", cache=tmp_path)


def test_no_segmentation_model_is_trained_or_tested_on_it(
    synthetic_root: Callable[[str], Root], tmp_path: Path
) -> None:
    root = synthetic_root(COCO.name)
    said = r"'coco_detection' is a detection dataset: .* no label maps"
    with pytest.raises(UserError, match=said):
        pairs(root, "train")
    with pytest.raises(UserError, match=said):
        ensure_sound(root, "train", tmp_path)
    (tmp_path / "recipes").mkdir()
    recipe = "boxes: {dataset: coco_detection, iterations: 1, augmentation: {resize: [64, 64], crop: [64, 64]}}\n"
    (tmp_path / "recipes/own.yaml").write_text(recipe)
    with pytest.raises(UserError, match=said) as refused:
        recipes.recipe("own/boxes", tmp_path)
    assert "own.yaml:1" in str(refused.value)
