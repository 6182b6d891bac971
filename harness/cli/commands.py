"""What each command does. Heavy imports stay inside the functions that need them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.cli.features import features  # noqa: F401  (found here by its name)
from harness.cli.models import panels, weights  # noqa: F401  (found here by their names)
from harness.cli.options import cell_of, cluster_of, data_dir, device_of, literal, load_tables, plan_of
from harness.errors import Exit, MissingError


def run(options: Namespace) -> Exit:
    """`run`: plan, measure, report."""
    from harness.cli import cluster, progress
    from harness.plan.durations import estimate
    from harness.scheduler.local import Local
    from harness.scheduler.run import queue
    from harness.scheduler.run import run as measure

    place = cluster_of(options)
    plan, store = plan_of(options)
    store.prepare()
    todo = queue(plan, store, retry_failed=options.retry_failed)
    if place is None:
        transport = Local(store, data_dir=data_dir(options), device=device_of(options), slots=options.jobs)
    else:
        from harness.scheduler.slurm.transport import Slurm

        place.check()
        transport = Slurm(store, place.cluster, data_dir=data_dir(options), controller=place.controller)
    _print(progress.plan_lines(plan, todo, estimate(todo.run, store), transport.slots))
    _print(cluster.cost(place, device_of(options), plan, todo.run, store, transport.slots, options.budget))
    if not plan.wanted():
        return Exit.NOTHING
    if todo.blocked and not todo.run and len(todo.blocked) == len(plan.pending(store)):
        raise MissingError("nothing can be measured until the above is there")
    if options.detach:
        return cluster.detach(transport, todo.run, plan.jobs)
    with progress.Console(plan, store, todo) as listener:
        outcome = measure(plan, store, transport, listener, retry_failed=options.retry_failed)
    _print(["", *progress.closing(plan, store, outcome)])
    _report(plan, store, figures=not options.no_figures, text=True)
    return outcome.exit(plan, store)


def plan(options: Namespace) -> Exit:
    """`plan`: what `run` would do."""
    from harness.cli import cluster, progress
    from harness.plan.durations import estimate
    from harness.scheduler.run import queue

    plan, store = plan_of(options)
    todo = queue(plan, store)
    slots = options.jobs or device_of(options).slots
    _print(progress.plan_lines(plan, todo, estimate(todo.run, store), slots))
    _print(cluster.cost(cluster_of(options), device_of(options), plan, todo.run, store, slots, options.budget))
    named = progress.names(plan)
    _print(f"   {named[job.key]}" for job in todo.run)
    if options.decide:
        from reports import advice, table_report

        _print(advice.lines([*table_report.table_reports(plan, store)]))
    return Exit.OK if plan.wanted() else Exit.NOTHING


def status(options: Namespace) -> Exit:
    """`status`: one line per cell."""
    from harness.cli import inspection
    from harness.scheduler.slurm import remote

    plan, store = plan_of(options)
    lines, left = inspection.status_lines(plan, store, remote.queue_states(plan.jobs.values(), store))
    _print(lines)
    return Exit.FAILED if left else Exit.OK


def cancel(options: Namespace) -> Exit:
    """`cancel`: takes this plan's jobs back from Slurm."""
    from harness.scheduler.slurm import remote

    _print(remote.cancel(*plan_of(options)))
    return Exit.OK


def report(options: Namespace) -> Exit:
    """`report`: the tables as measured so far."""
    plan, store = plan_of(options)
    if options.format == "markdown":
        _report(plan, store, figures=not options.no_figures, text=False)
    else:
        from harness.scheduler.slurm import remote
        from reports import table_report
        from reports.formats import csv, latex, terminal

        queued = remote.queue_states(plan.jobs.values(), store)
        table_reports = table_report.table_reports(plan, store, queued)
        if options.format == "latex":
            sys.stdout.write(latex.document(table_reports))
        elif options.format == "csv":
            sys.stdout.writelines(csv.render(made, header=i == 0) for i, made in enumerate(table_reports))
        else:
            sys.stdout.writelines(map(terminal.render, table_reports))
    measured = any(store.result(job) is not None for cell in plan.cells for job in cell.jobs)
    return Exit.OK if measured else Exit.NOTHING


def audit(options: Namespace) -> Exit:
    """`audit`: what does not fit in the published numbers; FAILED when there is a finding."""
    from reports.audit import findings

    chosen = load_tables(options.tables)
    found, checked = _findings(chosen)
    if options.format == "csv":
        sys.stdout.write(findings.as_csv(found))
    else:
        sys.stdout.write((findings.text if options.format == "text" else findings.as_markdown)(found, checked))
    return Exit.FAILED if found else Exit.OK


def site(options: Namespace) -> Exit:
    """`site`: all tables as pages to look through."""
    from harness.scheduler.slurm import remote
    from harness.table import paths
    from reports.site.build import build

    options.tables = options.tables or [str(path) for path in paths.table_files()]
    options.rows, options.columns = [], []
    plan, store = plan_of(options)
    name = "site" if options.profile == "paper" else f"site.{options.profile}"
    folder = Path(options.out).expanduser() if options.out else store.reports / name
    found, _ = _findings(plan.tables)
    queued = remote.queue_states(plan.jobs.values(), store)
    print(f"site: {build(plan, store, folder, found, figures=not options.no_figures, queued=queued)}")
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
    from harness.cli import inspection
    from harness.plan.planner import Selection
    from harness.scheduler.slurm import remote

    table, row, column = cell_of(options.cell)
    options.tables, options.rows, options.columns = [str(table)], [], []
    plan, store = plan_of(options, Selection((literal(row),), (literal(column),)))
    _print(inspection.why_lines(plan, store, remote.queue_states(plan.jobs.values(), store)))
    return Exit.OK


def nightly(options: Namespace) -> Exit:
    """`nightly`: one night's measurements and verdict."""
    from harness.cli import nightly

    return nightly.run(options, data_dir(options))


def list(options: Namespace) -> Exit:  # the command's name
    """`list`: names, without importing what they name."""
    from harness.cli import inspection

    _print(inspection.list_lines(options.what))
    return Exit.OK


def doctor(options: Namespace) -> Exit:
    """`doctor`: what this machine can do, and what is missing."""
    from harness.cli import inspection

    place = cluster_of(options)
    if place is not None:
        from harness.cli import cluster

        return cluster.doctor(place, Path(options.results), data_dir(options))
    lines, sound = inspection.doctor_lines(data_dir(options), Path(options.results), options.device)
    _print(lines)
    return Exit.OK if sound else Exit.MISSING


def data(options: Namespace) -> Exit:
    """`data prepare | verify | show | synthesize`."""
    from harness.cli.progress import Counter
    from harness.store.store import Store

    cache, folder = Store(Path(options.results)).cache, data_dir(options)
    if options.action == "synthesize":
        from harness.data.synthetic import synthesize

        print(f"written: {synthesize(options.name, Path(options.out).expanduser(), layout=options.layout)}")
    elif options.action == "show":
        from harness.data.files import locate, pairs
        from harness.data.selection import choose, read_scenes
        from harness.jobs.kinds import Data
        from reports.figures import predictions, style

        root = locate(Data(name=options.name), data_dir=folder, cache=cache)
        scenes = read_scenes(root, choose(pairs(root, options.split), options.images))
        out = Path(options.out or Path(options.results) / f"{options.name}_{options.split}.png").expanduser()
        with style.styled():
            sheet = predictions.contact_sheet(scenes, root.dataset.classes, root.dataset.palette)
            print(f"written: {predictions.write(sheet, out)}")
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


def _findings(chosen):
    """(findings, what was checked) of these tables, or of all that are published where there is none."""
    from harness.table import paths
    from harness.text import plural
    from reports.audit import findings, paper
    from reports.audit.corpus import Subject

    ids = {table.id for table in chosen}
    shelf = [str(path) for path in paths.table_files() if path.stem not in ids]
    tables = [*chosen, *(table for table in load_tables(shelf) if table.published.source.table is not None)]
    subject = Subject(tables, paper.papers({table.paper for table in tables}), paper.spellings())
    return findings.audit(subject, only=ids), plural(len(chosen) or len(tables), "table")


def _report(plan, store, *, figures: bool, text: bool) -> None:
    from harness.scheduler.slurm import remote
    from reports import table_report, write
    from reports.formats import terminal

    queued = remote.queue_states(plan.jobs.values(), store)
    for made in table_report.table_reports(plan, store, queued):
        if text:
            sys.stdout.write("\n" + terminal.render(made))
        print(f"report: {write.write(made, store.reports, figures=figures)}")


def _print(lines: Iterable[str] | Sequence[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()
