"""`logs`: what the jobs of a cell printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit
from harness.jobs.kinds import word
from harness.text import duration

if TYPE_CHECKING:
    from harness.jobs.job import Job
    from harness.plan.request import PlanRequest
    from harness.store.store import Store

_MOST = 4 << 20  # bytes of a log's end that are read


@register(
    "logs",
    "idrnet_table2/fcn_idrnet/ade20k --lines 100",
    notes="Of every repetition: its training, then its test. Exit code 5: no job of the cell has begun.",
)
@options.cell_plan_request
@click.option("--lines", type=click.IntRange(min=1), default=30, metavar="N", help="of each log's end (30)")
def command(cell: str, request: PlanRequest, lines: int) -> Exit:
    from harness.cli.inspection import plan_to_read

    plan, store = plan_to_read(request)
    jobs = [plan.jobs[key] for planned in plan.cells for job in planned.jobs for key in (*job.needs, job.key)]
    texts = [text for job in dict.fromkeys(j.key for j in jobs) for text in _log(plan.jobs[job], store, lines)]
    print_lines(texts or [f"no job of this cell has begun; python -m harness why {cell} says how it stands"])
    return Exit.OK if texts else Exit.NOTHING


def _log(job: Job, store: Store, count: int) -> Iterator[str]:
    """The end of a job's log with its path above and why it failed below; nothing where the job never began."""
    folder, remark = store.folder(job), ""
    stale = store.stale(job)
    if not (folder / "log.txt").is_file() and stale is not None and (stale.folder / "log.txt").is_file():
        folder, remark = stale.folder, " (of other code, data or weights)"
    failure = store.failure(job)
    if not (folder / "log.txt").is_file() and failure is None:
        return
    yield f"== {word(job.kind)}{remark}: {folder / 'log.txt'}"
    yield from _end(folder / "log.txt", count) or _without_log(folder, store)
    if failure is not None:
        yield f"failed: {failure.cause}: {failure.message}"


def _end(path: Path, count: int) -> list[str]:
    """The last lines of a text file; of a progress bar that overwrites itself, what it said last."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MOST))
            text = file.read().decode("utf-8", "backslashreplace")
    except OSError as error:
        return [f"(cannot be read: {error.strerror})"]
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n") if line.strip()]
    more = [f"… {len(lines) - count} lines before"] if len(lines) > count else []
    return [*more, *lines[-count:]]


def _without_log(folder: Path, store: Store) -> list[str]:
    """What is known of a job that printed nothing: its training's last iteration, and what it measured."""
    from harness.store.curve import losses

    said = ["it printed nothing"]
    if curve := losses(folder):
        said.append(f"{curve[-1]['iteration']} iterations in its curve, the last loss {curve[-1]['loss']:.4g}")
    result = store.result_in(folder)
    if result is not None:
        measured = ", ".join(f"{m.name} {m.value:.6g} {m.unit}".rstrip() for m in result.measurements)
        said.append(f"finished in {duration(result.seconds)}" + (f", measured {measured}" if measured else ""))
    return [f"({'; '.join(said)})"]
