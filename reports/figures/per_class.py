"""Figures of per-class gains behind claims, and of mIoU against FLOPs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from harness.jobs.tasks import SEGMENTATION
from harness.stats.small_samples import mean
from reports import claims
from reports.cell_report import CellReport
from reports.figures import style
from reports.table_report import TableReport

_CLASSES = 24  # bars of a panel: all classes, or the largest differences of both signs
_PANELS = 6
_PREFIX = "iou/"


def class_differences(better: CellReport, than: CellReport) -> dict[str, float]:
    """{class: mean IoU difference in points over the seeds that both have}, largest first; classes both have measured."""
    ours, reference = _by_seed(better), _by_seed(than)
    pairs = [(ours[seed], reference[seed]) for seed in ours if seed in reference]
    names = set.intersection(*({*a} & {*b} for a, b in pairs)) if pairs else set()
    differences = {name: mean([a[name] - b[name] for a, b in pairs]) for name in names}
    return dict(sorted(differences.items(), key=lambda item: (-item[1], item[0])))


def _by_seed(cell: CellReport) -> dict[int, dict[str, float]]:
    return {
        seed: {
            m.name.removeprefix(_PREFIX): m.value
            for m in result.measurements
            if m.name.startswith(_PREFIX) and math.isfinite(m.value)
        }
        for seed, result in zip(cell.seeds, cell.results)
    }


def classes(report: TableReport) -> tuple[Any, str] | None:
    """(figure, text alternative): bars of per-class IoU differences, a panel per judged claim and mIoU column."""
    panels = list(_claimed_differences(report))[:_PANELS]
    if not panels:
        return None
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    selected_panels = [(title, all_differences, _extremes(all_differences)) for title, all_differences in panels]
    longest = max(len(differences) for _, _, differences in selected_panels)
    figure = style.canvas(4.0 * across, (1.0 + 0.2 * longest) * down)
    for i, (title, all_differences, differences) in enumerate(selected_panels):
        ax = figure.add_subplot(down, across, i + 1)
        colours = [style.MEASURED if value >= 0 else style.COLOURS[3] for value in differences.values()]
        ax.barh(range(len(differences)), list(differences.values()), color=colours, height=0.7, zorder=2)
        ax.axvline(0, color=style.INK, linewidth=0.8, zorder=3)
        ax.set_yticks(range(len(differences)), [style.label(name, 20) for name in differences])
        ax.set_ylim(longest - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False, axis="y")
        ax.set_title("\n".join(style.label(line, 32) for line in title), fontsize=8)
        part = (
            f"; {len(differences)} of {len(all_differences)} classes" if len(all_differences) > len(differences) else ""
        )
        ax.set_xlabel(f"IoU difference, points{part}", fontsize=8)
    names = "; ".join(" ".join(style.plain(line, 60) for line in title) for title, _ in panels)
    return figure, f"Difference of IoU per class, largest gain first: {names}"


def _claimed_differences(report: TableReport) -> Iterator[tuple[tuple[str, str], Mapping[str, float]]]:
    """((`better`, `− than, column`), differences of all classes) of the rows that claims compare."""
    for judgement in claims.judge_claims(report):
        for part in judgement.parts:
            is_judged = part.outcome not in (claims.UNMEASURED, claims.NOT_JUDGED)
            if not is_judged or report.table.column(part.column).metric.name != SEGMENTATION.headline:
                continue
            differences = class_differences(
                report.cells[part.better, part.column], report.cells[part.than, part.column]
            )
            if differences:
                better, than = (report.table.row(row).name for row in (part.better, part.than))
                column = style.plain(report.table.columns[part.column].label or part.column, 14)
                yield (better, f"− {style.plain(than, 28 - len(column))}, {column}"), differences


def _extremes(differences: Mapping[str, float]) -> dict[str, float]:
    if len(differences) <= _CLASSES:
        return dict(differences)
    items = list(differences.items())
    return dict([*items[: _CLASSES // 2], *items[-(_CLASSES // 2) :]])


def cost(report: TableReport) -> tuple[Any, str] | None:
    """(figure, text alternative): mIoU against FLOPs, a point per row; None below three rows with both."""
    column = {
        name: next((c for c in report.columns if report.table.column(c).metric.name == name), None)
        for name in (SEGMENTATION.headline, "flops")
    }
    if None in column.values() or not report.comparable:
        return None
    points = []
    for row in report.rows:
        score, flops = (report.cells.get((row, str(column[name]))) for name in (SEGMENTATION.headline, "flops"))
        if score is None or flops is None or not (score.measured and flops.measured):
            continue
        # the FLOPs of a reconstruction do not belong to the module that was scored
        if flops.provenance.get("evidence") != "fitted":
            points.append((row, flops.mean, score.mean, score.deviation))
    points = [p for p in points if math.isfinite(p[1]) and math.isfinite(p[2])]
    if len(points) < 3:
        return None
    figure = style.canvas(7.0, max(3.6, 0.3 + 0.22 * len(points)))
    ax = figure.add_subplot()
    for i, (row, x, y, spread) in enumerate(points):
        look = {"color": style.COLOURS[i % len(style.COLOURS)], "marker": "osD^vP"[i // len(style.COLOURS) % 6]}
        error = spread if math.isfinite(spread) else None
        label = style.label(report.table.row(row).name, 26)
        ax.errorbar(x, y, yerr=error, linestyle="", markersize=7, capsize=2, label=label, zorder=3, **look)
    ax.set_xlabel(f"FLOPs (G, {style.label(report.table.column(str(column['flops'])).convention)})")
    ax.set_ylabel("mIoU (%)")
    ax.margins(0.12)
    ax.set_ylim(style.keep_percent(*ax.get_ylim()))
    figure.legend(loc="outside right upper")
    return figure, "mIoU against FLOPs, a point per row with one standard deviation between seeds"
