"""`test`: checks a method, a context module, a backbone or a dataset against its contract, clause by clause."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError

_KINDS = ("method", "context", "backbone", "dataset")


class ImageCount(options.PositiveInt):
    """A whole number above 0, or `all` (None)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return 0 if value in ("all", 0) else super().convert(value, param, ctx)


@register(
    "test",
    "my_method.py:my_method",
    notes="NAME is a file's (my_method.py:NAME, my_backbone.py:NAME, my_data.yaml) or one that `list` prints.",
)
@click.argument("name", metavar="NAME")
@click.option("--kind", type=options.Choice(_KINDS), help="of a name that several things have")
@click.option(
    "--option", "settings", multiple=True, metavar="NAME=VALUE", help="of the method, as a table has it; repeats"
)
@click.option(
    "--images", type=ImageCount(), default=100, metavar="N", help="of a dataset's split that are read (100; all)"
)
@options.folders_and_device
def command(
    name: str, kind: str | None, settings: tuple[str, ...], images: int, data: Path | None, results: Path, device: str
) -> Exit:
    from harness.conformance.clause import findings
    from harness.conformance.subjects import kind_of, subject_of
    from harness.jobs.outside_names import located, without_folder
    from harness.store.store import Store

    started, name = time.monotonic(), located(name, None)
    kind = kind_of(name, kind)
    subject, clauses = subject_of(kind, name, _options(settings), data, Store(results).cache, images or None)
    print(f"{kind} {without_folder(name)}")
    held = broken = seen = 0
    missing = None
    for finding in findings(clauses, subject):
        print(finding.line(), flush=True)
        held, broken, seen = held + (finding.holds is True), broken + (finding.holds is False), seen + 1
        missing = missing or finding.missing
    if seen < len(clauses):
        print(f" – the other {len(clauses) - seen} need this one and were not looked at")
    seconds = time.monotonic() - started
    aside = len(clauses) - held - broken
    texts = [f"{held} of {len(clauses)} clauses hold", f"{broken} broken", *([f"{aside} not judged"] if aside else [])]
    print(f"{', '.join(texts)} ({seconds:.1f} s); the contract stands in docs/method-author.md")
    if missing is not None and not broken:
        raise missing
    if missing is not None:
        print(missing, file=sys.stderr)
    return Exit.FAILED if broken else Exit.OK


def _options(settings: Iterable[str]) -> dict[str, Any]:
    """`channels=64` and the like as a table has them; UserError for what is none."""
    from harness.yamlfile import parse

    values = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign or not name.isidentifier():
            raise UserError(f"--option {setting}: write NAME=VALUE, e.g. --option channels=64")
        values[name] = parse(text, f"--option {name}").data
    return values
