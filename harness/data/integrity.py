"""Damage that decoders pass over: found when a dataset is checked, once per file, and not when a training reads it.

A PNG has a check sum per chunk. A JPEG has none: libjpeg decodes whatever bits there are, and writes a line to stderr where
it lost its place, which no binding hands on. So the standard error stream is read while files are decoded. A lost block
of a disk is zeros, which decode without losing the place; they are looked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_AT_ONCE = 64  # files whose decoding is listened to together
_CORRUPT = ("Corrupt JPEG data", "Premature end of JPEG")
_DECODERS = (*_CORRUPT, "libpng", "[ WARN:", "[ERROR:")  # what is said of a file that is reported anyway
_ZEROS = bytes(32)  # 256 bits: more than a block of all coefficients at the shortest code
_STANDARD_ERROR = threading.Lock()


def problems_of_all(
    items: Sequence[_T], problems: Callable[[_T], list[str]], image: Callable[[_T], str]
) -> Iterator[list[str]]:
    """`problems` of each item, several at once and in their order, and what the decoder said of the item's `image`."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), _AT_ONCE):
            part = items[start : start + _AT_ONCE]
            with _decoder_warnings() as warnings:
                found = list(pool.map(problems, part))
            if warnings:  # of which file nothing says: each again, alone
                for item, lines in zip(part, found):
                    if lines:
                        continue
                    with _decoder_warnings() as warnings:
                        problems(item)
                    if warnings:
                        lines.append(
                            f"{image(item)}: damaged JPEG (its decoder says: {warnings[0]}); get the file again"
                        )
            yield from found


@contextlib.contextmanager
def _decoder_warnings() -> Iterator[list[str]]:
    """What libjpeg says of damaged data inside the block; anything else on the standard error stream is handed on."""
    warnings: list[str] = []
    with _STANDARD_ERROR, tempfile.TemporaryFile() as heard:
        sys.stderr.flush()
        try:
            stderr = os.dup(2)
        except OSError:  # there is none
            yield warnings
            return
        os.dup2(heard.fileno(), 2)
        try:
            yield warnings
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            heard.seek(0)
            for line in heard.read().splitlines(keepends=True):
                text = line.decode(errors="replace").strip()
                if text.startswith(_CORRUPT):
                    warnings.append(text)
                elif not text.startswith(_DECODERS):
                    os.write(2, line)


def damage(data: bytes) -> str:
    """What is wrong with a picture's file that its decoder would not say, or ''."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png_damage(data)
    if data[:2] == b"\xff\xd8" and _is_zeroed(data):
        return "damaged JPEG (a run of zero bytes where its picture is)"
    return ""


def _png_damage(data: bytes) -> str:
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big") or end + 4 > len(data):
            return f"damaged PNG (a wrong check sum in its chunk {data[place + 4 : place + 8]!r})"
        if data[place + 4 : place + 8] == b"IEND":
            return ""
        place = end + 4
    return "damaged PNG (no end)"


def _is_zeroed(data: bytes) -> bool:
    """Whether a sequential JPEG has zeros in its picture that no encoder writes.

    Zero bits are the shortest code, again and again. That is a plain area where the code means the end of a block, and
    else a block of 63 equal waves, 32 bytes of them.
    """
    first_symbol: dict[int, int] = {}  # of each table for the coefficients after the first
    sequential = False
    for marker, start, end in _jpeg_segments(data):
        if marker in (0xC0, 0xC1):
            sequential = True
        elif marker == 0xC4:
            while start + 17 < end:
                kind, count = data[start], sum(data[start + 1 : start + 17])
                if kind >> 4 == 1:
                    first_symbol[kind & 15] = data[start + 17]
                start += 17 + count
        elif marker == 0xDA:
            table = data[start + 2] & 15 if start + 2 < end else 0
            picture_end = data.find(b"\xff\xd9", end)
            return sequential and first_symbol.get(table, 0) != 0 and data.find(_ZEROS, end, picture_end) >= 0
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of a JPEG's segments up to the first scan's header, as far as they are whole."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, place + 4, end
        if marker == 0xDA:
            return
        place = end
