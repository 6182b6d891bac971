"""From a download to a dataset: conversions against references, resuming, hostile archives."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.data import catalogue
from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.archives import unpack
from harness.data.files import pairs
from harness.data.prepare import CITYSCAPES_LABELS, label_ids, prepare
from harness.data.synthetic import synthesize
from harness.errors import DataError, MissingError, OutputError, UserError
from harness.recipes.profile import Synthetic

SCENES = Synthetic(train_images=3, test_images=2, size=(24, 32))


def download(name: str, place: Path, layout: str | None = None) -> Path:
    """What unpacking the official download would leave, small."""
    return synthesize(name, place, scenes=SCENES, layout=layout)


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def training_ids(root) -> dict[str, np.ndarray]:  # type: ignore[no-untyped-def]
    reader = LabelReader(root.layout)
    return {
        f"{split}/{pair.id.rpartition('_')[2]}": read_pair(pair, reader)[1]
        for split in root.dataset.splits
        for pair in pairs(root, split)
    }


@pytest.mark.parametrize("form", ["folder", "zip", "folder of zips", "tar.gz"])
@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "lip", "nighttime_driving"])
def test_any_form_of_download(name: str, form: str, tmp_path: Path) -> None:
    unpacked = download(name, tmp_path / "download")
    source = unpacked
    if form == "zip":
        source = zipped(unpacked, tmp_path / "all.zip")
    elif form == "tar.gz":
        source = tmp_path / "all.tar.gz"
        with tarfile.open(source, "w:gz") as file:
            file.add(unpacked, ".")
    elif form == "folder of zips":
        source = tmp_path / "zips"
        source.mkdir()
        for part in sorted(p for p in unpacked.iterdir() if p.is_dir()):
            (tmp_path / "part").mkdir()
            shutil.copytree(part, tmp_path / "part" / part.name)
            zipped(tmp_path / "part", source / f"{part.name}.zip")
            shutil.rmtree(tmp_path / "part")
    root = prepare(name, source, tmp_path / "data")
    assert root.path.is_relative_to(tmp_path / "data" / root.dataset.folder)
    assert all(pairs(root, split) for split in root.dataset.splits)


@pytest.mark.parametrize("name", ["coco_stuff10k", "coco_stuff10k_171", "pascal_context_59", "pascal_context_60"])
def test_matlab_labels_mean_the_same_after_conversion(name: str, tmp_path: Path) -> None:
    from harness.data.layout import Root

    dataset = catalogue.find(name)
    raw = next(layout for layout in dataset.layouts if layout.label.endswith(".mat"))
    folder = download(name, tmp_path / "download", raw.name)
    before = training_ids(Root(dataset, raw, folder))
    seen: list[tuple[str, int, int]] = []
    root = prepare(name, folder, tmp_path / "data", lambda what, done, total: seen.append((what, done, total)))
    assert root.layout.label.endswith(".png")
    after = training_ids(root)
    assert before.keys() == after.keys()
    for id, expected in before.items():
        np.testing.assert_array_equal(after[id], expected)
    total = sum(len(pairs(root, split)) for split in dataset.splits)
    assert ("convert label maps", total, total) in seen


def test_conversion_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = download("coco_stuff10k", tmp_path / "download", "official")
    root = prepare("coco_stuff10k", folder, tmp_path / "data")
    kept, lost = (Path(pair.label) for pair in pairs(root, "train")[:2])
    lost.unlink()
    before = kept.stat().st_mtime_ns
    seen: list[tuple[str, int, int]] = []
    prepare("coco_stuff10k", folder, tmp_path / "data", lambda what, done, total: seen.append((what, done, total)))
    assert [s for s in seen if s[0] == "convert label maps"] == [("convert label maps", 1, 1)]
    assert kept.stat().st_mtime_ns == before
    assert lost.is_file()


def test_pascal_context_lists_from_the_merged_json(tmp_path: Path) -> None:
    folder = download("pascal_context_59", tmp_path / "download", "official")
    lists = folder / "VOCdevkit/VOC2010/ImageSets/SegmentationContext"
    phases = {split: (lists / f"{split}.txt").read_text().split() for split in ("train", "val")}
    shutil.rmtree(lists)
    images = [{"file_name": f"{id}.jpg", "phase": split} for split, ids in phases.items() for id in ids]
    (folder / "trainval_merged.json").write_text(json.dumps({"images": images}))
    root = prepare("pascal_context_59", folder, tmp_path / "data")
    assert {split: [pair.id for pair in pairs(root, split)] for split in phases} == phases
    (tmp_path / "data/pascal_context/trainval_merged.json").write_text('{"pictures": []}')
    with pytest.raises(DataError, match=r"trainval_merged.json.*'images'"):
        prepare("pascal_context_59", tmp_path / "data/pascal_context", tmp_path / "data")


def polygons(place: Path, *objects: dict) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"imgWidth": 32, "imgHeight": 24, "objects": objects}))
    return place


def square(label: str, left: int, top: int, side: int, **more: object) -> dict:
    right, bottom = left + side - 1, top + side - 1
    return {"label": label, "polygon": [[left, top], [right, top], [right, bottom], [left, bottom]], **more}


def test_cityscapes_polygons_become_label_ids(tmp_path: Path) -> None:
    file = polygons(
        tmp_path / "a.json",
        square("road", 0, 0, 20),
        square("car", 5, 5, 4),
        square("license plate", 6, 6, 2),
        square("persongroup", 10, 10, 3),
        square("sky", 0, 0, 30, deleted=1),
    )
    expected = np.zeros((24, 32), np.uint8)
    expected[:20, :20] = 7
    expected[5:9, 5:9] = 26
    expected[10:13, 10:13] = 24
    np.testing.assert_array_equal(label_ids(file), expected)
    assert CITYSCAPES_LABELS.index("bicycle") == 33
    classes = catalogue.find("cityscapes").classes
    labels = catalogue.find("cityscapes").layouts[0].labels
    for id, name in enumerate(CITYSCAPES_LABELS):
        assert labels[id] == (classes.index(name) if name in classes else 255)


def test_cityscapes_without_label_ids_is_drawn(tmp_path: Path) -> None:
    folder = download("cityscapes", tmp_path / "download")
    for label in folder.glob("gtFine/*/*/*_labelIds.png"):
        polygons(label.with_name(label.name.replace("labelIds.png", "polygons.json")), square("car", 2, 3, 5))
        label.unlink()
    root = prepare("cityscapes", folder, tmp_path / "data")
    for pair in pairs(root, "train"):
        assert (cv2.imread(pair.label, -1) == 26).sum() == 25
    broken = polygons(tmp_path / "b.json", square("spaceship", 0, 0, 3))
    with pytest.raises(DataError, match=r"b.json.*spaceship"):
        label_ids(broken)


def hostile_zip(name: str) -> Callable[[Path], Path]:
    def write(place: Path) -> Path:
        with zipfile.ZipFile(place / "bad.zip", "w") as file:
            file.writestr("images/good.jpg", b"x")
            file.writestr(name, b"x")
        return place / "bad.zip"

    return write


def hostile_tar(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path], Path]:
    def write(place: Path) -> Path:
        with tarfile.open(place / "bad.tar", "w") as file:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member, io.BytesIO(b""))
        return place / "bad.tar"

    return write


@pytest.mark.parametrize(
    "write",
    [
        hostile_zip("../escaped"),
        hostile_zip("a/../../escaped"),
        hostile_zip("/escaped"),
        hostile_tar("../escaped"),
        hostile_tar("escaped", tarfile.SYMTYPE),
        hostile_tar("escaped", tarfile.LNKTYPE),
        hostile_tar("escaped", tarfile.FIFOTYPE),
    ],
)
def test_entries_that_escape_are_refused(write: Callable[[Path], Path], tmp_path: Path) -> None:
    archive = write(tmp_path)
    (tmp_path / "inside").mkdir()
    with pytest.raises(DataError, match=r"bad\.(zip|tar): entry '.*escaped'"):
        unpack(archive, tmp_path / "inside" / "target")
    assert not list(tmp_path.rglob("escaped"))
    assert not (tmp_path / "inside" / "target").exists(), "nothing is unpacked from such an archive"


def test_damaged_archive_is_named(tmp_path: Path) -> None:
    archive = zipped(download("camvid", tmp_path / "download"), tmp_path / "all.zip")
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"all\.zip"):
        prepare("camvid", archive, tmp_path / "data")
    middle = bytearray(data)
    middle[200:260] = bytes(60)
    archive.write_bytes(bytes(middle))
    with pytest.raises(DataError, match=r"all\.zip"):
        prepare("camvid", archive, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tmp"))


def test_unpacking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    archive = zipped(download("camvid", tmp_path / "download"), tmp_path / "all.zip")
    root = prepare("camvid", archive, tmp_path / "data")
    kept, lost = (Path(pair.image) for pair in pairs(root, "train")[:2])
    before = kept.stat().st_ino
    lost.write_bytes(b"half")
    prepare("camvid", archive, tmp_path / "data")
    assert kept.stat().st_ino == before
    assert lost.stat().st_size > 100


def test_source_that_is_not_there_or_not_the_dataset(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="--from names the download"):
        prepare("ade20k", tmp_path / "nowhere", tmp_path / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/readme.txt").write_text("x")
    with pytest.raises(MissingError, match="none of its known layouts"):
        prepare("ade20k", tmp_path / "other", tmp_path / "data")
    with pytest.raises(MissingError, match="neither a folder nor an archive"):
        prepare("ade20k", tmp_path / "other/readme.txt", tmp_path / "data2")


def test_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = download("camvid", tmp_path / "download")
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="data"):
        prepare("camvid", folder, tmp_path / "data")


def test_synthesize_never_overwrites(tmp_path: Path) -> None:
    download("camvid", tmp_path)
    with pytest.raises(UserError, match="not empty"):
        download("camvid", tmp_path)
    with pytest.raises(UserError, match=r"no layout 'mat'.*official"):
        synthesize("coco_stuff10k", tmp_path, layout="mat")


def test_download_is_left_as_it_was(tmp_path: Path) -> None:
    folder = download("coco_stuff10k", tmp_path / "download", "official")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    for path in folder.rglob("*"):
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    prepare("coco_stuff10k", folder, tmp_path / "data")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
