"""TensorBoard beside curve.jsonl, where HARNESS_TENSORBOARD=1 asks for it: the optional extra `tensorboard`.

It is a setting of the run and not of the recipe: logging changes no number and no key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import MissingError
from harness.files import output_errors

VARIABLE = "HARNESS_TENSORBOARD"
FOLDER = "tensorboard"


def is_enabled() -> bool:
    """Whether HARNESS_TENSORBOARD asks for it. Raises MissingError where it does and the package is absent."""
    if os.environ.get(VARIABLE, "") in ("", "0"):
        return False
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingError(
            f"{VARIABLE} is set, but TensorBoard is not installed ({error}). Install it with "
            f"pip install -e '.[tensorboard]', or unset {VARIABLE}; curve.jsonl is written either way"
        ) from None
    return True


class TensorBoard:
    """Writes events to `folder`/tensorboard/`name`. What earlier events say of iterations after `iteration`, the one the
    training goes on from, no longer counts."""

    def __init__(self, folder: Path, name: str, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with self._errors():
            self._writer = SummaryWriter(str(folder / FOLDER / name), purge_step=iteration + 1)

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Takes lines of the curve, which then stand on the disk."""
        with self._errors():
            for record in records:
                for tag, value in scalars(record).items():
                    self._writer.add_scalar(tag, value, record["iteration"])
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _errors(self) -> Any:
        advice = f"make room, then run the same command again to go on; without TensorBoard: unset {VARIABLE}"
        return output_errors(self._folder / FOLDER, advice)


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """{tag: value} of a line of the curve: `loss/all`, `loss/TERM`, `train/lr`, `train/images_per_s`; or `test/SCORE`."""
    if "loss" not in record:
        return {f"test/{name}": value for name, value in record.items() if name != "iteration"}
    terms = {f"loss/{name}": value for name, value in record["terms"].items()}
    speed = {f"train/{name}": record[name] for name in ("lr", "images_per_s")}
    return {"loss/all": record["loss"], **terms, **speed}
