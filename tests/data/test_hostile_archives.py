"""Archives that no dataset's download is: refused with a clear error, in little memory, with nothing left behind."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from harness.data import archives
from harness.data.archives import unpack
from harness.errors import DataError, OutputError
from tests.support.hostile_archives import ARCHIVES, GOOD, member, tarred, write, zipped

LITTLE = 32 << 20  # bytes


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(name: str, tmp_path: Path) -> None:
    archive, (_, _, words) = write(tmp_path, name), ARCHIVES[name]
    target = tmp_path / "inside" / "target"
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as error:
            unpack(archive, target)
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()
    text = str(error.value)
    assert text.startswith(f"{archive}: ")
    assert re.search(words, text), text
    assert text.isprintable()
    assert not list(tmp_path.rglob("*escaped*"))
    assert not list(tmp_path.rglob("*.tmp"))
    if "nothing was unpacked" in text:
        assert not target.exists()


def test_a_hard_link_of_a_tar_becomes_a_copy(tmp_path: Path) -> None:
    """As GNU tar packs a file with two names; neither copy is the other one."""
    archive = tmp_path / "good.tar"
    archive.write_bytes(tarred(member("a.jpg", size=3), member("b.jpg", tarfile.LNKTYPE, "a.jpg"), content=b"abc"))
    unpack(archive, tmp_path / "target")
    copies = [tmp_path / "target/a.jpg", tmp_path / "target/b.jpg"]
    assert [copy.read_bytes() for copy in copies] == [b"abc", b"abc"]
    assert [copy.stat().st_nlink for copy in copies] == [1, 1]


def test_what_lies_in_the_folder_is_replaced_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"as it was")
    (tmp_path / "target/images").mkdir(parents=True)
    os.link(precious, tmp_path / "target" / GOOD[0])
    archive = tmp_path / "good.zip"
    archive.write_bytes(zipped(GOOD))
    unpack(archive, tmp_path / "target")
    assert (tmp_path / "target" / GOOD[0]).read_bytes() == GOOD[1]
    assert precious.read_bytes() == b"as it was"


def test_an_archive_that_the_disk_has_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "good.zip"
    archive.write_bytes(zipped(("a.jpg", b"x" * 5000)))
    free = type("Usage", (), {"free": 4000})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(OutputError, match=r"unpacking takes 0\.0 MiB, .* has room for .* make room"):
        unpack(archive, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    monkeypatch.setattr(free, "free", 6000)
    unpack(archive, tmp_path / "target")
    monkeypatch.setattr(free, "free", 0)
    unpack(archive, tmp_path / "target")  # it is there already


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_every_damaged_byte_is_an_error_or_harmless(kind: str, tmp_path: Path) -> None:
    """No traceback, whatever byte is wrong; what is unpacked from a zip or a compressed tar is right or refused."""
    content = bytes(range(40)) * 3
    whole = {
        "zip": lambda: zipped(("a/b.jpg", content), ("c", b"y")),
        "tar": lambda: tarred(member("a/b.jpg", size=120), content=content),
        "tar.gz": lambda: gzip.compress(tarred(member("a/b.jpg", size=120), content=content), mtime=0),
    }[kind]()
    archive = tmp_path / f"all.{kind}"
    step = max(1, len(whole) // 60)
    for at in range(0, len(whole), step):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        target = tmp_path / f"target{at}"
        with contextlib.suppress(DataError):  # anything else that is raised fails the test
            unpack(archive, target)
        if kind != "tar" and (target / "a/b.jpg").is_file():
            assert (target / "a/b.jpg").read_bytes() == content
