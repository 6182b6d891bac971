"""`data new`: the declaration of a folder as people have them, guessed; what cannot be is listed, never assumed in silence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.cli.main import main
from harness.data import catalogue, files
from harness.data.guess import guess
from harness.data.verify import verify
from harness.errors import UserError


def put(folder: Path, *pairs: tuple[str, str], values: tuple[int, ...] = (0, 1, 255)) -> Path:
    """Images and label maps at these paths; each image is another one."""
    for number, (image, label) in enumerate(pairs):
        rng = np.random.default_rng(number)
        for path, pixels in (
            (image, rng.integers(0, 255, (24, 32, 3), np.uint8)),
            (label, rng.choice(np.array(values, np.uint8), (24, 32))),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / path), pixels)
    return folder


FORMS = {
    "splits inside": [(f"images/{s}/{i}.jpg", f"masks/{s}/{i}.png") for s in ("train", "val") for i in "ab"],
    "splits outside": [(f"{s}/images/{i}.png", f"{s}/labels/{i}.png") for s in ("train", "val") for i in "ab"],
    "other words": [(f"img/{s}/{i}.png", f"gt/{s}/{i}.png") for s in ("training", "validation") for i in "ab"],
    "endings": [(f"images/{s}/{i}_rgb.png", f"masks/{s}/{i}_mask.png") for s in ("train", "val") for i in ("a1", "b2")],
    "label ending": [
        (f"images/{s}/{i}.png", f"masks/{s}/{i}_labelIds.png") for s in ("train", "val") for i in ("a1", "b2")
    ],
    "cities": [(f"images/{s}/bonn/{i}.png", f"masks/{s}/bonn/{i}.png") for s in ("train", "val") for i in "ab"],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_becomes_a_dataset_whose_every_file_is_sound(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "streets", *FORMS[form])
    assert main(["data", "new", "streets"]) == 0
    printed = capsys.readouterr().out
    assert "written: datasets/streets.yaml" in printed
    assert "images: train 2, val 2; classes: 2" in printed
    dataset = catalogue.find(str(tmp_path / "datasets/streets.yaml"))
    assert dataset.splits == {"train": 2, "val": 2}
    assert dataset.layouts[0].labels == {0: 0, 1: 1, 255: 255}
    found = verify(str(tmp_path / "datasets/streets.yaml"), None, tmp_path / "cache")
    assert found.ok, found.text()
    assert main(["data", "verify", "streets", "--results", "results"]) == 0  # as a recipe names it


def test_lists_say_the_splits(tmp_path: Path):
    put(tmp_path, *[(f"JPEGImages/{i}.jpg", f"SegmentationClass/{i}.png") for i in "abcd"])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/train.txt").write_text("a\nb\nc\n")
    (tmp_path / "lists/validation.txt").write_text("d\n")
    found = guess(tmp_path)
    assert (found.layout.listing, found.layout.folders) == ("lists/{split}.txt", {"val": "validation"})
    assert {split: len(ids) for split, ids in found.layout.ids.items()} == {"train": 3, "val": 1}


def test_names_and_colours_come_from_what_lies_there(tmp_path: Path):
    put(tmp_path, *FORMS["splits inside"])
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    for file in tmp_path.glob("masks/*/*.png"):
        picture = Image.fromarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), mode="L").convert("P")
        picture.putpalette([128, 64, 128, 0, 0, 142] + [0] * 762)
        picture.save(file)
    found = guess(tmp_path)
    assert found.values == {0: ("road", (128, 64, 128)), 1: ("car", (0, 0, 142))}
    assert found.unknown == []


def test_what_could_not_be_guessed_is_listed(tmp_path: Path):
    put(tmp_path, *[(f"images/{i}.png", f"masks/{i}.png") for i in "ab"])
    put(tmp_path, ("images/c.png", "elsewhere/c.png"))
    cv2.imwrite(str(tmp_path / "masks/b.png"), np.zeros((24, 32, 3), np.uint8))
    text = "\n".join(guess(tmp_path).unknown)
    assert "1 images have no label map, such as c" in text
    assert "all images are 'train', and there is no 'val'" in text
    assert "names of classes: found no classes.txt" in text
    assert "which value, often the first or the last (0 or 1), means 'not annotated'" in text
    assert "1 label maps cannot be read, the first:" in text
    assert "b.png: a label map must have one channel" in text


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            [("a/1.png", "b/1.png")],
            "found no folder of images; expected are folders called images.*folders with pictures: a, b",
        ),
        ([("images/1.png", "b/1.png")], "found no folder of label maps"),
        ([("images/1.png", "masks/x.png")], r"no label map has the name of an image \(images/1\.png, masks/x\.png\)"),
    ],
)
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, paths: list[tuple[str, str]], message: str):
    with pytest.raises(UserError, match=message):
        guess(put(tmp_path, *paths))


def test_no_folder_and_a_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "new", "nowhere"]) == 2
    assert "nowhere: there is no such folder" in capsys.readouterr().err
    put(tmp_path / "own", *FORMS["splits inside"])
    assert main(["data", "new", "own", "--out", "d.yaml"]) == 0
    assert main(["data", "new", "own", "--out", "d.yaml"]) == 2
    root = files.locate(files.Data(name=str(tmp_path / "d.yaml")), data_dir=None, cache=tmp_path)
    assert root.path == tmp_path / "own"
