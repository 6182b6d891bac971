"""Arguments and options that several commands share, and their types: what they accept and how the shell completes them."""

from __future__ import annotations

import errno
import functools
import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.errors import Problems, UserError, nearest

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest
    from harness.scheduler.slurm.remote import ClusterTarget

Function = Callable[..., Any]

# ------------------------------------------------------------------------------------------------------------- types


class PositiveInt(click.IntRange):
    """A whole number above 0."""

    def __init__(self) -> None:
        super().__init__(min=1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is not a whole number above 0", param, ctx)


class Hours(click.ParamType):
    """A number of hours, 0 or more."""

    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            hours = float(value)
        except ValueError:
            hours = -1.0
        if not 0 <= hours < 1e9:
            self.fail(f"'{value}' is not a number of hours", param, ctx)
        return hours


class Choice(click.Choice):
    """One of some words; the error names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"invalid choice '{value}'.{nearest(value, self.choices)}", param, ctx)
        return value


class PathType(click.ParamType):
    """A path that a file may have, `~` expanded; whether it exists is for the command to say. `kind`: `file` or `dir`, for
    completion."""

    name = "path"

    def __init__(self, kind: str = "file") -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value).expanduser()
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.fail(f"'{str(value)[:40]}…' is longer than a file's name can be", param, ctx)
        return path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.kind)]


# -------------------------------------------------------------------------------------------------------- completion


def _complete_from(names: Callable[[click.Context], Iterable[str]], *, files: bool = False) -> Function:
    """A `shell_complete` that offers the names that start with what is typed; with `files`, else the shell's own files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        try:
            items = [CompletionItem(name) for name in names(ctx) if name.startswith(incomplete)]
        except UserError:  # a file on the command line is wrong, which its command will say
            items = []
        return items or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def _table_paths(ctx: click.Context) -> list[str]:
    from harness.table import paths

    return [f"tables/{file.name}" for file in paths.table_files()]


def _keys(axis: str) -> Callable[[click.Context], list[str]]:
    """The `rows` or `columns` of the tables that stand on the command line before."""

    def names(ctx: click.Context) -> list[str]:
        from harness.table.paths import table_file
        from harness.yamlfile import read

        keys: dict[str, None] = {}
        # while an option still lacks its value, what stands before it is not yet sorted into parameters
        for path in ctx.params.get("tables") or ctx.args:
            data = read(table_file(path)).data
            axis_keys = data.get(axis) if isinstance(data, dict) else None
            keys |= dict.fromkeys(map(str, axis_keys if isinstance(axis_keys, dict) else ()))
        return [*keys]

    return names


def _profiles(ctx: click.Context) -> list[str]:
    from harness.table import paths

    tables = ctx.params.get("tables") or ctx.args
    return [*paths.files("profiles", paths.table_file(tables[0]).parent if tables else None)]


def _setting_names(ctx: click.Context) -> list[str]:
    """The fields of a recipe, and the rows of the tables that stand before; `=` and the value are for a person."""
    from harness.recipes.segmentation import Recipe

    return [*(f"recipe.{name}=" for name in Recipe.model_fields), *(f"row.{row}." for row in _keys("rows")(ctx))]


def _cluster_files(ctx: click.Context) -> list[str]:
    from harness import ROOT

    return [file.relative_to(ROOT).as_posix() for file in sorted((ROOT / "slurm" / "clusters").glob("*.yaml"))]


def _complete_cell(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """`TABLE/` of the checkout's tables; after that the cells of that table."""
    from click.shell_completion import CompletionItem

    from harness.table import paths
    from harness.yamlfile import read

    stem, slash, _ = incomplete.partition("/")
    names = []
    for file in paths.table_files():
        if not slash:
            names.append(f"{file.stem}/")
        elif file.stem == stem:
            data = read(file).data
            names = [f"{stem}/{row}/{column}" for row in data["rows"] for column in data["columns"]]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _datasets(ctx: click.Context) -> Iterable[str]:
    from harness.cli.listing import names

    return names("datasets")


def _located(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """A dataset's name as recipes of tables in the current folder have it: `streets` may be datasets/streets.yaml."""
    from harness.table.recipes import dataset_name

    return dataset_name(value, Path())


# ----------------------------------------------------------------------------------------------- arguments and options


def table_files(names: Iterable[str]) -> tuple[str, ...]:
    """The files of tables that are named by path or by bare name (`camvid`); Problems with all that are neither."""
    from harness.table.paths import table_file

    files, problems = [], []
    for name in names:
        try:
            files.append(str(table_file(name)))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return tuple(files)


def _as_files(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    return names if ctx.resilient_parsing else table_files(names)


_complete_tables = _complete_from(_table_paths, files=True)
_tables = click.argument(
    "tables", metavar="TABLE...", nargs=-1, required=True, callback=_as_files, shell_complete=_complete_tables
)
optional_tables = click.argument(
    "tables", metavar="[TABLE...]", nargs=-1, callback=_as_files, shell_complete=_complete_tables
)
_rows = click.option(
    "--rows",
    multiple=True,
    metavar="GLOB",
    help="only these rows; repeats",
    shell_complete=_complete_from(_keys("rows")),
)
_columns = click.option(
    "--columns",
    multiple=True,
    metavar="GLOB",
    help="only these columns; repeats",
    shell_complete=_complete_from(_keys("columns")),
)
_profile = click.option(
    "--profile",
    default="paper",
    metavar="NAME",
    help="paper (default), fast, short or smoke",
    shell_complete=_complete_from(_profiles),
)
_repetitions = click.option(
    "--repetitions",
    "--seeds",
    "repetitions",
    type=PositiveInt(),
    default=1,
    metavar="N",
    help="repetitions of each training, each with a seed of its own (1)",
)
data_folder = click.option(
    "--data",
    type=PathType("dir"),
    envvar="HARNESS_DATA",
    metavar="DIR",
    help="one folder per dataset (or HARNESS_DATA)",
)
results = click.option(
    "--results",
    type=PathType("dir"),
    envvar="HARNESS_RESULTS",
    default="results",
    metavar="DIR",
    help="all state (results, or HARNESS_RESULTS)",
)
_device = click.option(
    "--device",
    type=Choice(("auto", "cpu", "cuda")),
    default="auto",
    help="where jobs run (auto: HARNESS_DEVICE, the profile's, or GPUs if any)",
)
cluster = click.option(
    "--on",
    "cluster",
    metavar="CLUSTER",
    help="a Slurm cluster: its file, e.g. slurm/clusters/local.yaml",
    shell_complete=_complete_from(_cluster_files, files=True),
)
gpus_per_job = click.option(
    "--gpus-per-job",
    type=PositiveInt(),
    metavar="N",
    help="GPUs of each training and test on this machine (1); with --device cpu processes",
)
no_figures = click.option("--no-figures", is_flag=True, help="write without figures")
dataset = click.argument(
    "name", metavar="DATASET", callback=_located, shell_complete=_complete_from(_datasets, files=True)
)
cell = click.argument("cell", metavar="TABLE/ROW/COLUMN", shell_complete=_complete_cell)


def _stack(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Several decorators as one; the first becomes the outermost."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="recipe.iterations=100, row.ROW.channels=256: instead of what the files say; repeats",
    shell_complete=_complete_from(_setting_names),
)
profile_and_repetitions = _stack(_profile, _repetitions)
folders_and_device = _stack(data_folder, results, _device)


def plan_request(function: Function) -> Function:
    """Decorator: adds what selects a plan (tables, rows, columns, profile, repetitions, folders, device; the cluster and
    the GPUs of a job where the command has `cluster` and `gpus_per_job`), and calls the command with these as one `request`."""

    @_stack(_tables, _rows, _columns, profile_and_repetitions, settings, folders_and_device)
    @functools.wraps(function)
    def call(
        tables: tuple[str, ...],
        rows: tuple[str, ...],
        columns: tuple[str, ...],
        profile: str,
        repetitions: int,
        settings: tuple[str, ...],
        data: Path | None,
        results: Path,
        device: str,
        cluster: str | None = None,
        gpus_per_job: int | None = None,
        **others: Any,
    ) -> Any:
        from harness.plan.request import PlanRequest

        target = cluster_target(cluster)
        request = PlanRequest(
            tables, rows, columns, profile, repetitions, data, results, device, target, gpus_per_job, settings
        )
        return function(request, **others)

    return call


def cell_plan_request(function: Function) -> Function:
    """Decorator: adds a cell and how it is measured (profile, repetitions, settings, folders, device), and calls the command
    with the cell's name as `cell` and the `request` of that cell alone."""
    fields = ("profile", "repetitions", "settings", "data", "results", "device")

    @_stack(cell, profile_and_repetitions, settings, folders_and_device)
    @functools.wraps(function)
    def call(cell: str, **others: Any) -> Any:
        measured_as = {name: others.pop(name) for name in fields}
        return function(cell, cell_request(*cell_of(cell), **measured_as), **others)

    return call


# ------------------------------------------------------------------------------------------------------------- values


def cluster_target(path: str | None) -> ClusterTarget | None:
    """The cluster of --on; None: this machine."""
    if path is None:
        return None
    from harness.scheduler.slurm.remote import ClusterTarget

    return ClusterTarget.of(path)


def cell_of(name: str) -> tuple[Path, str, str]:
    """The table file, row and column of `TABLE/ROW/COLUMN`; UserError where there is no such cell."""
    from harness.table import paths
    from harness.table.load import load

    parts = name.rsplit("/", 2)
    if len(parts) != 3:
        raise UserError(f"'{name}' is not a cell; write TABLE/ROW/COLUMN, e.g. idrnet_table2/fcn_idrnet/ade20k")
    stem, row, column = parts
    file = paths.table_file(stem)
    table = load(file)
    for axis, key, names in (("row", row, table.rows), ("column", column, table.columns)):
        if key not in names:
            raise UserError(f"{table.id} has no {axis} '{key}'.{nearest(key, names, label=f'{axis}s are')}")
    return file, row, column


def cell_request(table: Path, row: str, column: str, **others: Any) -> PlanRequest:
    """The request of one cell alone; `others`: further fields of PlanRequest."""
    from harness.plan.request import PlanRequest

    return PlanRequest((str(table),), (glob.escape(row),), (glob.escape(column),), **others)
