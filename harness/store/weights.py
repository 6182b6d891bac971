"""Weights of finished trainings: their files by name, and the note that stands where they have been left out.

A training's measurements stand without its weights: a bundle leaves them out, `clean` deletes them. A test of it that is
still to be measured needs them, so the training is then run again.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from harness.files import write_json

NOTE = "weights_left_out.json"
FINAL = re.compile(r"final-\d{8}-[0-9a-f]{64}\.pt")


def files(folder: Path) -> list[Path]:
    """The weights of the finished training in a job's folder: one file, or none."""
    return sorted(path for path in folder.glob("final-*.pt") if FINAL.fullmatch(path.name))


def note_absence(folder: Path, reason: str) -> None:
    """Writes down why a finished training has no weights here; OutputError where it cannot."""
    write_json(folder / NOTE, {"reason": reason})


def left_out(folder: Path) -> bool:
    """Whether the training's weights were left out or deleted, so that what tests them has to train again."""
    return (folder / NOTE).exists() and not files(folder)


def reopen(folder: Path) -> None:
    """Lets a training without weights run again: its result is kept as `result.json.without_weights`."""
    with contextlib.suppress(OSError):
        (folder / "result.json").replace(folder / "result.json.without_weights")
