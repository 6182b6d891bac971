"""Annotation files that no dataset has: refused with a clear error before anything of the size they claim is made."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from pathlib import Path

import pytest

from harness.data import catalogue
from harness.data.annotations import coco, json_file
from harness.data.layout import Pair
from harness.data.prepare import label_ids, prepare
from harness.data.synthetic import synthesize
from harness.errors import DataError
from harness.recipes.profile import Synthetic
from tests.support.hostile_annotations import DEEP, INSTANCES, POLYGONS, polygons

LITTLE = 64 << 20  # bytes
COCO = catalogue.find("coco_detection")


@pytest.mark.slow
@pytest.mark.parametrize("name", POLYGONS)
def test_hostile_polygons_are_refused(name: str, tmp_path: Path) -> None:
    content, words = POLYGONS[name]
    file = tmp_path / "a_gtFine_polygons.json"
    file.write_text(content())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=words) as error:
            label_ids(file)
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith(f"{file}: ")
    assert len(str(error.value)) < len(str(file)) + 400


def test_polygons_that_reach_over_the_edge_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(polygons(polygon=[[-3, -3], [40, -3], [40, 3], [-3, 3]]))
    assert (label_ids(file) == 7).sum(axis=1).tolist() == [32] * 4 + [0] * 20


@pytest.fixture(scope="module")
def small_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenes = Synthetic(train_images=2, test_images=1, size=(24, 32))
    return (
        synthesize(COCO.name, tmp_path_factory.mktemp("data"), scenes=scenes) / "annotations/instances_train2017.json"
    )


@pytest.mark.parametrize("name", INSTANCES)
def test_hostile_instances_are_problems(name: str, small_coco: Path, tmp_path: Path) -> None:
    change, words = INSTANCES[name]
    record = json.loads(small_coco.read_text())
    change(record)
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(record))
    image = small_coco.parents[1] / "train2017/000000000000.jpg"
    (problem,) = coco.check(COCO.layouts[0], [Pair(image.stem, str(image), str(file))], lambda done, total: None)
    assert problem.startswith(f"{file}: ")
    assert re.search(words, problem), problem
    assert len(problem) < len(str(file)) + 400


@pytest.mark.parametrize("text", [DEEP, '{"images": ' + DEEP + "}", "null", '{"images": {}}', "\x00"])
def test_an_annotation_file_of_another_form_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"instances\.json: (cannot be read as JSON|not an annotation file)"):
        coco.read(file)


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of holes takes no room on the disk, and all of it in memory."""
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(3 << 30)
    monkeypatch.setattr(json_file.json, "loads", lambda text: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"huge\.json: an annotation file of 3\.0 GiB"):
        coco.read(tmp_path / "huge.json")


def test_a_list_of_splits_nested_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    (tmp_path / "download/trainval_merged.json").write_text(DEEP)
    with pytest.raises(DataError, match=r"trainval_merged\.json: cannot be read as JSON"):
        prepare("pascal_context_59", tmp_path / "download", tmp_path / "data")


def test_links_of_a_download_are_copied(tmp_path: Path) -> None:
    """What is written into the data folder later never changes a file outside of it, by whatever name it has there."""
    folder = synthesize("camvid", tmp_path / "download", scenes=Synthetic(train_images=2, test_images=1, size=(24, 32)))
    first, second, third = (
        sorted((folder / "images/train").iterdir())[:2] + sorted((folder / "images/val").iterdir())[:1]
    )
    precious = tmp_path / "precious.jpg"
    precious.write_bytes(first.read_bytes())
    first.unlink()
    first.symlink_to(precious)
    os.link(second, tmp_path / "another name.jpg")
    root = prepare("camvid", folder, tmp_path / "data")
    place = root.path / "images"
    for copy in (place / "train" / first.name, place / "train" / second.name):
        assert not copy.is_symlink()
        assert copy.stat().st_nlink == 1
        copy.write_bytes(b"changed")
    assert precious.read_bytes() != b"changed"
    assert second.read_bytes() != b"changed"
    assert (place / "val" / third.name).samefile(third), "the disk is not filled by what has one name alone"
