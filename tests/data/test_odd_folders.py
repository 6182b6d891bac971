"""Folders of a dataset with links in circles, pipes, and names and lists that are no text: each is an error that names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data import catalogue, files
from harness.data.files import digest, manifest, pairs, recognise
from harness.data.layout import Root
from harness.data.prepare import prepare
from harness.data.verify import ensure_sound, verify
from harness.errors import DataError
from harness.jobs.kinds import Data

Copy = Callable[[str], Root]


def refused(root: Root, cache: Path, words: str) -> None:
    """Wherever the files are looked for."""
    for look in (
        lambda: pairs(root, "train"),
        lambda: ensure_sound(root, "train", cache),
        lambda: manifest(root, cache),
    ):
        with pytest.raises(DataError, match=words):
            look()


@pytest.fixture
def camvid(own_root: Copy) -> Root:
    return own_root("camvid")


def test_a_folder_within_itself(camvid: Root, tmp_path: Path) -> None:
    place = camvid.path / "images/train/again"
    place.symlink_to(camvid.path / "images")
    refused(camvid, tmp_path, rf"{place}: a link to .*/images, in which it lies; remove the link")


def test_two_folders_within_each_other(camvid: Root, tmp_path: Path) -> None:
    """Seen from either of them no link leads up; after forty turns the system gives up, with 2^40 names."""
    for one, other in (("a", "b"), ("b", "a")):
        (camvid.path / "images/train" / one).mkdir()
        for name in ("x", "y"):
            (camvid.path / "images/train" / one / name).symlink_to(camvid.path / "images/train" / other)
    refused(camvid, tmp_path, "in which it lies; remove the link")


def test_a_link_to_another_folder_is_followed(camvid: Root, tmp_path: Path) -> None:
    for kind in ("images", "annotations"):
        (camvid.path / kind / "train").rename(tmp_path / kind)
        (camvid.path / kind / "train").symlink_to(tmp_path / kind)
    assert len(pairs(camvid, "train")) > 2
    ensure_sound(camvid, "train", tmp_path)


@pytest.mark.parametrize("to", ["nowhere", "itself"])
def test_a_link_to_no_file(camvid: Root, tmp_path: Path, to: str) -> None:
    place = Path(pairs(camvid, "train")[0].image)
    place.unlink()
    place.symlink_to(place if to == "itself" else tmp_path / "nowhere")
    with pytest.raises(DataError, match=rf"{place}: cannot be read \(.+\)"):
        ensure_sound(camvid, "train", tmp_path)
    with pytest.raises(DataError, match=rf"{place}: cannot be read \(.+\)"):
        manifest(camvid, tmp_path)


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_pipe_is_not_waited_for(camvid: Root, tmp_path: Path, kind: str) -> None:
    place = Path(getattr(pairs(camvid, "train")[0], kind))
    place.unlink()
    os.mkfifo(place)
    for look in (lambda: ensure_sound(camvid, "train", tmp_path), lambda: manifest(camvid, tmp_path)):
        with pytest.raises(DataError, match=rf"{place}: is no file but a folder, a pipe or a device"):
            look()


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9/a.jpg"])
def test_a_name_that_is_not_utf_8(camvid: Root, tmp_path: Path, name: bytes) -> None:
    place = os.path.join(os.fsencode(camvid.path), b"images/train", name)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    Path(os.fsdecode(place)).write_bytes(b"x")
    refused(camvid, tmp_path, r"caf\\xe9.*: a name that is not UTF-8; rename it")


def test_a_name_in_another_script_is_a_name(camvid: Root, tmp_path: Path) -> None:
    for file in pairs(camvid, "train")[0][1:]:
        Path(file).rename(Path(file).with_stem("图片é"))
    ensure_sound(camvid, "train", tmp_path)
    assert "图片é" in [pair.id for pair in pairs(camvid, "train")]
    assert manifest(camvid, tmp_path).digest


def test_a_list_of_images_that_is_no_text(own_root: Copy, tmp_path: Path) -> None:
    root = own_root("pascal_context_59")
    listing = root.path / root.layout.listing_path("train")
    listing.write_bytes(b"a_1\n\xff\xfe\n")
    with pytest.raises(DataError, match=rf"{listing}: the list of the split's images cannot be read"):
        pairs(root, "train")


def test_a_folder_that_cannot_be_listed(camvid: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing in silence, and with the folder of their labels nothing would say so."""
    before, closed = os.scandir, str(camvid.path / "images/train/closed")
    os.mkdir(closed)

    def scandir(path: str) -> object:
        if str(path) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return before(path)

    monkeypatch.setattr(files.os, "scandir", scandir)
    with pytest.raises(DataError, match=rf"{closed}: the folder cannot be listed \(Permission denied\)"):
        pairs(camvid, "train")


def test_a_verification_goes_on_and_names_everything(camvid: Root, tmp_path: Path) -> None:
    """A split that cannot be listed hides no bad file of another one."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / camvid.dataset.folder).symlink_to(camvid.path)
    loop = camvid.path / "images/val/again"
    loop.symlink_to(camvid.path / "images")
    bad = Path(pairs(camvid, "train")[0].label)
    bad.write_bytes(b"")
    nowhere = Path(pairs(camvid, "test")[0].image)
    nowhere.unlink()
    nowhere.symlink_to(tmp_path / "nowhere")
    text = verify("camvid", tmp_path / "data", tmp_path / "cache").text()
    for words in (f"{loop.name}: a link to ", f"{bad.name}: the file is empty", f"{nowhere.name}: cannot be read"):
        assert words in text
    loop.unlink()
    text = verify("camvid", tmp_path / "data", tmp_path / "cache").text()
    assert "manifest unknown" in text
    assert f"{nowhere.name}: cannot be read" in text


def test_the_commands_see_the_same(camvid: Root, tmp_path: Path) -> None:
    """A key needs the digest, a preparation the layout."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / catalogue.find("camvid").folder).symlink_to(camvid.path)
    (camvid.path / "images/val/again").symlink_to(camvid.path / "images")
    with pytest.raises(DataError, match="in which it lies"):
        digest(Data(name="camvid"), data_dir=folder, cache=tmp_path)
    prepare("camvid", camvid.path, tmp_path / "prepared")  # links to folders are not followed there
    assert recognise(catalogue.find("camvid"), tmp_path / "prepared/camvid")
