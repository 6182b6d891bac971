"""Label maps in the classes' colours: declared, read by one lookup, guessed from a folder; what is not declared is an error."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from harness.cli.main import main
from harness.data import catalogue, files
from harness.data.annotations import colours
from harness.data.annotations.label_maps import LabelReader
from harness.data.guess import guess
from harness.data.key_parts import used_of
from harness.data.layout import IGNORE
from harness.data.synthetic import write_pair
from harness.data.verify import verify
from harness.errors import DataError, Problems
from harness.jobs.kinds import Data
from harness.yamlfile import parse

YAML = """\
title: Streets
image: images/{split}/{id}.png
label: masks/{split}/{id}.png
splits: {train: 2}
encoding: colours
classes:
  - {name: road, colour: [128, 64, 128]}
  - {name: car, colours: [[0, 0, 142], [0, 0, 70]]}
ignore: [[0, 0, 0]]
"""
ROAD, CAR, TRUCK, VOID = (128, 64, 128), (0, 0, 142), (0, 0, 70), (0, 0, 0)


def written(
    folder: Path, text: str = YAML, palette: tuple[tuple[int, int, int], ...] = (ROAD, CAR, TRUCK, VOID)
) -> Path:
    """The declaration in a folder with two images and their label maps in these colours."""
    rng = np.random.default_rng(0)
    for number in range(2):
        for kind, pixels in (
            ("images", rng.integers(0, 255, (24, 32, 3), np.uint8)),
            ("masks", np.array(palette, np.uint8)[rng.integers(0, len(palette), (24, 32))]),
        ):
            file = folder / kind / "train" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    (folder / "streets.yaml").write_text(text)
    return folder / "streets.yaml"


def read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first label map's training ids [H, W] and its colours [H, W, 3]."""
    root = files.locate(Data(name=str(file)), data_dir=None, cache=file.parent)
    pair = files.pairs(root, "train")[0]
    return LabelReader(root.layout).read(pair.label), np.asarray(Image.open(pair.label).convert("RGB"))


def test_colours_are_classes(tmp_path: Path):
    file = written(tmp_path)
    dataset = catalogue.find(str(file))
    assert dataset.palette == (ROAD, CAR)
    label, picture = read(file)
    assert label.dtype == np.uint8
    for colour, training in ((ROAD, 0), (CAR, 1), (TRUCK, 1), (VOID, IGNORE)):
        assert set(label[(picture == colour).all(2)].tolist()) == {training}


@pytest.mark.parametrize("form", ["RGBA", "P"])
def test_transparency_is_left_out_and_a_palette_resolved(tmp_path: Path, form: str):
    file = written(tmp_path)
    expected, _ = read(file)
    mask = tmp_path / "masks/train/0.png"
    picture = Image.open(mask).convert("RGB")
    (picture.convert(form) if form == "RGBA" else picture.quantize(8)).save(mask)
    np.testing.assert_array_equal(read(file)[0], expected)


def test_an_undeclared_colour_is_named_with_its_file_or_ignored(tmp_path: Path):
    file = written(tmp_path, palette=(ROAD, CAR, (1, 2, 3), (250, 250, 250)))
    allowed = r"\[128, 64, 128\], \[0, 0, 142\], \[0, 0, 70\], \[0, 0, 0\]"
    with pytest.raises(
        DataError, match=rf"0\.png: colours \[1, 2, 3\], \[250, 250, 250\] outside the allowed values {allowed}"
    ):
        read(file)
    strict = used_of(Data(name=str(file)), data_dir=None, cache=tmp_path).facts
    file.write_text(f"undeclared: ignore\n{YAML}")
    label, picture = read(file)
    assert set(label[picture[..., 0] == 250].tolist()) == {IGNORE}
    assert set(label[(picture == ROAD).all(2)].tolist()) == {0}
    loose = used_of(Data(name=str(file)), data_dir=None, cache=tmp_path).facts
    assert {name for name in strict if strict[name] != loose[name]} == {"label mapping"}


def test_what_was_sound_while_others_were_ignored_is_read_again(tmp_path: Path):
    file = written(tmp_path, f"undeclared: ignore\n{YAML}", palette=(ROAD, (1, 2, 3)))
    assert verify(str(file), None, tmp_path / "cache").ok
    file.write_text(YAML)
    assert any("colour [1, 2, 3]" in line for line in verify(str(file), None, tmp_path / "cache").problems)


def test_values_beyond_the_declared_ones_may_be_ignored_too(tmp_path: Path):
    layout = replace(catalogue.find("camvid").layouts[0], labels={0: 0, 3: 1}, undeclared="ignore")
    raw = np.array([[0, 3, 7, 60000]], np.uint16)
    assert LabelReader(layout).map("x", raw).tolist() == [[0, 1, IGNORE, IGNORE]]
    with pytest.raises(DataError, match="x: labels 7, 60000 outside the allowed values 0, 3"):
        LabelReader(replace(layout, undeclared="error")).map("x", raw)


def test_files_that_change_colours_are_refused(tmp_path: Path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    for name, message in (("a.jpg", "a JPEG file changes colours"), ("b.webp", "a lossy WebP file changes colours")):
        Image.fromarray(pixels).save(tmp_path / name, quality=90)
        with pytest.raises(DataError, match=message):
            colours.read(str(tmp_path / name))
    cv2.imwrite(str(tmp_path / "c.png"), pixels.astype(np.uint16))
    with pytest.raises(DataError, match=r"c\.png: a PNG of 16 bits per channel"):
        colours.read(str(tmp_path / "c.png"))


def test_scenes_are_written_in_colours(tmp_path: Path):
    layout = catalogue.find(str(written(tmp_path))).layouts[0]
    label = np.array([[0, 1, IGNORE]], np.uint8)
    write_pair(tmp_path / "scenes", layout, "train", "0", np.zeros((1, 3, 3), np.uint8), label)
    place = tmp_path / "scenes/masks/train/0.png"
    assert np.asarray(Image.open(place)).tolist() == [[[*ROAD], [*CAR], [*VOID]]]
    assert LabelReader(layout).read(str(place)).tolist() == label.tolist()


BAD = [
    ("ignore: [[0, 0, 0]]", "ignore: [255]", r"ignore\[0\]: with 'encoding: colours' it lists colours"),
    ("encoding: colours\n", "", r"ignore\[0\]: with 'encoding: values' it lists numbers"),
    ("[[0, 0, 0]]", "[70000]", r"yaml:9: ignore: 70000 is neither a value, 0 … 65535, nor a colour.*\n1 error"),
    ("[[0, 0, 0]]", "[[0, 0]]", r"yaml:9: ignore: \[0, 0\] is neither a value.*\n1 error"),
    ("[[0, 0, 0]]", "[[0, 0, 300]]", r"yaml:9: ignore: \[0, 0, 300\] is neither a value.*\n1 error"),
    ("[[0, 0, 0]]", "[void]", r"yaml:9: ignore: 'void' is neither a value.*\n1 error"),
    ("encoding: colours\n", "", r"classes\[1\]\.colours: has no meaning with 'encoding: values'"),
    ("colour: [128, 64, 128]", "values: [1]", r"classes\[0\]\.values: has no meaning with 'encoding: colours'"),
    (", colour: [128, 64, 128]", "", r"classes\[0\]: class 'road' needs its colour: colour: \[red, green, blue\]"),
    ("[0, 0, 70]", "[128, 64, 128]", r"classes\[1\]\.colours: the colour \[128, 64, 128\] means class 'road' already"),
    ("[0, 0, 70]", "[0, 0, 0]", r"the colour \[0, 0, 0\] means 'ignore' already; a colour means one thing"),
    ("encoding: colours", "encoding: colors", r"streets\.yaml:5: encoding: .*colours"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_declaration_that_contradicts_itself_is_refused(old: str, new: str, message: str):
    from harness.data.declaration import declaration

    assert old in YAML
    with pytest.raises(Problems) as caught:
        declaration(parse(YAML.replace(old, new, 1), "streets.yaml"))
    assert re.search(message, str(caught.value)), str(caught.value)


LISTS = {
    "label_colors.txt": "128 64 128\tRoad\n0 0 142\t\tCar\n9 9 9 Never seen\n",
    "class_dict.csv": "name,r,g,b\nRoad,128,64,128\nCar,0,0,142\nNever seen,9,9,9\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nRoad:128,64,128::\nCar:0,0,142::\nNever seen:9,9,9::\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_folder_of_coloured_masks_is_recognised_with_its_list_of_colours(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "own", palette=(ROAD, CAR, VOID))
    (tmp_path / "own/streets.yaml").unlink()
    (tmp_path / "own" / name).write_text(LISTS[name])
    assert main(["data", "new", "own", "--out", "own.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "1 colours of the label maps have no name in the list, such as [0, 0, 0]" in printed
    dataset = catalogue.find(str(tmp_path / "own.yaml"))
    assert dataset.classes == ("Road", "Car", "Never seen", "colour 0 0 0")
    assert dataset.layouts[0].labels == {0x804080: 0, 0x00008E: 1, 0x090909: 2, 0: 3}
    assert verify(str(tmp_path / "own.yaml"), None, tmp_path / "cache").ok


def test_colours_without_a_list_have_stand_ins(tmp_path: Path):
    written(tmp_path, palette=(ROAD, CAR))
    found = guess(tmp_path)
    assert found.values == {0x00008E: ("colour 0 0 142", CAR), 0x804080: ("colour 128 64 128", ROAD)}
    assert any("found no label_colors.txt or class_dict.csv" in line for line in found.unknown)
