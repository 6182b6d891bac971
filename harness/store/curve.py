"""The training curve: a JSON line per iteration, and one per test of the model between two iterations; never a line twice,
never a half line after a resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.files import output_errors

FILE = "curve.jsonl"
_THEN = "The training can be resumed: make room, then run the same command again."


def losses(folder: Path) -> list[dict[str, Any]]:
    """The lines of the iterations alone: their losses, rate and speed."""
    return [record for record in read(folder) if "loss" in record]


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of the curve in `folder`, oldest first; a last line that was cut short is left out."""
    path = Path(folder) / FILE
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


class Curve:
    """Appends to `curve.jsonl`. Opening it forgets every line after `iteration`, the one the training goes on from, and the
    scores that were measured between it and the next: they will be again."""

    def __init__(self, folder: Path, iteration: int) -> None:
        self.path = Path(folder) / FILE
        with output_errors(folder, _THEN):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [r for r in read(folder) if r["iteration"] < iteration + ("loss" in r)]
            aside = self.path.with_suffix(".aside")
            aside.write_text("".join(map(_line, kept)), encoding="utf-8")
            os.replace(aside, self.path)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 -- closed by close()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        with output_errors(self.path.parent, _THEN):
            self._file.write("".join(map(_line, records)))
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
