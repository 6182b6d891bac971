"""Annotations in JSON files, which may hold anything: every way of not being readable is an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import DataError

_LARGEST = 1 << 30  # bytes; MS COCO's largest has 450 MB


def read_json(path: Path) -> Any:
    """What a JSON file holds. DataError where it cannot be read, is too large, or is nested so deeply that reading it fails."""
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise DataError(f"{path}: an annotation file of {size / 2**30:.1f} GiB; the largest that is read has 1 GiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); get the file again") from error
    except RecursionError:
        raise DataError(
            f"{path}: cannot be read as JSON (lists within lists, too deeply); get the file again"
        ) from None
