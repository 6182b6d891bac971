"""Reading files: raw values to training ids, and errors that name the file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import catalogue
from harness.data.annotations.label_maps import LabelReader, read_image, read_pair, read_raw_label
from harness.data.annotations.matlab import read_matrix, write_matrix
from harness.data.files import pairs
from harness.data.layout import IGNORE, Root
from harness.errors import DataError


@pytest.mark.parametrize("name", catalogue.names())
def test_every_raw_value_is_mapped_as_declared(name: str) -> None:
    for layout in catalogue.find(name).layouts:
        raw = np.array([sorted(layout.labels)], np.uint16)
        expected = [layout.labels[int(v)] for v in raw[0]]
        reader = LabelReader(layout)
        assert reader.map("x", raw).tolist() == [expected]
        small = raw[raw < 256][None].astype(np.uint8)
        assert reader.map("x", small).tolist() == [[layout.labels[int(v)] for v in small[0]]]


def test_label_outside_the_classes_is_named() -> None:
    reader = LabelReader(catalogue.find("lip").layouts[0])
    raw = np.zeros((4, 4), np.uint8)
    raw[1, 2] = 21
    with pytest.raises(DataError, match=r"here.png: label 21 outside the allowed values 0\.\.19"):
        reader.map("here.png", raw)
    with pytest.raises(DataError, match=r"labels 300, 65535 outside"):
        reader.map("here.png", np.array([[0, 300, 65535]], np.uint16))


@pytest.mark.parametrize("damage", ["cut", "cut_end", "empty", "text", "gone"])
@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize("name", ["camvid", "cityscapes"])  # JPEG and PNG images
def test_damaged_files_are_refused(name: str, which: str, damage: str, own_root: Callable[[str], Root]) -> None:
    root = own_root(name)
    pair = pairs(root, "train")[1]
    file = Path(getattr(pair, which))
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        cuts = {"cut": data[: len(data) // 2], "cut_end": data[:-20], "empty": b"", "text": b"<html>404</html>"}
        file.write_bytes(cuts[damage])
    with pytest.raises(DataError, match=file.name):
        read_pair(pair, LabelReader(root.layout))


def test_sizes_must_agree(own_root: Callable[[str], Root]) -> None:
    root = own_root("camvid")
    pair = pairs(root, "train")[0]
    cv2.imwrite(pair.label, np.zeros((48, 63), np.uint8))
    with pytest.raises(DataError, match=r"64×48 pixels, the label map 63×48"):
        read_pair(pair, LabelReader(root.layout))


def test_palette_png_is_read_as_indices(tmp_path: Path) -> None:
    from PIL import Image

    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([value for k in range(256) for value in (255 - k, k, 7)])
    image.save(tmp_path / "label.png")
    np.testing.assert_array_equal(read_raw_label(str(tmp_path / "label.png")), indices)
    (tmp_path / "cut.png").write_bytes((tmp_path / "label.png").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut.png: truncated PNG"):
        read_raw_label(str(tmp_path / "cut.png"))


def test_colour_label_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "label.png"), np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError, match="one channel, this has 3"):
        read_raw_label(str(tmp_path / "label.png"))


def test_grey_images_become_three_channels(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((3, 4), 9, np.uint8))
    assert read_image(str(tmp_path / "grey.png")).tolist() == np.full((3, 4, 3), 9).tolist()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([np.uint8, np.uint16]), st.randoms())
def test_matrix_round_trip(height: int, width: int, dtype: type, random: object) -> None:
    top = np.iinfo(dtype).max
    values = [random.randint(0, top) for _ in range(height * width - 1)] + [top]  # type: ignore[attr-defined]
    matrix = np.array(values, dtype).reshape(height, width)
    read = read_matrix("x", write_matrix("S", matrix), ("S",))
    np.testing.assert_array_equal(read, matrix)
    assert read.dtype == dtype


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["S", "LabelMap"])
def test_matrices_of_scipy_are_read(name: str, compress: bool) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    matrix = np.random.default_rng(0).integers(0, 460, (7, 11)).astype(np.uint16)
    others = {"captions": np.array(["a", "bb"], dtype=object), "regionLabelsStuff": np.zeros((3, 1))}
    for stored in (matrix, matrix.astype(np.float64)):
        file = io.BytesIO()
        scipy_io.savemat(file, {**others, name: stored}, do_compression=compress)
        np.testing.assert_array_equal(read_matrix("x", file.getvalue(), ("S", "LabelMap")), matrix)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=12), st.integers(0, 200), st.booleans())
def test_damaged_matrices_raise_data_errors_only(junk: bytes, at: int, cut: bool) -> None:
    good = write_matrix("S", np.arange(24, dtype=np.uint8).reshape(4, 6))
    bad = good[:at] if cut else good[:at] + junk + good[at + len(junk) :]
    matrix = None
    with contextlib.suppress(DataError):  # anything else that is raised fails the test
        matrix = read_matrix("bad.mat", bad, ("S",))
    assert matrix is None or matrix.ndim == 2


@pytest.mark.slow
def test_a_matrix_that_claims_to_be_huge_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros compress a thousandfold: a small file may ask for more memory than there is."""
    import scipy.io

    monkeypatch.setattr(scipy.io, "loadmat", lambda *arguments, **options: pytest.fail("the numbers were read"))
    bomb = write_matrix("S", np.zeros((8192, 8192), np.uint8))
    assert len(bomb) < 100_000
    with pytest.raises(DataError, match=r"bomb\.mat: .*'S' of 8192 × 8192 is no label map"):
        read_matrix("bomb.mat", bomb)


def test_the_same_matrix_gives_the_same_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    matrix = np.arange(6, dtype=np.uint16).reshape(2, 3)
    first = write_matrix("S", matrix)
    monkeypatch.setattr(time, "asctime", lambda *moment: "another day")
    assert write_matrix("S", matrix) == first


def test_void_is_one_value() -> None:
    assert IGNORE == 255
    segmentor = pytest.importorskip("methods.segmentor")
    assert segmentor.IGNORE == IGNORE
