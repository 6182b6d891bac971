"""What the arguments of a command stand for: tables, a plan, a cell, a device, a cluster."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Problems, UserError, nearest

if TYPE_CHECKING:
    from harness.environment import Device
    from harness.plan.planner import Plan, Selection
    from harness.scheduler.slurm.remote import ClusterTarget
    from harness.store.store import Store
    from harness.table.schema import Table


def plan_of(options: Namespace, selection: Selection | None = None) -> tuple[Plan, Store]:
    """The plan of the tables on the command line, and its store; Problems with the errors of all of them at once."""
    from harness.plan.planner import Planner, Selection
    from harness.store.store import Store
    from harness.table import recipes

    tables = load_tables(options.tables)
    store = Store(Path(options.results))
    profile = recipes.profile(options.profile, near=Path(options.tables[0]).parent)
    planner = Planner(
        profile,
        tuple(range(options.seeds)),
        data_dir=data_dir(options),
        cache=store.cache,
        device=device_of(options),
    )
    chosen = selection or Selection(tuple(options.rows), tuple(options.columns))
    plan = planner.plan(tables, chosen)
    place = cluster_of(options)
    if place is not None:
        place.block(plan)
    return plan, store


def load_tables(paths: Iterable[str]) -> list[Table]:
    """The tables in these files; Problems with the errors of all of them at once."""
    from harness.table.load import load

    tables, problems = [], []
    for path in dict.fromkeys(paths):
        try:
            tables.append(load(path))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    named: dict[str, str] = {}
    for made in tables:
        if named.setdefault(made.id, made.path) != made.path:
            raise UserError(f"{named[made.id]} and {made.path} have the same name, which is what tells tables apart")
    return tables


def data_dir(options: Namespace) -> Path | None:
    """The folder of the datasets, if one is given."""
    return Path(os.path.expanduser(options.data)) if options.data else None


def device_of(options: Namespace) -> Device:
    """Where jobs run: of this machine or of the cluster's nodes."""
    from harness import environment

    place = cluster_of(options)
    return environment.device(options.device) if place is None else place.device(options.device)


def cluster_of(options: Namespace) -> ClusterTarget | None:
    """The cluster of --on; None: this machine."""
    if getattr(options, "on", None) is None:
        if getattr(options, "detach", False):
            raise UserError("--detach leaves jobs with Slurm: say which cluster with --on")
        return None
    from harness.scheduler.slurm.remote import ClusterTarget

    if not isinstance(options.on, ClusterTarget):
        options.on = ClusterTarget.of(options.on)
    return options.on


def cell_of(name: str) -> tuple[Path, str, str]:
    """The table file, row and column of `TABLE/ROW/COLUMN`."""
    from harness.table import paths
    from harness.table.load import load

    parts = name.rsplit("/", 2)
    if len(parts) != 3:
        raise UserError(f"'{name}' is not a cell; write TABLE/ROW/COLUMN, e.g. idrnet_table2/fcn_idrnet/ade20k")
    stem, row, column = parts
    known = {file.stem: file for file in paths.table_files()}
    file = Path(stem) if stem.endswith(".yaml") else known.get(stem)
    if file is None:
        raise UserError(f"unknown table '{stem}'.{nearest(stem, known)}")
    loaded = load(file)
    for what, key, names in (("row", row, loaded.rows), ("column", column, loaded.columns)):
        if key not in names:
            raise UserError(f"{loaded.id} has no {what} '{key}'.{nearest(key, names, what=f'{what}s are')}")
    return file, row, column


def literal(name: str) -> str:
    """A glob that matches just this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
