"""What a file of torch.save would make when it is loaded, judged before anything of it is made; torch is not imported.

`torch.load(weights_only=True)` runs no code of a file, but takes what the file claims: records that are compressed a
thousandfold, bytes of any length, tensors without values. None of them is in a file of weights that somebody has trained.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # magic number, protocol, system, object, names of storages; before PyTorch 1.6
_REFUSED = {  # names of what torch.load would call, whatever module a file says they are in
    "bytearray": "bytes of a length that it names",
    "_rebuild_sparse_tensor": "a sparse tensor",
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without values (on the device 'meta')",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_wrapper_subclass": "a tensor of another class",
    "_rebuild_device_tensor_from_numpy": "an array of NumPy",
}


def refusal(path: Path) -> str:
    """Why a file must not be given to torch.load, or ''. A damaged file may pass: torch.load says what is wrong with it.

    Raises OSError where it cannot be read, and whatever zipfile and pickletools raise for a damaged one.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            return _in_zip(file, path.stat().st_size)
        file.seek(0)
        return next((reason for _ in range(_LEGACY_PICKLES) for reason in _in_pickle(file)), "")


def _in_zip(file: IO[bytes], size: int) -> str:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        for record in records:
            if record.compress_type != zipfile.ZIP_STORED:
                return (
                    f"its record '{record.filename}' is compressed and grows from {record.compress_size} to "
                    f"{record.file_size} bytes; torch.save writes records as they are"
                )
        total = sum(record.file_size for record in records)
        if total > size:
            return f"its records claim {total} bytes, the file has {size}"
        for record in records:
            if record.filename.endswith("data.pkl"):
                with archive.open(record) as content:
                    return next(_in_pickle(content), "")
    return ""


def _in_pickle(content: IO[bytes]) -> Iterator[str]:
    """What the next pickle of a stream makes besides tensors, texts and numbers. Nothing of it is executed."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST"):
            name = str(argument).rpartition(" ")[2]
            kind = "a quantised tensor" if name.startswith("Q") and name.endswith("Storage") else _REFUSED.get(name)
            if kind is not None:
                yield f"it holds {kind}"
