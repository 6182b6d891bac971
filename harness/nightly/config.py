"""The nightly file: what every night measures, when it raises an alarm, and who is notified."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import Field

from harness import yamlfile
from harness.errors import Problems, UserError, nearest
from harness.spec import Spec
from harness.stats.control_charts import Limits
from harness.table.load import load as load_table
from harness.yamlfile import read


class Golden(Spec):
    """Tests that compare curves of training with stored ones, as pytest names them."""

    tests: tuple[str, ...] = ()  # files, as given to pytest


class Checkpoints(Spec):
    """Trainings whose weights are kept and tested again with the present code. `tolerance` in points of mIoU."""

    tables: tuple[str, ...] = ()  # files
    profile: str = "paper"  # of the trainings
    tolerance: float = Field(0.02, ge=0)  # points of mIoU


class Slice(Spec):
    """Full trainings: as many cells as fit in a night's GPU-hours, those that were measured longest ago first."""

    tables: tuple[str, ...] = ()  # files
    profile: str = "short"  # of the trainings
    gpu_hours: float = Field(24, gt=0)  # of a night
    accepted: dict[str, str] = {}  # {TABLE/ROW/COLUMN: date from which its new level is right}


class Nightly(Spec):
    """A nightly file. `notify`: a command, one argument per item, that gets the report on its standard input."""

    on: str | None = None  # cluster file; without it jobs run on this machine
    golden: Golden = Golden()
    checkpoints: Checkpoints = Checkpoints()
    slice: Slice = Slice()
    suspects: float = Field(Limits.suspects, gt=0)  # so many false suspects are expected in a night
    alarm: float = Field(Limits.alarm, gt=0, lt=1)  # false discovery rate over all cells of a night
    notify: tuple[str, ...] = ()
    notify_always: bool = False  # also when all is well

    @property
    def limits(self) -> Limits:
        return Limits(suspects=self.suspects, alarm=self.alarm)


def load(path: str | Path) -> Nightly:
    """A nightly file; Problems with everything wrong in it and in the tables that it names."""
    document = read(path)
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "a nightly file is a mapping; see slurm/nightly.yaml")])
    nightly: Nightly = yamlfile.validate(document, document.data, Nightly)
    problems, cells = [], set()
    for path in dict.fromkeys((*nightly.checkpoints.tables, *nightly.slice.tables)):
        try:
            table = load_table(path)
        except Problems as error:
            problems += error.problems
        else:
            cells |= {f"{table.id}/{row}/{column}" for row in table.rows for column in table.columns}
    for cell, date in nightly.slice.accepted.items():
        where = ("slice", "accepted", cell)
        if not problems and cell not in cells:
            problems.append(document.problem(where, f"none of the tables has this cell.{nearest(cell, cells)}"))
        try:
            check_date(date)
        except UserError as error:
            problems.append(document.problem(where, str(error)))
    if problems:
        raise Problems(problems)
    return nightly


def check_date(text: str) -> datetime.date:
    """A date written YYYY-MM-DD; UserError for anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"'{text}' is not a date; write YYYY-MM-DD") from None
