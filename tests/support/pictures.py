"""Picture files made byte by byte: of kinds that no library writes, and damaged ones."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

PALETTE, GREY = 3, 0


def png(values: np.ndarray, depth: int = 8, colour: int = GREY, *, palette: bool = True, filler: bytes = b"") -> bytes:
    """A PNG of `values` [H, W] at 1, 2, 4 or 8 bits, grey or as indices into a palette."""
    height, width = values.shape
    per_byte = 8 // depth
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = values
    parts = [padded[:, i::per_byte] << (8 - depth * (i + 1)) for i in range(per_byte)]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), sum(parts).astype(np.uint8)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    colours = chunk(b"PLTE", bytes(range(3 << depth if depth < 8 else 240))) if colour == PALETTE and palette else b""
    body = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + filler + colours + body + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def photograph(seed: int = 0, size: tuple[int, int] = (96, 128), **options: int) -> bytes:
    """A JPEG with something everywhere, as a camera takes it."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    flags = [flag for name, value in options.items() for flag in (getattr(cv2, f"IMWRITE_JPEG_{name}"), value)]
    success, data = cv2.imencode(".jpg", cv2.GaussianBlur(noise, (0, 0), 2), flags)
    assert success
    return data.tobytes()


def picture_start(data: bytes) -> int:
    """Where the picture of a JPEG begins, after its headers."""
    scan = data.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")


def with_bytes(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG or PNG whose header claims another size, with the right check sum."""
    if data[:4] == b"\x89PNG":
        header = struct.pack(">II", width, height) + data[24:29]
        return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]
    frame = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    return with_bytes(data, frame + 5, struct.pack(">HH", height, width))
