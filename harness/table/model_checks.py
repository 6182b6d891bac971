"""Checks of the models that a table describes: whether its rows have a backbone, which exists and has the output stride.

They hold for the table as it is written, whatever a profile builds in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import UserError, nearest
from harness.table.metrics import METRICS
from harness.yamlfile import Path_

if TYPE_CHECKING:
    from harness.table.schema import Row, Table


def backbone_problems(table: Table) -> Iterator[tuple[Path_, str]]:
    """(path, message) of every row whose model cannot be built for want of a backbone, or on the one that it names."""
    from methods import backbones, registry

    for key, row in table.rows.items():
        if row.method is None or row.cited is not None or row.awaits is not None:
            continue
        settings = row.model.explicit_fields()
        with suppress(UserError):  # an unknown method is said elsewhere
            if registry.find(row.method.name).own_backbone:
                for name in sorted({"backbone", "output_stride"} & settings.keys()):
                    yield (
                        ("rows", key, "model", name),
                        f"method '{row.method.name}' has a backbone of its own; leave '{name}' out",
                    )
                continue
        backbone = settings.get("backbone", table.defaults.backbone)
        stride = settings.get("output_stride", table.defaults.output_stride)
        at: dict[str, Path_] = {
            name: ("rows", key, "model", name) if name in settings else ("defaults", name)
            for name in ("backbone", "output_stride")
        }
        if backbone is None:
            for column in _columns_of_images(table, row)[:1]:
                yield ("rows", key), f"column '{column}' needs a backbone: {_advice()}"
            continue
        try:
            backbones.find(backbone)
        except UserError as error:
            yield at["backbone"], str(error)
            continue
        try:
            backbones.check_stride(backbone, stride)
        except UserError as error:
            own = at["output_stride"] if "output_stride" in settings else ("rows", key)
            yield (own if "backbone" in settings else at["output_stride"]), str(error)


def _advice() -> str:
    from methods import backbones

    return (
        f"say 'backbone' under 'defaults', or under the row's 'model'.{nearest('', backbones.names())} "
        "(python -m harness list backbones)"
    )


def _columns_of_images(table: Table, row: Row) -> list[str]:
    """The columns for which a row's model takes images: trained, tested, counted or timed."""
    columns = []
    for key, column in table.columns.items():
        metric = METRICS.get(column.metric or table.metric or table.defaults.metric or "")
        cell, shapes = row.cells.get(key), row.input or column.input or table.defaults.input
        if metric is None or (cell is not None and cell.awaits is not None):
            continue
        if metric.trains or shapes is None or (len(shapes) == 1 and shapes[0][1] == 3):
            columns.append(key)
    return columns
