"""Every dataset by name: one file each in this folder, which declares `DATASET`, found by the file's name.

An unusual convention would change scores unnoticed, so each declaration says what the official download
holds (`layouts`), which raw value means which class (`Layout.labels`) and where that comes from (`source`, `note`).
Adding a dataset is adding one file (README.md). Declarations are data: what a job uses of one is in its key
(harness.data.key_parts), and no code is found from here. Nothing heavy: `plan` and `list` import this.
Files whose names begin with `_` hold what several datasets share.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path

from harness.data.layout import Dataset
from harness.errors import UserError, nearest


@functools.cache
def names() -> list[str]:
    """Names of all datasets, sorted; imports none of them."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def find(name: str) -> Dataset:
    """The dataset called `name`; raises UserError with the nearest valid name, or where its file declares none so called."""
    if name not in names():
        raise UserError(f"unknown dataset '{name}'.{nearest(name, names())} (python -m harness list datasets)")
    declaration = getattr(importlib.import_module(f"{__name__}.{name}"), "DATASET", None)
    if not isinstance(declaration, Dataset) or declaration.name != name:
        raise UserError(
            f"{Path(__file__).parent / name}.py must declare DATASET, a harness.data.layout.Dataset called '{name}' "
            "like its file"
        )
    return declaration
