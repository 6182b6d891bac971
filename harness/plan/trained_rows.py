"""The trained rows of a plan: the evaluations that the commands about trained models read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.errors import MissingError, UserError
from harness.jobs.job import Job
from harness.plan.planner import Plan, PlannedCell
from harness.store import weights
from harness.store.store import Store

Evaluation = tuple[Job, Path | None]
"""An evaluation, and the folder of the training it tests (None: of given weights)."""


def rows_tested(plan: Plan, store: Store) -> tuple[str, dict[str, list[Evaluation]]]:
    """(column, {row: its evaluations, one per seed}) of a plan's cells that are trained, or that test given weights.

    UserError where there is none, or where a row has several; MissingError that names the cells that are not trained.
    """
    cells: dict[str, PlannedCell] = {}
    for cell in (c for c in plan.cells_to_measure() if c.metric.kind == "evaluate"):
        other = cells.setdefault(cell.row, cell)
        if [job.key for job in other.jobs] != [job.key for job in cell.jobs]:
            raise UserError(f"{cell.table.id} is tested in several columns; choose one (--columns {other.column})")
    if not cells:
        raise UserError("none of the selected cells tests a model; choose a column of a score (--columns) and rows")
    open_ = [c for c in cells.values() for job in c.jobs if not all(map(store.result, _trainings(plan, job)))]
    gone = [
        c for c in cells.values() for job in c.jobs for t in _trainings(plan, job) if weights.left_out(store.folder(t))
    ]
    if gone:
        names, again = dict.fromkeys(cell.name for cell in gone), f"{_command(plan, gone)} --keep-weights"
        raise MissingError(f"measured, but without weights here: {', '.join(names)}; train them again: {again}")
    if open_:
        names, again = dict.fromkeys(cell.name for cell in open_), _command(plan, open_)
        raise MissingError(f"not trained here yet: {', '.join(names)}; run them first: {again}")
    rows = {
        row: [(job, next((store.folder(t) for t in _trainings(plan, job)), None)) for job in cell.jobs]
        for row, cell in cells.items()
    }
    return next(iter(cells.values())).column, rows


def first_repetitions(plan: Plan, store: Store) -> dict[str, Evaluation]:
    """{row: the evaluation of its first seed}; errors as `rows_tested`."""
    return {row: tests[0] for row, tests in rows_tested(plan, store)[1].items()}


def _command(plan: Plan, cells: Sequence[PlannedCell]) -> str:
    """The command that measures these cells."""
    parts = ["python", "-m", "harness", "run", plan.tables[0].path]
    for flag, names in (("--rows", [c.row for c in cells]), ("--columns", [c.column for c in cells])):
        parts += [part for name in dict.fromkeys(names) for part in (flag, name)]
    parts += [] if plan.profile.name == "paper" else ["--profile", plan.profile.name]
    seeds = max(len(cell.jobs) for cell in cells)
    return shlex.join([*parts, *(["--seeds", str(seeds)] if seeds > 1 else [])])


def _trainings(plan: Plan, job: Job) -> list[Job]:
    return [plan.jobs[key] for key in job.needs]
