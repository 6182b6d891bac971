"""TensorBoard beside curve.jsonl: the optional extra `tensorboard`; see harness.training.loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.files import output_errors

FOLDER = "tensorboard"


class TensorBoard:
    """Writes events to `folder`/tensorboard/`name`. What earlier events say of iterations after `iteration`, the one the
    training goes on from, no longer counts."""

    def __init__(self, folder: Path, name: str, iteration: int, config: Mapping[str, Any]) -> None:
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
        advice = (
            "make room, then run the same command again to go on; without TensorBoard: leave it out of HARNESS_LOGGERS"
        )
        return output_errors(self._folder / FOLDER, advice)


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """{tag: value} of a line of the curve: `loss/all`, `loss/TERM`, `train/lr`, `train/images_per_s`; or `test/SCORE`."""
    if "loss" not in record:
        return {f"test/{name}": value for name, value in record.items() if name != "iteration"}
    terms = {f"loss/{name}": value for name, value in record["terms"].items()}
    speed = {f"train/{name}": record[name] for name in ("lr", "images_per_s")}
    return {"loss/all": record["loss"], **terms, **speed}
