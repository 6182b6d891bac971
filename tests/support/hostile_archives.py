"""Archives that no dataset's download is: each with the words of the error that refuses it. Small files, all of them."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

LONG = "n" * 300


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def tarred(*members: tarfile.TarInfo, content: bytes = b"", form: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for one in members:
            archive.addfile(one, io.BytesIO(content.ljust(max(one.size, 0))))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, **pax: str) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size, one.pax_headers = kind, link, size, pax
    return one


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """One tar header with a right checksum and any 12 bytes as its size."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[100:108], block[108:124] = b"0000644\0", b"0000000\0" * 2
    block[124:136], block[136:148] = size, b"00000000000\0"
    block[148:156], block[156:157], block[257:265] = b" " * 8, kind, b"ustar\x0000"
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def octal(size: int) -> bytes:
    return f"{size:011o}\0".encode()


def binary(size: int) -> bytes:
    """A size beyond eight GiB, or below zero, as GNU tar writes it."""
    return (b"\x80" if size >= 0 else b"\xff") + (size % 256**11).to_bytes(11, "big")


def linked(name: str, mode: int) -> tuple[zipfile.ZipInfo, bytes]:
    """A zip's entry of any kind and name."""
    info = zipfile.ZipInfo("any")
    info.filename = info.orig_filename = name
    info.create_system, info.external_attr = 3, mode << 16
    return info, b"/etc/passwd"


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def in_directory(data: bytes, offset: int, new: bytes, *, local: int | None = None) -> bytes:
    """A zip whose first entry's record in the directory (and before its content, at `local`) says something else."""
    place = data.index(b"PK\x01\x02")
    data = changed(data, place + offset, new)
    return data if local is None else changed(data, local, new)


def pax(records: Iterable[tuple[str, str]], name: str = "a.jpg") -> bytes:
    """A tar whose one file has these extended headers."""
    return tarred(member(name, size=4, **dict(records)), content=b"abcd", form=tarfile.PAX_FORMAT)


def endless_sparse_map() -> bytes:
    """A sparse file whose map announces 10^12 regions and ends."""
    one = member("a.jpg", size=512, **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"})
    return tarred(one, content=b"1000000000000\n" + b"0\n" * 249, form=tarfile.PAX_FORMAT)


def overlapping() -> bytes:
    """Two entries of one content: what bombs without nesting are made of."""
    whole = zipped(("a.jpg", b"x" * 5000), ("b.jpg", b"x" * 5000), method=zipfile.ZIP_STORED)
    second = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 1)
    return changed(whole, second + 42, struct.pack("<I", 8))


def many_entries_claimed() -> bytes:
    """A zip whose end record claims a directory of 3 GiB."""
    whole = zipped(("a.jpg", b"x"))
    return changed(whole, whole.rindex(b"PK\x05\x06") + 12, struct.pack("<I", 3 << 30))


def zip64_directory_claimed() -> bytes:
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 1 << 60, 0)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1)
    return record + locator + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def claims(size: int) -> bytes:
    """A zip of a few bytes whose entry claims `size`."""
    whole = zipped(("a.jpg", b"x" * 99))
    return in_directory(whole, 24, struct.pack("<I", size), local=22)


def gzip_of_zeros(name: bytes, count: int) -> bytes:
    """A compressed tar: a header, then MiBs of zeros in a few KiB."""
    return gzip.compress(name + bytes(count), 1)


def damaged_gzip(at: int) -> bytes:
    whole = gzip.compress(tarred(member("a.jpg", size=9000), content=os.urandom(9000)))
    return changed(whole, at, bytes([whole[at] ^ 0xFF]))


GOOD = ("images/good.jpg", b"x")
OUTSIDE = r"entry '.*' would be written outside .*; nothing was unpacked"
DAMAGED = r"damaged or unsupported archive \(.+\); get it again"

ARCHIVES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    # name: (ending, content, what the error says)
    "empty zip file": ("zip", lambda: b"", DAMAGED),
    "empty tar file": ("tar", lambda: b"", DAMAGED),
    "text called zip": ("zip", lambda: b"<html>404</html>", DAMAGED),
    "text called tar": ("tar", lambda: b"<html>404</html>" * 99, DAMAGED),
    "zip cut": ("zip", lambda: zipped(GOOD, ("b", os.urandom(999)))[:500], DAMAGED),
    "tar cut": ("tar", lambda: tarred(member("a.jpg", size=4000))[:2000], DAMAGED),
    "gzip cut": ("tar.gz", lambda: gzip.compress(tarred(member("a", size=9000), content=os.urandom(9000)))[:-900], DAMAGED),
    "gzip with a wrong check sum": ("tgz", lambda: damaged_gzip(-6), DAMAGED),
    "gzip damaged within": ("tgz", lambda: damaged_gzip(3000), DAMAGED),
    "gzip with a wrong length": ("tgz", lambda: damaged_gzip(-2), DAMAGED),
    "zip with a wrong check sum": ("zip", lambda: in_directory(zipped(GOOD), 16, b"1234", local=14), DAMAGED),
    "zip that points past its end": ("zip", lambda: in_directory(zipped(GOOD), 42, b"\xff\xff\xff\x7f"), DAMAGED),
    "zip with other names within": ("zip", lambda: in_directory(zipped(GOOD), 46, b"imagez"), DAMAGED),
    "zip with a name of half letters": (
        "zip",
        lambda: in_directory(in_directory(zipped(GOOD), 46, b"\xff\xfe"), 8, b"\0\x08"),
        DAMAGED,
    ),
    "encrypted zip": ("zip", lambda: in_directory(zipped(GOOD), 8, b"\x01", local=6), r"'images/good.jpg' is encrypted"),
    "zip by LZMA": ("zip", lambda: zipped(GOOD, method=zipfile.ZIP_LZMA), "compressed by method 14"),
    "zip by an unknown method": ("zip", lambda: in_directory(zipped(GOOD), 10, b"\x63\0"), "compressed by method 99"),
    "zip that leaves the folder": ("zip", lambda: zipped(GOOD, ("../escaped", b"x")), OUTSIDE),
    "zip with an absolute name": ("zip", lambda: zipped(GOOD, ("/escaped", b"x")), OUTSIDE),
    "zip with a name of Windows": ("zip", lambda: zipped(("a\\..\\..\\escaped", b"x")), OUTSIDE),
    "zip with a link": ("zip", lambda: zipped(GOOD, linked("escaped", 0o120777)), "'escaped' is a link"),
    "zip with a device": ("zip", lambda: zipped(GOOD, linked("escaped", 0o020666)), "'escaped' is a device or pipe"),
    "zip with a long name": ("zip", lambda: zipped(GOOD, (f"a/{LONG}", b"x")), "has a name that is too long"),
    "zip with a long path": ("zip", lambda: zipped(("d/" * 2500 + "a", b"x")), "has a name that is too long"),
    "zip with a NUL in a name": (
        "zip",
        lambda: in_directory(zipped(GOOD), 46 + 6, b"\0", local=30 + 6),
        r"'images\\x00good.jpg' has a NUL byte",
    ),
    "zip with a line break in a name": ("zip", lambda: zipped(("a\nb.jpg", b"x")), r"'a\\nb.jpg' has a NUL byte or another"),
    "zip with an empty name": ("zip", lambda: zipped(linked("", 0o100644)), "'' has no name of a file"),
    "zip with the folder as a file": ("zip", lambda: zipped((".", b"x")), "'.' has no name of a file"),
    "zip with a file twice": ("zip", lambda: zipped(("a/b", b"x"), ("a//b", b"yy")), "'a/b' is there twice"),
    "zip with a file as a folder": ("zip", lambda: zipped(("a", b"x"), ("a/b", b"y")), "'a' is a file and the folder of"),
    "zip with overlapping entries": ("zip", overlapping, "'b.jpg' overlaps the entry before it"),
    "zip with a huge directory": ("zip", many_entries_claimed, "its list of entries takes 3072 MiB"),
    "zip64 with a huge directory": ("zip", zip64_directory_claimed, "its list of entries takes"),
    "zip that claims 4 GiB": ("zip", lambda: claims(0xFFFFFFF0), r"brings its contents to 4\.0 GiB from an archive"),
    "zip that claims more than it holds": ("zip", lambda: claims(120), "21 fewer than the 120 bytes|Bad CRC"),
    "zip that holds more than it claims": ("zip", lambda: claims(50), DAMAGED),
    "tar that leaves the folder": ("tar", lambda: tarred(member("a/../../escaped")), OUTSIDE),
    "tar with an absolute name": ("tar", lambda: tarred(member("/escaped")), OUTSIDE),
    "tar with a link": ("tar", lambda: tarred(member("escaped", tarfile.SYMTYPE, "/etc/passwd")), "is a link or device"),
    "tar with a hard link out": ("tar", lambda: tarred(member("escaped", tarfile.LNKTYPE, "/etc/passwd")), "is a link"),
    "tar with a hard link to a link": (
        "tar",
        lambda: tarred(member("b", tarfile.LNKTYPE, "escaped"), member("escaped", tarfile.SYMTYPE, "/etc/passwd")),
        "'b' is a link or device",
    ),
    "tar with a pipe": ("tar", lambda: tarred(member("escaped", tarfile.FIFOTYPE)), "is a link or device"),
    "tar with a device": ("tar", lambda: tarred(member("escaped", tarfile.CHRTYPE)), "is a link or device"),
    "tar with a long name": ("tar", lambda: tarred(member(LONG)), "has a name that is too long"),
    "tar with a name of half letters": (
        "tar",
        lambda: tarred(member("a\udcff.jpg"), form=tarfile.GNU_FORMAT),
        r"'a\\udcff.jpg' has a name that is not UTF-8",
    ),
    "tar with a NUL in a name": ("tar", lambda: pax([("path", "a\0b.jpg")]), r"'a\\x00b.jpg' has a NUL byte"),
    "tar with an escape code in a name": ("tar", lambda: tarred(member("a\x1b[2J.jpg")), r"'a\\x1b\[2J.jpg' has a NUL byte"),
    "tar with a file twice": ("tar", lambda: tarred(member("a"), member("./a")), "'a' is there twice"),
    "tar with a sparse file": (
        "tar",
        lambda: header("a.jpg", octal(0), b"S") + bytes(1024),
        "'a.jpg' is a sparse file|damaged",
    ),
    "tar with a sparse size": (
        "tar",
        lambda: pax([("GNU.sparse.map", "0,1"), ("GNU.sparse.size", str(1 << 50))]),
        "'a.jpg' is a sparse file",
    ),
    "tar with an endless sparse map": ("tar", endless_sparse_map, DAMAGED),
    "tar that claims an EiB": ("tar", lambda: header("a.jpg", binary(1 << 60)) + bytes(1024), "brings its contents to"),
    "tar that claims less than nothing": (
        "tar",
        lambda: header("a.jpg", binary(-1024)) + bytes(1024),
        "claims -1024 bytes|damaged",
    ),
    "tar with a size that is no number": ("tar", lambda: header("a.jpg", b"twelve bytes") + bytes(1024), DAMAGED),
    "tar with a header of 8 GiB": ("tar", lambda: header("a", octal(8**11 - 1), b"x") + bytes(1024), "a header claims 858993"),
    "tar with a name of 4 GiB": ("tar", lambda: header("a", octal(1 << 32), b"L") + bytes(1024), "a header claims 42949"),
    "tar with a name of less than nothing": ("tar", lambda: header("a", binary(-512), b"L") + bytes(1024), "claims -|damaged"),
    "gzip that goes on after its end": ("tgz", lambda: gzip_of_zeros(b"", 65 << 20), "after its last entry"),
    "gzip that grows": (
        "tar.gz",
        lambda: gzip_of_zeros(header("a.jpg", octal(7 << 30)), 1 << 20),
        r"brings its contents to 7\.0 GiB from an archive of 0\.0 MiB",
    ),
}  # fmt: skip


def write(place: Path, name: str) -> Path:
    """The archive called `name`, as a file in the folder `place`."""
    ending, content, _ = ARCHIVES[name]
    file = place / f"bad.{ending}"
    file.write_bytes(content())
    return file
