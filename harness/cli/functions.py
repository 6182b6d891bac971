"""The commands `plan`, `run` and `report` as functions, for notebooks and scripts: `harness.plan`, `run` and `cells`."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import MissingError, UserError
from harness.plan.request import PlanRequest, plan_of
from harness.table.paths import table_file

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan.planner import Plan
    from harness.scheduler.run import Outcome

Names = str | Iterable[str]
_DEVICES = ("auto", "cpu", "cuda")


def request_of(
    tables: Sequence[str | os.PathLike[str]],
    *,
    rows: Names = (),
    columns: Names = (),
    profile: str = "paper",
    repetitions: int = 1,
    settings: Mapping[str, Any] | None = None,
    data: str | os.PathLike[str] | None = None,
    results: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> PlanRequest:
    """What the command line would ask for with these arguments. UserError for a table that is not there, and for an argument of
    another type."""
    if not tables:
        raise UserError("name at least one table, such as 'camvid' or 'tables/camvid.yaml'")
    if isinstance(repetitions, bool) or not isinstance(repetitions, int) or repetitions < 1:
        raise UserError(f"repetitions={repetitions!r} is not a whole number above 0")
    if device not in _DEVICES:
        raise UserError(f"device={device!r}: allowed are {', '.join(_DEVICES)}")
    if not isinstance(profile, str):
        raise UserError(f"profile={profile!r} is not the name of a profile, such as 'smoke'")
    if settings is not None and not isinstance(settings, Mapping):
        raise UserError(f"settings={settings!r} is not a dictionary, such as {{'recipe.iterations': 100}}")
    return PlanRequest(
        tuple(str(table_file(_path("table", table))) for table in tables),
        _names("rows", rows),
        _names("columns", columns),
        profile,
        repetitions,
        _folder(data, "HARNESS_DATA"),
        results_folder(results),
        device,
        settings=tuple(f"{name}={_text(value)}" for name, value in (settings or {}).items()),
    )


def results_folder(results: str | os.PathLike[str] | None) -> Path:
    """The results folder: the one that is named, else HARNESS_RESULTS, else `results`."""
    return _folder(results, "HARNESS_RESULTS") or Path("results")


def plan(request: PlanRequest) -> Plan:
    """The plan of the request; raises what `plan_of` does."""
    from harness.cli.inspection import plan_to_read

    return plan_to_read(request, default=False)[0]


def run(
    request: PlanRequest, *, jobs: int | None, retry_failed: bool, keep_weights: bool, logger: Names, figures: bool
) -> Outcome:
    """Measures and writes reports, as the command does, with its progress printed. MissingError where nothing can run here."""
    with _logging_to(_names("logger", logger) or request.resolve_profile().loggers):
        return _run(request, jobs=jobs, retry_failed=retry_failed, keep_weights=keep_weights, figures=figures)


def _run(request: PlanRequest, *, jobs: int | None, retry_failed: bool, keep_weights: bool, figures: bool) -> Outcome:
    from harness.cli import cluster, progress
    from harness.cli.output import write_reports
    from harness.plan.cost import unasked_cpu
    from harness.scheduler import run as scheduler

    chosen, store = plan_of(request)
    store.prepare()
    how = {"retry_failed": retry_failed, "keep_weights": keep_weights}
    todo = scheduler.queue(chosen, store, **how)
    if todo.blocked and not todo.run and len(todo.blocked) == len(chosen.jobs_to_run(store)):
        raise MissingError("\n".join(dict.fromkeys(todo.blocked.values())))
    if text := unasked_cpu(todo.run, request.asked_device, request.resolve_device()):
        raise UserError(text)
    with progress.Console(chosen, store, todo) as listener:
        transport = cluster.transport(request, store, request.slots(jobs))
        outcome = scheduler.run(chosen, store, transport, listener, **how)
    if not keep_weights:
        scheduler.drop_scene_weights(chosen, store, outcome)
    write_reports(chosen, store, figures=figures, show_tables=False)
    return outcome


@contextlib.contextmanager
def _logging_to(names: Sequence[str]) -> Iterator[None]:
    """Jobs started inside the block log to these, too; later ones of this process do not."""
    from harness.cli.run import set_loggers

    before = os.environ.get("HARNESS_LOGGERS")
    set_loggers(names, "logger=")
    try:
        yield
    finally:
        os.environ.pop("HARNESS_LOGGERS", None)
        os.environ.update({"HARNESS_LOGGERS": before} if before is not None else {})


def cells(request: PlanRequest) -> pd.DataFrame:
    """The cells of the request as `report --format csv` writes them: numbers are floats, NaN where there is none."""
    import pandas as pd

    from harness.cli.inspection import plan_to_read
    from harness.cli.output import reports_of
    from reports.formats import csv

    texts = [csv.render(report, header=i == 0) for i, report in enumerate(reports_of(*plan_to_read(request)))]
    frame = pd.read_csv(io.StringIO("".join(texts)), dtype=str, keep_default_na=False)
    for name in (*csv.NUMBERS, "published"):  # a published value may be a bound, which is no number
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("int64" if name == "n" else "float64")
    return frame


def _names(argument: str, names: Names) -> tuple[str, ...]:
    """The globs of an argument; UserError that names it where they are no texts."""
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    if not all(isinstance(name, str) for name in found):
        example = "['tensorboard', 'mine.py:Lines']" if argument == "logger" else "['row_a', 'row_b*']"
        raise UserError(f"{argument}={names!r} is neither a name nor a list of names, such as {example}")
    return found


def _path(argument: str, value: Any) -> str | os.PathLike[str]:
    """The value; UserError that names the argument where it is no path."""
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{argument}: {value!r} is neither a name nor a path; write it as text, such as 'camvid'")
    return value


def _folder(path: str | os.PathLike[str] | None, variable: str) -> Path | None:
    if path is not None:
        _path(variable.removeprefix("HARNESS_").lower(), path)
    chosen = path if path is not None else os.environ.get(variable) or None
    return Path(chosen).expanduser() if chosen is not None else None


def _text(value: Any) -> str:
    """A value as it is written in a YAML file."""
    return value if isinstance(value, str) else json.dumps(value)
