"""Files that are no weights: each with the words of the error that refuses it. Small files, all of them."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def saved(state: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # torch says of some kinds that they are of an earlier time
        warnings.simplefilter("ignore")
        torch.save(state() if callable(state) else state, buffer, **options)
    return buffer.getvalue()


def packed(data: bytes, *, method: int = zipfile.ZIP_STORED, old: bytes = b"", new: bytes = b"") -> bytes:
    """A file of torch.save packed again, by another method or with another pickle in it."""
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for record in source.infolist():
            content = source.read(record)
            if old and record.filename.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            archive.writestr(record.filename, content)
    return buffer.getvalue()


class Runs:
    """Would write a file, were it unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("this-ran"),)


class Grows:
    """A few bytes that ask for ten thousand million."""

    def __reduce__(self) -> tuple:
        return bytearray, (10**10,)


class Kept(torch.Tensor):
    """A tensor of another class."""


class KeptAs:
    """Says that it is a tensor of another class with as many values as it likes."""

    def __reduce__(self) -> tuple:
        arguments = (torch.Tensor, torch.float32, (1 << 40,), (1,), 0, torch.strided, "cpu", False)
        return torch._utils._rebuild_wrapper_subclass, arguments


def quantised() -> dict[str, torch.Tensor]:
    return {"a": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)}


def claimed_storage() -> bytes:
    """Four numbers whose pickle claims a thousand million, in the storage and in the tensor."""
    count = b"J" + struct.pack("<i", 10**9)
    data = packed(saved({"a": torch.ones(4)}), old=b"K\x04tq\x07", new=count + b"tq\x07")
    return packed(data, old=b"K\x04\x85", new=count + b"\x85")


def legacy(old: bytes = b"", new: bytes = b"") -> bytes:
    data = saved({"a": torch.ones(4)}, _use_new_zipfile_serialization=False)
    assert old in data
    return data.replace(old, new)


def deep_pickle() -> bytes:
    """Lists ten thousand deep."""
    whole = legacy()
    start = whole.index(b"\x80\x02}q\x00X\x01")  # the object, after what the file says of itself
    return whole[:start] + b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".\x80\x02]."


def claimed_records() -> bytes:
    """A file whose list of records claims a terabyte."""
    data = saved({"a": torch.ones(4)})
    place = data.index(b"PK\x01\x02", data.index(b"data/0"))
    while data[place + 46 : place + 46 + 20].find(b"data/0") < 0:
        place = data.index(b"PK\x01\x02", place + 1)
    return data[: place + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + data[place + 28 :]


def safetensors(header: Any, content: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def tensor(kind: str = "F32", shape: list | None = None, end: int = 16) -> dict[str, Any]:
    return {"a": {"dtype": kind, "shape": [4] if shape is None else shape, "data_offsets": [0, end]}}


ALONE = "is not a file of weights alone, and anything else is not opened"
PLAIN = "holds tensors that are no plain values"
NO_MAPPING = "holds no mapping from names to tensors"
SIXTEEN = bytes(16)

WEIGHTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    # name: (ending, content, what the error says)
    "code": ("pth", lambda: saved({"a": Runs()}), ALONE),
    "code in a legacy file": ("pth", lambda: saved({"a": Runs()}, _use_new_zipfile_serialization=False), ALONE),
    "code beside weights": ("pth", lambda: saved({"model": {"a": torch.ones(4)}, "x": Runs()}), ALONE),
    "a file that grows": (
        "pth",
        lambda: packed(saved({"a": torch.zeros(1 << 22)}), method=zipfile.ZIP_DEFLATED),
        r"record 'archive/data.* is compressed and grows from \d+ to \d+ bytes",
    ),
    "records that claim more than the file": ("pth", claimed_records, r"its records claim \d+ bytes, the file has"),
    "a storage that claims more than its record": ("pth", claimed_storage, ALONE),
    "a tensor larger than its storage": (
        "pth",
        lambda: packed(saved({"a": torch.ones(4)}), old=b"K\x04\x85", new=b"J" + struct.pack("<i", 10**9) + b"\x85"),
        ALONE,
    ),
    "a legacy storage that claims more": (
        "pth",
        lambda: legacy(b"K\x04N", b"J" + struct.pack("<i", 10**9) + b"N"),
        ALONE,
    ),
    "bytes of any length": ("pth", lambda: saved({"a": Grows()}), f"{ALONE}.*bytes of a length that it names"),
    "bytes in a legacy file": (
        "pth",
        lambda: saved(Grows(), _use_new_zipfile_serialization=False),
        "bytes of a length",
    ),
    "a meta tensor": ("pth", lambda: saved({"a": torch.zeros(1 << 40, device="meta")}), "a tensor without values"),
    "a quantised tensor": ("pth", lambda: saved(quantised), "a quantised tensor"),
    "a sparse tensor": (
        "pth",
        lambda: saved(lambda: {"a": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,))}),
        "a sparse tensor",
    ),
    "a sparse tensor by rows": ("pth", lambda: saved(lambda: {"a": torch.eye(3).to_sparse_csr()}), "a sparse tensor"),
    "a tensor of another class": ("pth", lambda: saved({"a": torch.ones(4).as_subclass(Kept)}), ALONE),
    "a wrapped tensor": ("pth", lambda: saved({"a": KeptAs()}), "a tensor of another class"),
    "a stride of 0": (
        "pth",
        lambda: saved({"a": torch.zeros(1).expand(1 << 20, 1 << 10)}),
        rf"{PLAIN}.*\n  a is \(1048576, 1024\) of 4 bytes \(a stride of 0",
    ),
    "one storage under many names": (
        "pth",
        lambda: saved(dict.fromkeys(map(str, range(200)), torch.zeros(1 << 16))),
        "and its tensors would take 52428800: they share values",
    ),
    "a complex tensor": ("pth", lambda: saved({"a": torch.zeros(4, dtype=torch.complex64)}), f"{PLAIN}.*\n.*complex64"),
    "a tensor of eight bits": ("pth", lambda: saved({"a": torch.zeros(4, dtype=torch.float8_e5m2)}), "float8_e5m2"),
    "lists ten thousand deep": ("pth", deep_pickle, f"{ALONE}|{NO_MAPPING}"),
    "a number": ("pth", lambda: saved(3), NO_MAPPING),
    "a tensor without a name": ("pth", lambda: saved(torch.ones(4)), NO_MAPPING),
    "a list of tensors": ("pth", lambda: saved([torch.ones(4)]), NO_MAPPING),
    "nothing": ("pth", lambda: saved({}), NO_MAPPING),
    "a model within a model": ("pth", lambda: saved({"model": {"model": {"a": torch.ones(4)}}}), NO_MAPPING),
    "an empty file": ("pth", lambda: b"", ALONE),
    "text": ("pth", lambda: b"<html>404</html>", ALONE),
    "a zip of something else": ("pth", lambda: packed(saved({"a": torch.ones(4)}))[:300], ALONE),
    "safetensors with a header of an EiB": ("safetensors", lambda: safetensors(b"{}", length=1 << 60), ALONE),
    "safetensors cut": ("safetensors", lambda: safetensors(tensor(), bytes(9)), ALONE),
    "safetensors that claim more": (
        "safetensors",
        lambda: safetensors(tensor(shape=[1 << 40], end=1 << 42), SIXTEEN),
        ALONE,
    ),
    "safetensors of an unknown type": ("safetensors", lambda: safetensors(tensor("F31"), SIXTEEN), ALONE),
    "safetensors of eight bits": (
        "safetensors",
        lambda: safetensors(tensor("F8_E5M2", end=4), bytes(4)),
        "float8_e5m2",
    ),
    "safetensors of nested lists": (
        "safetensors",
        lambda: safetensors(b'{"a":' + b"[" * 9999 + b"]" * 9999 + b"}"),
        ALONE,
    ),
    "safetensors with a negative shape": ("safetensors", lambda: safetensors(tensor(shape=[-4]), SIXTEEN), ALONE),
    "safetensors of nothing": ("safetensors", lambda: safetensors({}), NO_MAPPING),
    "an empty safetensors file": ("safetensors", lambda: b"", ALONE),
}


def write(place: Path, name: str) -> Path:
    """The file called `name` in the folder `place`."""
    ending, content, _ = WEIGHTS[name]
    file = place / f"bad.{ending}"
    file.write_bytes(content())
    return file
