"""`compare`: two results folders, bundles or commits, cell by cell."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.cli.output import print_lines
from harness.errors import Exit, UserError

if TYPE_CHECKING:
    from harness.store.store import Result

_COMMIT = re.compile(r"[0-9a-f]{4,40}")


@register(
    "compare",
    "results ../laptop/results.zip",
    notes="A and B are each a results folder, a bundle, or a commit whose measurements --results holds. What has the same\n"
    "configuration is paired by seed. Exit code 5: nothing is on both sides.",
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--tables", multiple=True, metavar="TABLE", help="only the cells of this table, by their names; repeats")
@options.profile_and_repetitions
@click.option("--format", "file_format", type=options.Choice(("text", "csv")), default="text", help="text or csv")
@options.results
def command(
    a: str, b: str, tables: tuple[str, ...], profile: str, repetitions: int, file_format: str, results: Path
) -> Exit:
    from reports import compare

    with contextlib.ExitStack() as stack:
        first, second = (_results(side, results, stack) for side in (a, b))
        names = _cell_names(tables, profile, repetitions, results) if tables else None
        found = compare.compare(first, second, names)
    if file_format == "csv":
        sys.stdout.write(compare.as_csv(found))
    else:
        print_lines(compare.text_lines(found, a, b))
    return Exit.OK if any(one.pairs for one in found) else Exit.NOTHING


def _results(side: str, results: Path, stack: contextlib.ExitStack) -> list[Result]:
    """The results that A or B names; UserError where it names none."""
    import tempfile

    from harness.bundles.read import is_bundle, opened
    from harness.store.store import Store

    path = Path(side).expanduser()
    if path.is_dir():
        if not (path / "jobs").is_dir():
            raise UserError(f"{side}: is no results folder, which has a folder 'jobs'")
        return list(Store(path).results())
    if is_bundle(path):
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-")))
        content = stack.enter_context(opened(path, scratch))
        bad = {str(Path(name).parent) for name in content.damaged}
        found = Store(content.root).results()
        return [r for r in found if r.folder.relative_to(content.root).as_posix() not in bad]
    if not _COMMIT.fullmatch(side):
        raise UserError(
            f"{side}: is no results folder, no bundle (.zip) and no commit (at least four hexadecimal digits)"
        )
    stored = list(Store(results).results())
    commits = {str(r.environment.get("commit") or "") for r in stored} - {""}
    matching = sorted(commit for commit in commits if commit.startswith(side))
    if len(matching) != 1:
        listing = ", ".join(commit[:12] for commit in (matching or sorted(commits))[:10]) or "of none"
        what = "several commits begin so" if matching else f"{results} holds no measurement of such a commit"
        raise UserError(f"{side}: {what}; measurements are there of {listing}")
    return [r for r in stored if r.environment.get("commit") == matching[0]]


def _cell_names(tables: Sequence[str], profile: str, repetitions: int, results: Path) -> dict[str, dict[str, str]]:
    """{identity of a job: {metric: the cell that shows it}} of these tables; one job may fill several cells."""
    from harness.cli.inspection import plan_to_read
    from harness.plan.request import PlanRequest

    plan, _ = plan_to_read(
        PlanRequest(options.table_files(tables), profile=profile, repetitions=repetitions, results=results)
    )
    names: dict[str, dict[str, str]] = {}
    for cell in plan.cells:
        for job in cell.jobs:
            names.setdefault(job.identity, {}).setdefault(cell.metric.name, cell.name)
    return names
