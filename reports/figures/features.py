"""Figures of trained models' features, from the arrays that `python -m harness features` stores beside evaluations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.figures import class_tokens, style, umap
from reports.table_report import TableReport

if TYPE_CHECKING:
    from harness.store.features import Features

FigureParts = tuple[str, Any, str]
"""(file name, figure, text alternative)"""


def figures(report: TableReport) -> Iterator[FigureParts]:
    """Of every column that has arrays; columns that show the same evaluations (mIoU, accuracy) are drawn once."""
    keys_drawn: set[tuple[str, ...]] = set()
    for column in report.columns:
        cells = [report.cells[row, column] for row in report.rows if (row, column) in report.cells]
        keys = tuple(result.job.key for cell in cells for result in cell.results)
        rows = {cell.row: stored for cell in cells if (stored := _stored_features([r.folder for r in cell.results]))}
        if rows and keys not in keys_drawn:
            keys_drawn.add(keys)
            yield from draw_rows(report.table, column, rows)


def draw_rows(table: Any, column: str, rows: Mapping[str, Sequence[Features]]) -> Iterator[FigureParts]:
    """The figures of one column: class tokens, and UMAP where it is installed. `rows` are {row: features of each seed}."""
    first = next(iter(rows.values()))[0]
    rows = {
        row: row_features
        for row, row_features in rows.items()
        if row_features[0].classes.tolist() == first.classes.tolist()
    }
    titled = {_title(table, row, rows): row_features for row, row_features in rows.items()}
    where = table.columns[column].label or column
    place = re.sub(r"[^\w-]", "-", column)
    of_rows = {title: [f.tokens for f in seeds] for title, seeds in titled.items()}
    yield f"tokens.{place}.svg", *class_tokens.figure(of_rows, first.classes.tolist(), where)
    figure_parts = umap.figure(titled, where)
    if figure_parts is not None:
        yield f"umap.{place}.svg", *figure_parts


def _title(table: Any, row: str, rows: Mapping[str, Any]) -> str:
    """The row's name, and its key where two rows would be called the same."""
    names = [style.label(table.row(other).name, 34) for other in rows]
    name = table.row(row).name
    return f"{name} ({row})" if names.count(style.label(name, 34)) > 1 else name


def _stored_features(folders: Sequence[Any]) -> list[Features]:
    from harness.store.features import FILE, read

    feature_folders = [folder for folder in folders if (folder / FILE).is_file()]
    readable = [features for folder in feature_folders if (features := read(folder)) is not None]
    # another seed may have been sampled at other pixels
    return [features for features in readable if features.same_pixels(readable[0])]
