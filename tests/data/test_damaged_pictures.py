"""Pictures that are damaged, odd or hostile: sound ones are read as they are, the others are errors that name the file."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from harness.data import catalogue
from harness.data.annotations.label_maps import MAX_PIXELS, LabelReader, read_image, read_raw_label
from harness.data.files import pairs
from harness.data.integrity import damage
from harness.data.layout import Root
from harness.data.verify import check, ensure_sound
from harness.errors import DataError
from tests.support.pictures import GREY, PALETTE, chunk, claiming, photograph, picture_start, png, with_bytes


@pytest.mark.parametrize("colour", [GREY, PALETTE])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_label_map_of_few_bits_is_read_as_it_is(depth: int, colour: int, tmp_path: Path) -> None:
    values = np.random.default_rng(depth).integers(0, min(1 << depth, 80), (5, 13)).astype(np.uint8)
    (tmp_path / "label.png").write_bytes(png(values, depth, colour))
    read = read_raw_label(str(tmp_path / "label.png"))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.uint8


def test_a_label_of_one_bit_is_mapped_to_its_class(tmp_path: Path) -> None:
    (tmp_path / "label.png").write_bytes(png(np.array([[0, 1, 1]]), 1))
    layout = catalogue.find("camvid").layouts[0]
    assert LabelReader(layout).read(str(tmp_path / "label.png")).tolist() == [
        [layout.labels[0], layout.labels[1], layout.labels[1]]
    ]


def tiff(values: np.ndarray) -> bytes:
    return cv2.imencode(".tiff", values)[1].tobytes()


SCENE = np.arange(60, dtype=np.uint8).reshape(6, 10) % 10
LABELS: dict[str, tuple[Callable[[], bytes], str]] = {
    "palette indices without a palette": (lambda: png(SCENE, 8, PALETTE, palette=False), "without its palette"),
    "few palette indices without one": (lambda: png(SCENE % 2, 1, PALETTE, palette=False), "without its palette"),
    "floating-point numbers": (lambda: tiff(SCENE.astype(np.float32)), "a TIFF file of floating-point numbers"),
    "numbers of 64 bits": (lambda: tiff(SCENE.astype(np.float64)), "TIFF|cannot be decoded"),
    "numbers of 32 bits": (lambda: tiff(SCENE.astype(np.int32)), "a label map of int32|cannot be decoded"),
    "a palette of damaged data": (lambda: with_bytes(png(SCENE, 8, PALETTE), -30, b"\0" * 9), "cannot be decoded"),
    "a gigapixel": (lambda: claiming(png(SCENE), 30_000, 30_000), "claims 30000×30000 pixels"),
    "a gigapixel of indices": (lambda: claiming(png(SCENE, 8, PALETTE), 30_000, 30_000), "claims 30000×30000 pixels"),
    "an exapixel": (lambda: claiming(png(SCENE), 0x7FFFFFFF, 0x7FFFFFFF), "claims 2147483647×2147483647 pixels"),
    "no pixel": (lambda: claiming(png(SCENE), 0, 0), "cannot be decoded"),
    "a header alone": (lambda: b"\x89PNG\r\n\x1a\nIEND", "damaged PNG"),
    "a chunk of 4 GiB": (lambda: with_bytes(png(SCENE, 8, PALETTE), 33, b"\xff\xff\xff\xf0"), "damaged PNG"),
    "another chunk first": (lambda: png(SCENE)[:8] + chunk(b"tEXt", b"a\0b") + png(SCENE)[8:], "damaged PNG"),
}
IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a gigapixel": (lambda: claiming(photograph(), 30_000, 30_000), "claims 30000×30000 pixels"),
    "a gigapixel in stages": (lambda: claiming(photograph(PROGRESSIVE=1), 30_000, 30_000), "claims 30000×30000 pixels"),
    "a gigapixel of another form": (
        lambda: with_bytes(cv2.imencode(".bmp", SCENE)[1].tobytes(), 18, (30_000).to_bytes(4, "little") * 2),
        "claims",
    ),
    "floating-point numbers": (lambda: tiff(SCENE.astype(np.float32)), "a TIFF file of floating-point numbers"),
    "colours of floating-point numbers": (
        lambda: tiff(np.zeros((6, 10, 3), np.float32)),
        "cannot be decoded as an image",
    ),
    "markers alone": (lambda: b"\xff\xd8" + b"\xff" * 500 + b"\xff\xd9", "cannot be decoded"),
    "a frame without a picture": (lambda: photograph()[:300] + b"\xff\xd9", "cannot be decoded"),
    "text": (lambda: b"<html>404</html>", "cannot be decoded as an image"),
}


@pytest.mark.parametrize(("read", "content", "words"), [(read_raw_label, *case) for case in LABELS.values()])
def test_a_label_map_that_is_none(read: Callable, content: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    refused(read, tmp_path / "label.png", content(), words)


@pytest.mark.parametrize(("content", "words"), IMAGES.values(), ids=IMAGES)
def test_an_image_that_is_none(content: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    refused(read_image, tmp_path / "image.jpg", content(), words)


def refused(read: Callable[[str], np.ndarray], path: Path, content: bytes, words: str) -> None:
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; decoders take theirs without Python
    with pytest.raises(DataError, match=words) as error:
        read(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10
    assert str(error.value).startswith(f"{path}: ")


def test_the_largest_pictures_of_datasets_are_read(tmp_path: Path) -> None:
    assert MAX_PIXELS > 3 * 4500 * 3000
    (tmp_path / "large.png").write_bytes(png(np.zeros((1200, 2500), np.uint8)))
    assert read_raw_label(str(tmp_path / "large.png")).shape == (1200, 2500)


# ------------------------------------------------------------------------------------- damage that decoders pass over


def problems(root: Root) -> list[str]:
    return check(root, pairs(root, "train"), {})


def test_a_jpeg_with_zeroed_bytes_is_found(own_root: Callable[[str], Root]) -> None:
    """Forty of them, wherever they are: what follows is decoded at another place or brightness, and no decoder minds."""
    root = own_root("camvid")
    (first, *_) = pairs(root, "train")
    for seed in range(12):
        data = photograph(seed, (48, 64))
        start = picture_start(data)
        at = int(np.random.default_rng(seed).integers(start, len(data) - 42))
        for options in ({}, {"SAMPLING_FACTOR": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}, {"RST_INTERVAL": 3}):
            Path(first.image).write_bytes(photograph(seed, (48, 64), **options))
            assert problems(root) == []
        Path(first.image).write_bytes(with_bytes(data, at, bytes(40)))
        (line,) = problems(root)
        assert line.startswith(f"{first.image}: damaged JPEG (")


def test_what_the_decoder_says_is_heard_and_names_the_file(
    own_root: Callable[[str], Root], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = own_root("camvid")
    found = pairs(root, "train")
    data = photograph(1, (48, 64))
    start = picture_start(data)
    cases = {
        found[0]: data[:start] + data[start + 150 :],  # a part is gone
        found[1]: data[:-400] + b"\xff\xd9",  # cut, and ended
        found[2]: data[:-2] + bytes(range(1, 200)) + b"\xff\xd9",  # more than the picture
    }
    for pair, content in cases.items():
        Path(pair.image).write_bytes(content)
    with pytest.raises(DataError, match="3 problems") as error:
        ensure_sound(root, "train", tmp_path)
    for pair in cases:
        assert f"{pair.image}: damaged JPEG (its decoder says: " in str(error.value)
    assert "JPEG" not in capfd.readouterr().err, "it is in the error, and nowhere else"


def test_what_others_say_meanwhile_is_handed_on(
    own_root: Callable[[str], Root], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: str) -> np.ndarray:
        os.write(2, b"something else\n")
        return read_image(path)

    monkeypatch.setattr("harness.data.verify.read_image", read)
    root = own_root("camvid")
    assert problems(root) == []
    assert capfd.readouterr().err == "something else\n" * len(pairs(root, "train"))


def test_a_check_without_a_standard_error_stream(own_root: Callable[[str], Root]) -> None:
    root = own_root("camvid")
    code = (
        "import os, sys; from pathlib import Path; from harness.data import catalogue; from harness.data.files import recognise\n"
        "from harness.data.verify import ensure_sound\n"
        f"os.close(2); root = recognise(catalogue.find('camvid'), Path({str(root.path)!r}))\n"
        f"ensure_sound(root, 'train', Path({str(root.path)!r}) / 'cache'); print('sound')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "sound\n"


@pytest.mark.parametrize("colour", [GREY, PALETTE])
def test_every_wrong_bit_of_a_png_is_found(colour: int) -> None:
    whole = png(SCENE, 8, colour)
    assert damage(whole) == ""
    for at in range(8, len(whole)):
        assert damage(with_bytes(whole, at, bytes([whole[at] ^ 4]))).startswith("damaged PNG")


def test_zeros_outside_the_picture_are_no_damage() -> None:
    data = photograph()
    thumbnail = b"\xff\xe1" + (502).to_bytes(2, "big") + bytes(500)
    assert damage(data[:2] + thumbnail + data[2:] + bytes(500)) == ""
    plain = cv2.imencode(".jpg", np.zeros((900, 900, 3), np.uint8), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
    assert plain.count(bytes(32)), "a plain area is zeros where the code of an encoder's own is used"
    assert damage(plain) == ""


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the damage
@pytest.mark.parametrize("form", ["jpg", "png", "palette", "tiff", "webp"])
def test_no_mutant_of_a_picture_ends_in_a_traceback_or_much_memory(form: str, tmp_path: Path) -> None:
    whole = {
        "jpg": lambda: photograph(1, (24, 32)),
        "png": lambda: png(SCENE),
        "palette": lambda: png(SCENE, 8, PALETTE),
        "tiff": lambda: tiff(SCENE),
        "webp": lambda: cv2.imencode(".webp", np.dstack([SCENE] * 3))[1].tobytes(),
    }[form]()
    path = tmp_path / f"x.{form}"
    rng = np.random.default_rng(len(whole))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(150):
        data = bytearray(whole)
        at, what = int(rng.integers(len(data))), int(rng.integers(4))
        length = int(rng.integers(1, 9))
        data[at : at + (4, 4, length, 0)[what]] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"", rng.bytes(length))[what]
        path.write_bytes(data)
        for read in (read_image, read_raw_label):
            with contextlib.suppress(DataError):  # anything else that is raised fails the test
                damage(bytes(data))
                assert read(str(path)).dtype in (np.uint8, np.uint16)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10
