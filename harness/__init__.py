"""The machine: tables become jobs, jobs become measurements, measurements become the same tables again.

It knows no method by name; `methods/` does. Nothing here imports torch at module level except the rooms that compute
(`training`, `tasks`). In a notebook `harness.plan`, `run`, `cells` and `results` do what the commands do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from harness.plan.planner import Plan
    from harness.scheduler.run import Outcome

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds `harness/`, `methods/` and `tables/`; of an installed wheel, the one of its packages."""
_INSTALLED = Path(__file__).resolve().parent / "shipped"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else ROOT
"""The folder that holds `tables/`: the checkout, or what a wheel carries of it (setup.py)."""

# no plugin of pydantic is used, and looking for them reads every installed package's metadata at each start
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class PlanOptions(TypedDict, total=False):
    """What selects cells and says how they are measured; the options of the commands, with their defaults."""

    rows: str | Iterable[str]  # globs; all
    columns: str | Iterable[str]  # globs; all
    profile: str  # paper
    repetitions: int  # of each training, each with a seed of its own; 1
    settings: Mapping[str, Any]  # {"recipe.iterations": 100}, as --set has it
    data: str | os.PathLike[str]  # one folder per dataset; HARNESS_DATA
    results: str | os.PathLike[str]  # all state; HARNESS_RESULTS, else `results`
    device: str  # auto, cpu or cuda


def plan(*tables: str | os.PathLike[str], **options: Unpack[PlanOptions]) -> Plan:
    """What `run` would measure, without measuring it: cells, jobs by key, and why a job cannot run here (`blocked`).

    `tables`: files or bare names (`"camvid"`). UserError (harness.errors) for bad input, with every error of all files.
    """
    from harness.cli import functions

    return functions.plan(functions.request_of(tables, **options))


def run(
    *tables: str | os.PathLike[str],
    jobs: int | None = None,
    retry_failed: bool = False,
    keep_weights: bool = False,
    logger: str | Iterable[str] = (),
    figures: bool = False,
    **options: Unpack[PlanOptions],
) -> Outcome:
    """Measures what is not measured yet and writes the reports; `jobs` at once (None: one per GPU, or per CPU).

    `retry_failed` repeats jobs that failed before. `keep_weights` keeps those of smoke trainings, too. `logger`: tensorboard,
    wandb, mlflow or file.py:Class, or several, beside curve.jsonl; else the profile's, else HARNESS_LOGGERS.

    Returns the keys of jobs that were done, have failed (with causes), were blocked or interrupted. An interrupt (the stop
    button) saves, and the same call goes on. UserError for bad input; MissingError where data or weights are not here.
    """
    from harness.cli import functions

    return functions.run(
        functions.request_of(tables, **options),
        jobs=jobs,
        retry_failed=retry_failed,
        keep_weights=keep_weights,
        logger=logger,
        figures=figures,
    )


def cells(*tables: str | os.PathLike[str], **options: Unpack[PlanOptions]) -> pd.DataFrame:
    """The cells of tables beside the published values, one row each: the columns of `report --format csv`.

    Numbers are float64, NaN where there is none (`n` is int64): measured, sd, low, high, published, difference, n.
    """
    from harness.cli import functions

    return functions.cells(functions.request_of(tables, **options))


def results(results: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """All measurements of a results folder (None: HARNESS_RESULTS, else `results`), one row each; empty where nothing is
    measured.

    Columns: key, identity, kind, name, value, unit, convention, method, dataset, profile, seed, device, commit, started,
    seconds, and the job's folder; `harness.store.export.COLUMNS` says what they hold and their dtypes. mIoU per method:

        measured = harness.results()
        measured[measured.name == "miou"].groupby(["dataset", "method"]).value.describe()
    """
    from harness.cli.functions import results_folder
    from harness.store.export import frame  # pandas, which no command but `export` needs
    from harness.store.store import Store

    return frame(Store(results_folder(results)))
