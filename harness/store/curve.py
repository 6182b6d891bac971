"""The training curve: a JSON line per iteration and per test between two iterations; after a resume no line is
repeated or cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.files import is_number, output_errors, read_jsonl, write_text

FILE = "curve.jsonl"
_LINE = {"iteration": int, "loss?": is_number, ...: object}
_ADVICE = "the training can be resumed: make room, then run the same command again"


def losses(folder: Path) -> list[dict[str, Any]]:
    """The lines of the iterations alone: their losses, rate and speed."""
    return [record for record in read(folder) if "loss" in record]


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of the curve in `folder`, oldest first; none where there is no curve. Invalid lines are skipped: a
    last one that was cut short, or one damaged by the disk."""
    return read_jsonl(Path(folder) / FILE, _LINE)


class Curve:
    """Appends to `curve.jsonl`. Opening it removes every line after `iteration`, from which the training continues,
    and the scores measured between it and the next iteration, which are measured again."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self.path = Path(folder) / FILE
        records = [r for r in read(folder) if r["iteration"] < iteration + ("loss" in r)]
        write_text(self.path, "".join(map(_line, records)), advice=_ADVICE)
        with output_errors(self.path, _ADVICE):
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 -- closed by close()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        with output_errors(self.path, _ADVICE):
            self._file.write("".join(map(_line, records)))
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
