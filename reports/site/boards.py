"""Leaderboards: every mIoU on one dataset, whatever paper prints it, published and measured, and mIoU against FLOPs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data import catalogue
from harness.errors import UserError
from harness.jobs.tasks import SEGMENTATION
from harness.text import signed
from reports import verdict
from reports.audit.paper import Names
from reports.audit.systems import Quantity, quantity, systems
from reports.cell_report import CellReport
from reports.site.cost_chart import Cost, Point, chart
from reports.site.front import OURS, paper_of
from reports.site.names import cell_page, file_name, short, table_name, table_page
from reports.table_report import TableReport

_SCALES = {"one scale": "one", "several scales": "several"}


@dataclass
class Entry:
    """One system's mIoU under one protocol; `places` are the tables that print this very value: (name, page)."""

    quantity: Quantity
    system: str  # one name for what several tables call differently
    name: str
    backbone: str
    paper: str
    cited: bool
    page: str
    cell: CellReport
    measured: float | None
    cost: Cost | None
    places: dict[str, str] = field(default_factory=dict)

    @property
    def published(self) -> float | None:
        return self.cell.published.value if self.cell.published is not None and not self.cell.compared_row else None

    @property
    def best(self) -> float:
        """What it is ranked by: measured where that compares, else published."""
        value = self.measured if self.measured is not None else self.published
        return value if value is not None else -math.inf


def entries(report: TableReport, names: Names) -> Iterator[Entry]:
    """A table's scores with a published or a measured value."""
    for cell in report:
        if cell.metric.name != SEGMENTATION.headline:
            continue
        found = quantity(report.table, cell.row, cell.column)
        measured = cell.mean if cell.values and math.isfinite(cell.mean) else None
        prints_none = cell.published is None or cell.compared_row
        if found is None or (prints_none and measured is None):
            continue
        spec = report.table.rows[cell.row]
        system = next(systems(report.table, cell.row, cell.column, names), "")
        backbone = spec.descriptors.get("backbone") or cell.cell.backbone or ""
        yield Entry(
            quantity=found,
            system=system,
            name=short(spec.label or cell.row, 60),
            backbone=short(backbone, 30),
            paper=paper_of(report, cell),
            cited=spec.cited is not None,
            page=cell_page(report, cell),
            cell=cell,
            measured=measured if report.comparable else None,
            cost=_cost(report, cell.row),
            places={table_name(report): f"tables/{table_page(report)}"},
        )


def _cost(report: TableReport, row: str) -> Cost | None:
    """The FLOPs of a row's whole model, measured or printed; None where the table counts a part of it or nothing."""
    for column in report.columns:
        cell = report.cells.get((row, column))
        if cell is None or cell.metric.name != "flops" or cell.cell.module is not None:
            continue
        shape = cell.cell.shapes[0] if cell.cell.shapes else None
        if shape is None or shape[1] != 3 or cell.compared_row:  # a feature map; another model's number
            continue
        # the FLOPs of a reconstruction that was fitted to them are no more than the printed ones
        own = cell.measured and cell.verdict.word != verdict.FITTED and math.isfinite(cell.mean)
        value = cell.mean if own else cell.published.value if cell.published is not None else None
        if value is not None:
            return Cost(value, f"{cell.convention}, {shape[2]} × {shape[3]}", own)
    return None


def merged(found: Sequence[Entry]) -> list[Entry]:
    """One entry per value of a system: tables that repeat it are listed with the one that measures it, else the first."""
    by_value: dict[tuple[Any, ...], Entry] = {}
    ranked = sorted(found, key=lambda e: (e.measured is None, e.cited))
    for entry in ranked:
        alike = (entry.quantity, entry.system or entry.page, entry.published)
        known = by_value.setdefault(alike, entry)
        if known is not entry and (entry.measured is None or entry.measured == known.measured):
            known.places |= {name: page for name, page in entry.places.items() if name not in known.places}
            known.cost = known.cost or entry.cost
        elif known is not entry:
            by_value[(*alike, entry.page)] = entry
    return sorted(by_value.values(), key=lambda e: (-e.best, e.name))


def boards(found: Sequence[Entry], comparable: bool) -> list[dict[str, Any]]:
    """A page per dataset and split, those with most systems first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.quantity.dataset, entry.quantity.split), []).append(entry)
    made = [_board(dataset, split, merged(group), comparable) for (dataset, split), group in groups.items()]
    return sorted(made, key=lambda board: (-len(board["entries"]), board["title"]))


def _board(dataset: str, split: str, group: Sequence[Entry], comparable: bool) -> dict[str, Any]:
    title = f"{dataset_title(dataset)}, {split}"
    points = [
        Point(entry.name, entry.page, entry.best, entry.measured is not None, entry.cost)
        for entry in group
        # FLOPs are those of one scale
        if entry.cost is not None and math.isfinite(entry.best) and entry.quantity.scales == "one scale"
    ]
    return {
        "title": title,
        "page": f"boards/{file_name(dataset, split)}",
        "entries": [_row(entry, comparable) for entry in group],
        "scales": [name for scales, name in _SCALES.items() if any(e.quantity.scales == scales for e in group)],
        "papers": list(dict.fromkeys(entry.paper for entry in group)),
        "measured": sum(entry.cell.measured for entry in group),
        "best_published": _top(group, [e.published for e in group]),
        "best_measured": _top(group, [e.measured for e in group]),
        "chart": chart(points, title),
    }


def _top(group: Sequence[Entry], values: Sequence[float | None]) -> Mapping[str, str] | None:
    known = [(value, entry) for value, entry in zip(values, group) if value is not None]
    if not known:
        return None
    value, entry = max(known, key=lambda pair: pair[0])
    return {"name": entry.name, "page": entry.page, "value": f"{value:.2f}"}


def _row(entry: Entry, comparable: bool) -> dict[str, Any]:
    cell = entry.cell
    gap = cell.difference if comparable and entry.published is not None else None
    return {
        "name": entry.name,
        "backbone": entry.backbone,
        "page": entry.page,
        "paper": entry.paper if entry.paper != OURS else "ours",
        "cited": entry.cited,
        "places": list(entry.places.items()),
        "scales": _SCALES[entry.quantity.scales],
        "published": cell.published_text if entry.published is not None else "",
        "published_value": entry.published if entry.published is not None else "",
        "measured": cell.text,
        "measured_value": cell.mean if cell.text else "",
        "difference": signed(gap, cell.decimals) if gap is not None and math.isfinite(gap) else "",
        "gap": gap if gap is not None else "",
        "outcome": str(cell.outcome),
        "flops": f"{entry.cost.value:.4g}" if entry.cost is not None else "",
        "flops_of": entry.cost.of if entry.cost is not None else "",
        "flops_measured": entry.cost is not None and entry.cost.measured,
    }


def dataset_title(name: str) -> str:
    """A dataset's name as people write it; of a training on one and a test on another, both."""
    return " → ".join(map(_title, name.split(" → ")))


def _title(name: str) -> str:
    try:
        return short(catalogue.find(name).title, 60)
    except UserError:
        return short(name, 60)
