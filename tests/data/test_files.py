"""Finding datasets: what is told when something is not there, and digests that notice every change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data import catalogue
from harness.data.files import digest, locate, manifest, manifest_path, pairs, scan
from harness.data.layout import Root
from harness.data.synthetic import write
from harness.errors import DataError, MissingError, UserError
from harness.jobs.kinds import Data
from harness.recipes.profile import Synthetic

SCENES = Synthetic(train_images=3, test_images=2, size=(24, 32))


def as_dataset(name: str, data_dir: Path, layout: int = 0, top: bool = False) -> Path:
    """Writes scenes where the dataset itself would be; returns the folder the layout's paths start from."""
    dataset = catalogue.find(name)
    folder = data_dir / dataset.folder / (dataset.layouts[layout].top if top else "")
    write(dataset, SCENES, folder, dataset.layouts[layout])
    return folder


def every_layout() -> list[tuple[str, int]]:
    return [
        (name, i) for name in catalogue.names() for i in range(len(catalogue.find(name).layouts)) if name != "synthetic"
    ]


@pytest.mark.parametrize(("name", "layout"), every_layout())
def test_every_layout_is_recognised(name: str, layout: int, tmp_path: Path) -> None:
    folder = as_dataset(name, tmp_path, layout, top=True)
    root = locate(Data(name=name), data_dir=tmp_path, cache=tmp_path / "cache")
    assert root.layout == root.dataset.layouts[layout]
    assert root.path == folder
    for split in root.dataset.splits:
        found, problems = scan(root, split)
        assert len(found) == (3 if split == "train" else 2)
        assert problems == []


def test_absent_dataset_says_where_what_and_how(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        locate(Data(name="ade20k"), data_dir=tmp_path, cache=tmp_path)
    message = str(caught.value)
    for part in (str(tmp_path / "ade20k"), "annotations/training", "--data", "HARNESS_DATA", "--profile smoke"):
        assert part in message


def test_no_data_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no data folder is set"):
        locate(Data(name="camvid"), data_dir=None, cache=tmp_path)


def test_unknown_layout_is_missing(tmp_path: Path) -> None:
    (tmp_path / "camvid" / "pictures").mkdir(parents=True)
    with pytest.raises(MissingError, match="none of its known layouts"):
        locate(Data(name="camvid"), data_dir=tmp_path, cache=tmp_path)


def test_half_unpacked_names_what_is_absent(tmp_path: Path) -> None:
    folder = as_dataset("cityscapes", tmp_path)
    shutil.rmtree(folder / "gtFine")
    with pytest.raises(DataError, match=r"half there.*leftImg8bit/train is there, but .*gtFine/train is not"):
        locate(Data(name="cityscapes"), data_dir=tmp_path, cache=tmp_path)


def test_missing_labels_are_all_named(tmp_path: Path) -> None:
    folder = as_dataset("camvid", tmp_path)
    for number in (0, 2):
        (folder / f"annotations/train/train_{number:06d}.png").unlink()
    root = locate(Data(name="camvid"), data_dir=tmp_path, cache=tmp_path)
    with pytest.raises(DataError) as caught:
        pairs(root, "train")
    assert "missing files: 2\n" in str(caught.value)
    assert "train_000000.png" in str(caught.value)
    assert "train_000002.png" in str(caught.value)
    assert len(pairs(root, "val")) == 2


def test_missing_image_of_a_list_or_a_label_is_named(tmp_path: Path) -> None:
    listed = as_dataset("coco_stuff10k", tmp_path)
    (listed / "images/train_000001.jpg").unlink()
    unlisted = as_dataset("camvid", tmp_path)
    (unlisted / "images/train/train_000001.jpg").unlink()
    for name in ("coco_stuff10k", "camvid"):
        root = locate(Data(name=name), data_dir=tmp_path, cache=tmp_path)
        with pytest.raises(DataError, match=r"train_000001.*is not there"):
            pairs(root, "train")


def test_digest_follows_content_not_place_or_time(tmp_path: Path) -> None:
    for place in ("a", "b"):
        as_dataset("camvid", tmp_path / place)
    data = Data(name="camvid")
    first = digest(data, data_dir=tmp_path / "a", cache=tmp_path / "cache")
    assert digest(data, data_dir=tmp_path / "b", cache=tmp_path / "cache") == first
    label = tmp_path / "b/camvid/annotations/val/val_000001.png"
    label.write_bytes(label.read_bytes() + b"\0")
    assert digest(data, data_dir=tmp_path / "b", cache=tmp_path / "cache") != first


def test_manifest_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_dataset("camvid", tmp_path)
    root = locate(Data(name="camvid"), data_dir=tmp_path, cache=tmp_path)
    seen: list[int] = []
    first = manifest(root, tmp_path / "cache", lambda done, total: seen.append(total))
    assert seen == [len(first.files)] * len(first.files)
    seen.clear()
    assert manifest(root, tmp_path / "cache", lambda done, total: seen.append(total)) == first
    assert seen == []
    (folder / "images/val/val_000000.jpg").touch()
    assert manifest(root, tmp_path / "cache", lambda done, total: seen.append(total)).digest == first.digest
    assert seen == [1]
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", None)  # loads slowly, in every command that plans
    assert manifest(root, tmp_path / "cache").digest == first.digest


def test_damaged_manifest_is_made_again(tmp_path: Path) -> None:
    as_dataset("camvid", tmp_path)
    root = locate(Data(name="camvid"), data_dir=tmp_path, cache=tmp_path)
    first = manifest(root, tmp_path / "cache")
    manifest_path(root, tmp_path / "cache").write_text('{"files": {"x": 3')
    assert manifest(root, tmp_path / "cache") == first


def test_digest_of_scenes_writes_nothing(tmp_path: Path) -> None:
    data = Data(name="lip", synthetic=SCENES)
    first = digest(data, data_dir=None, cache=tmp_path)
    other = digest(Data(name="lip", synthetic=Synthetic(size=(24, 40))), data_dir=None, cache=tmp_path)
    assert first != other
    assert first != digest(Data(name="cihp", synthetic=SCENES), data_dir=None, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_synthetic_is_a_dataset_of_its_own(tmp_path: Path) -> None:
    root = locate(Data(name="synthetic"), data_dir=None, cache=tmp_path)
    assert len(pairs(root, "train")) == Synthetic().train_images


def test_unknown_split_lists_the_known(synthetic_root: Callable[[str], Root]) -> None:
    with pytest.raises(UserError, match=r"no split 'vall'\. Did you mean 'val'"):
        pairs(synthetic_root("camvid"), "vall")
