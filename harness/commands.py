"""What each command does. Heavy imports stay inside the functions that need them."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import Exit, MissingError, OutputError, Problems, UserError, nearest
from harness.model_commands import panels, weights  # noqa: F401  (found here by their names)


def run(options: Namespace) -> Exit:
    """`run`: plan, measure, report."""
    from harness import cluster_commands, console
    from harness.durations import estimate
    from harness.run import queue
    from harness.run import run as measure
    from harness.scheduler.local import Local

    place = _cluster(options)
    plan, store = _plan(options)
    store.prepare()
    todo = queue(plan, store, retry_failed=options.retry_failed)
    if place is None:
        transport = Local(store, data_dir=_data(options), device=_device(options), slots=options.jobs)
    else:
        from harness.scheduler.slurm import Slurm

        place.check()
        transport = Slurm(store, place.cluster, data_dir=_data(options), controller=place.controller)
    _print(console.plan_lines(plan, todo, estimate(todo.run, store), transport.slots))
    _print(cluster_commands.cost(place, _device(options), plan, todo.run, store, transport.slots, options.budget))
    if not plan.wanted():
        return Exit.NOTHING
    if todo.blocked and not todo.run and len(todo.blocked) == len(plan.pending(store)):
        raise MissingError("nothing can be measured until the above is there")
    if options.detach:
        transport.start(todo.run, plan.jobs)
        print(
            f"{console.plural(len(todo.run), 'job')} with Slurm; see python -m harness status, or run again to follow"
        )
        return Exit.OK
    with console.Console(plan, store, todo) as listener:
        outcome = measure(plan, store, transport, listener, retry_failed=options.retry_failed)
    _print(["", *console.closing(plan, store, outcome)])
    _report(plan, store, figures=not options.no_figures, text=True)
    return outcome.exit(plan, store)


def plan(options: Namespace) -> Exit:
    """`plan`: what `run` would do."""
    from harness import cluster_commands, console
    from harness.durations import estimate
    from harness.run import queue

    plan, store = _plan(options)
    todo = queue(plan, store)
    slots = options.jobs or _device(options).slots
    _print(console.plan_lines(plan, todo, estimate(todo.run, store), slots))
    _print(cluster_commands.cost(_cluster(options), _device(options), plan, todo.run, store, slots, options.budget))
    named = console.names(plan)
    _print(f"   {named[job.key]}" for job in todo.run)
    if options.decide:
        from reports import decide, sheet

        _print(decide.lines([sheet.build(plan, table, store) for table in plan.tables]))
    return Exit.OK if plan.wanted() else Exit.NOTHING


def status(options: Namespace) -> Exit:
    """`status`: one line per cell."""
    from harness import inspection
    from harness.scheduler import remote

    plan, store = _plan(options)
    lines, left = inspection.status_lines(plan, store, remote.whereabouts(plan.jobs.values(), store))
    _print(lines)
    return Exit.FAILED if left else Exit.OK


def cancel(options: Namespace) -> Exit:
    """`cancel`: takes this plan's jobs back from Slurm."""
    from harness.scheduler import remote

    _print(remote.cancel(*_plan(options)))
    return Exit.OK


def report(options: Namespace) -> Exit:
    """`report`: the tables as measured so far."""
    plan, store = _plan(options)
    if options.format == "markdown":
        _report(plan, store, figures=not options.no_figures, text=False)
    else:
        from reports import csvfile, latex, sheet, terminal

        sheets = (sheet.build(plan, table, store) for table in plan.tables)
        if options.format == "latex":
            sys.stdout.write(latex.document(sheets))
        elif options.format == "csv":
            sys.stdout.writelines(csvfile.render(made, header=i == 0) for i, made in enumerate(sheets))
        else:
            sys.stdout.writelines(map(terminal.render, sheets))
    measured = any(store.result(job) is not None for cell in plan.cells for job in cell.jobs)
    return Exit.OK if measured else Exit.NOTHING


def audit(options: Namespace) -> Exit:
    """`audit`: what does not fit in the published numbers; FAILED when there is a finding."""
    from reports.audit import findings

    chosen = _tables(options.tables)
    found, checked = _findings(chosen)
    if options.format == "csv":
        sys.stdout.write(findings.as_csv(found))
    else:
        sys.stdout.write((findings.text if options.format == "text" else findings.as_markdown)(found, checked))
    return Exit.FAILED if found else Exit.OK


def site(options: Namespace) -> Exit:
    """`site`: all tables as pages to look through."""
    from harness import shelves
    from reports.site.build import build

    options.tables = options.tables or [str(path) for path in shelves.table_files()]
    options.rows, options.columns = [], []
    plan, store = _plan(options)
    name = "site" if options.profile == "paper" else f"site.{options.profile}"
    folder = Path(options.out).expanduser() if options.out else store.reports / name
    found, _ = _findings(plan.tables)
    print(f"site: {build(plan, store, folder, found, figures=not options.no_figures)}")
    return Exit.OK


def reproduce(options: Namespace) -> Exit:
    """`reproduce`: the commands that make a report again."""
    from harness import environment
    from reports import reproduce as again

    told = again.read(Path(options.report).expanduser())
    _print(again.lines(told, environment.packages()))
    return Exit.OK


def why(options: Namespace) -> Exit:
    """`why`: whether a cell is measured, and what changed if it no longer is."""
    from harness import inspection
    from harness.plan import Selection

    table, row, column = _cell(options.cell)
    options.tables, options.rows, options.columns = [str(table)], [], []
    plan, store = _plan(options, Selection((_literal(row),), (_literal(column),)))
    _print(inspection.why_lines(plan, store))
    return Exit.OK


def nightly(options: Namespace) -> Exit:
    """`nightly`: one night's measurements and verdict."""
    from harness import nightly_command

    return nightly_command.run(options, _data(options))


def list(options: Namespace) -> Exit:  # the command's name
    """`list`: names, without importing what they name."""
    from harness import inspection

    _print(inspection.list_lines(options.what))
    return Exit.OK


def doctor(options: Namespace) -> Exit:
    """`doctor`: what this machine can do, and what is missing."""
    from harness import inspection

    place = _cluster(options)
    if place is not None:
        from harness import cluster_commands

        return cluster_commands.doctor(place, Path(options.results), _data(options))
    lines, sound = inspection.doctor_lines(_data(options), Path(options.results), options.device)
    _print(lines)
    return Exit.OK if sound else Exit.MISSING


def data(options: Namespace) -> Exit:
    """`data prepare | verify | show | synthesize`."""
    from harness.console import Counter
    from harness.store import Store

    cache, folder = Store(Path(options.results)).cache, _data(options)
    if options.action == "synthesize":
        from harness.data.synthetic import synthesize

        print(f"written: {synthesize(options.name, Path(options.out).expanduser(), layout=options.layout)}")
    elif options.action == "show":
        from harness.data.show import show

        out = Path(options.out or Path(options.results) / f"{options.name}_{options.split}.png").expanduser()
        made = show(options.name, options.split, out, data_dir=folder, cache=cache, images=options.images)
        print(f"written: {made}")
    elif options.action == "prepare":
        from harness.data.prepare import prepare

        if folder is None:
            raise MissingError("no data folder is set; --data DIR or HARNESS_DATA says where the dataset is to go")
        with Counter() as counter:
            root = prepare(options.name, Path(options.source).expanduser(), folder, counter)
        print(
            f"prepared: {root.path} (layout '{root.layout.name}'); next: python -m harness data verify {options.name}"
        )
    else:
        from harness.data.verify import verify

        with Counter() as counter:
            found = verify(options.name, folder, cache, accept=options.accept, progress=counter)
        print(found.text())
        return Exit.OK if found.ok else Exit.FAILED
    return Exit.OK


# -------------------------------------------------------------------------------------------------------------------


def _plan(options: Namespace, selection=None):
    """(plan, store) of the tables on the command line; Problems with the errors of all of them at once."""
    from harness import library
    from harness.plan import Planner, Selection
    from harness.store import Store

    tables = _tables(options.tables)
    store = Store(Path(options.results))
    profile = library.profile(options.profile, near=Path(options.tables[0]).parent)
    planner = Planner(
        profile,
        tuple(range(options.seeds)),
        data_dir=_data(options),
        cache=store.cache,
        device=_device(options),
    )
    chosen = selection or Selection(tuple(options.rows), tuple(options.columns))
    plan = planner.plan(tables, chosen)
    place = _cluster(options)
    if place is not None:
        place.block(plan)
    return plan, store


def _tables(paths: Iterable[str]):
    """The tables in these files; Problems with the errors of all of them at once."""
    from harness import table

    tables, problems = [], []
    for path in dict.fromkeys(paths):
        try:
            tables.append(table.load(path))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    named: dict[str, str] = {}
    for made in tables:
        if named.setdefault(made.id, made.path) != made.path:
            raise UserError(f"{named[made.id]} and {made.path} have the same name, which is what tells tables apart")
    return tables


def _findings(chosen):
    """(findings, what was checked) of these tables, or of all that are published where there is none."""
    from harness import shelves
    from reports.audit import findings, paper

    ids = {table.id for table in chosen}
    shelf = [str(path) for path in shelves.table_files() if path.stem not in ids]
    tables = [*chosen, *(table for table in _tables(shelf) if table.published.source.table is not None)]
    subject = findings.Subject(tables, paper.papers({table.paper for table in tables}), paper.spellings())
    count = len(chosen) or len(tables)
    return findings.audit(subject, only=ids), f"{count} {'table' if count == 1 else 'tables'}"


def _report(plan, store, *, figures: bool, text: bool) -> None:
    from reports import sheet, terminal, write

    for table in plan.tables:
        made = sheet.build(plan, table, store)
        if text:
            sys.stdout.write("\n" + terminal.render(made))
        try:
            print(f"report: {write.write(made, store.reports, figures=figures)}")
        except OSError as error:
            raise OutputError(f"the report cannot be written to {store.reports}: {error.strerror}") from error


def _data(options: Namespace) -> Path | None:
    return Path(os.path.expanduser(options.data)) if options.data else None


def _device(options: Namespace):
    from harness import environment

    place = _cluster(options)
    return environment.device(options.device) if place is None else place.device(options.device)


def _cluster(options: Namespace):
    """The cluster of --on; None: this machine."""
    if getattr(options, "on", None) is None:
        if getattr(options, "detach", False):
            raise UserError("--detach leaves jobs with Slurm: say which cluster with --on")
        return None
    from harness.scheduler.remote import Place

    if not isinstance(options.on, Place):
        options.on = Place.of(options.on)
    return options.on


def _cell(name: str) -> tuple[Path, str, str]:
    """The table file, row and column of `TABLE/ROW/COLUMN`."""
    from harness import shelves, table

    parts = name.rsplit("/", 2)
    if len(parts) != 3:
        raise UserError(f"'{name}' is not a cell; write TABLE/ROW/COLUMN, e.g. idrnet_table2/fcn_idrnet/ade20k")
    stem, row, column = parts
    known = {file.stem: file for file in shelves.table_files()}
    file = Path(stem) if stem.endswith(".yaml") else known.get(stem)
    if file is None:
        raise UserError(f"unknown table '{stem}'.{nearest(stem, known)}")
    loaded = table.load(file)
    for what, key, names in (("row", row, loaded.rows), ("column", column, loaded.columns)):
        if key not in names:
            raise UserError(f"{loaded.id} has no {what} '{key}'.{nearest(key, names, what=f'{what}s are')}")
    return file, row, column


def _literal(name: str) -> str:
    """A glob that matches just this name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _print(lines: Iterable[str] | Sequence[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()
