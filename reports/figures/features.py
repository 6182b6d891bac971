"""Figures from the inside of trained models, of the arrays that `python -m harness features` left beside evaluations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.figures import class_tokens, style, umap
from reports.table_report import TableReport

if TYPE_CHECKING:
    from harness.store.features import Features

Drawn = tuple[str, Any, str]
"""(file name, figure, text alternative)"""


def figures(report: TableReport) -> Iterator[Drawn]:
    """Of every column that has arrays; columns that show the same evaluations (mIoU, accuracy) are drawn once."""
    seen: set[tuple[str, ...]] = set()
    for column in report.columns:
        cells = [report.cells[row, column] for row in report.rows if (row, column) in report.cells]
        keys = tuple(result.job.key for shown in cells for result in shown.results)
        rows = {shown.row: found for shown in cells if (found := _stored([r.folder for r in shown.results]))}
        if rows and keys not in seen:
            seen.add(keys)
            yield from drawn(report.table, column, rows)


def drawn(table: Any, column: str, rows: Mapping[str, Sequence[Features]]) -> Iterator[Drawn]:
    """The figures of one column: class tokens, and UMAP where it is there. `rows` are {row: features of each seed}."""
    first = next(iter(rows.values()))[0]
    rows = {row: found for row, found in rows.items() if found[0].classes.tolist() == first.classes.tolist()}
    named = {_title(table, row, rows): found for row, found in rows.items()}
    where = table.columns[column].label or column
    place = re.sub(r"[^\w-]", "-", column)
    of_rows = {title: [f.tokens for f in seeds] for title, seeds in named.items()}
    yield f"tokens.{place}.svg", *class_tokens.figure(of_rows, first.classes.tolist(), where)
    made = umap.figure(named, where)
    if made is not None:
        yield f"umap.{place}.svg", *made


def _title(table: Any, row: str, rows: Mapping[str, Any]) -> str:
    """The row's name, and its key where two rows would be called the same."""
    names = [style.label(table.row(other).name, 34) for other in rows]
    name = table.row(row).name
    return f"{name} ({row})" if names.count(style.label(name, 34)) > 1 else name


def _stored(folders: Sequence[Any]) -> list[Features]:
    from harness.store.features import FILE, read

    there = [folder for folder in folders if (folder / FILE).is_file()]
    found = [made for folder in there if (made := read(folder)) is not None]
    return [made for made in found if made.same_pixels(found[0])]  # one seed may have been asked about others
