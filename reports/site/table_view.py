"""A table's page, as plain data for its template: control characters are removed here, HTML is escaped there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.jobs.outside_names import without_folder
from harness.text import line, number, signed
from reports import claims, commands, row_headers
from reports.cell_report import CellReport
from reports.site.front import links
from reports.site.names import cell_page, short, table_name
from reports.site.outcomes import bar, counts, folded, runnable
from reports.table_report import TableReport, is_published


def table(
    report: TableReport,
    findings: Sequence[Mapping[str, Any]],
    figures: Sequence[Mapping[str, str]],
    downloads: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """A table's page. `downloads`: (what, file beside the page)."""
    spec, source = report.table, report.table.published.source
    heads = row_headers.heads(spec)
    places = [source.venue] if source.venue else []
    places += [f"Table {source.table}"] if source.table is not None else []
    places += [f"arXiv {source.arxiv}"] if source.arxiv and not links(source) else []
    of = "Published: " + " · ".join(places) if spec.published.values else "Ours: nothing is published to compare with"
    own = report.own_cells()
    cells = list(report)
    return {
        "name": table_name(report),
        "heading": short(spec.title),
        "source": line(of),
        "about": line(spec.about),
        "comparable": report.comparable,
        "profile_about": line(report.profile.about),
        "links": links(source) if is_published(spec) else [],
        "downloads": downloads,
        "measured": sum(cell.measured for cell in own),
        "total": len(own),
        "extra": len(cells) - len(own),
        "counts": runnable(counts(own)),
        "folded": folded(counts(own)),
        "bar": bar(runnable(counts(own))),
        "warnings": [line(warning) for warning in (*report.warnings, *_backbones(report))],
        "headline": report.headline,
        "sensitivity": report.sensitivity,
        "stub": [short(heading) for heading in heads.values()],
        "columns": [_column(report, column) for column in report.columns],
        "rows": list(_rows(report, list(heads))),
        "claims": list(_claims(report)),
        "figures": figures,
        "findings": findings,
        "notes": [line(note) for note in spec.notes],
        "command": commands.run_command(report),
    }


def _backbones(report: TableReport) -> list[str]:
    """Which backbones the profile builds in place of the table's, where it does: the row headers are the paper's."""
    found: dict[str, None] = {}
    for cell in report:
        for job in cell.jobs:
            used, own = (job.config.get("model") or {}).get("backbone"), cell.cell.backbone
            if used is not None and own is not None and used != own:
                found[f"{without_folder(used)} in place of {without_folder(own)}"] = None
    if not found:
        return []
    return [
        f"profile {report.profile.name} measures on backbone {', '.join(found)}; row headers print what the paper says"
    ]


def _column(report: TableReport, column: str) -> dict[str, str]:
    spec, metric = report.table.columns[column], report.table.column(column).metric
    label = short(spec.label or column, 60)
    unit = [metric.unit] if row_headers.with_unit(label, metric.unit) != label else []
    unit += [report.table.column(column).convention] if metric.name == "flops" else []
    return {"label": label, "unit": "; ".join(unit), "note": line(spec.note or metric.title)}


def _rows(report: TableReport, heads: Sequence[str]) -> Iterator[dict[str, Any]]:
    for entry in row_headers.lines(report.table, report.rows):
        cells = [report.cells.get((entry.row, column)) for column in report.columns]
        yield {
            "heading": short(entry.heading),
            "stub": [short(name) for name in row_headers.names(report.table, entry.row, heads)],
            "cells": [_cell(report, cell) if cell is not None else None for cell in cells],
        }


def _cell(report: TableReport, cell_report: CellReport) -> dict[str, Any]:
    spread = (
        f"± {number(cell_report.deviation, 2)} (n = {len(cell_report.values)})" if len(cell_report.values) > 1 else ""
    )
    ratio = cell_report.ratio
    value = (
        cell_report.mean
        if cell_report.values
        else cell_report.published.value
        if cell_report.published is not None
        else math.nan
    )
    return {
        "href": f"../{cell_page(report, cell_report)}",
        "outcome": cell_report.outcome,
        "why": short(cell_report.verdict.reason if cell_report.measured else cell_report.reason, 300),
        "measured": cell_report.text + (f" · {ratio.measured:.2f} ×" if ratio and ratio.measured is not None else ""),
        "published": cell_report.published.printed if cell_report.published is not None else "",
        "ratio": f"{ratio.published:.2f} ×" if ratio is not None and ratio.published is not None else "",
        "difference": _difference(report, cell_report),
        "spread": spread,
        "sort": repr(value) if math.isfinite(value) else "",
    }


def _difference(report: TableReport, cell_report: CellReport) -> str:
    """Measured minus published as the paper would print it; '' where that says nothing: other machines, equal digits."""
    gap = cell_report.difference
    if gap is None or not report.comparable or not cell_report.metric.portable or not math.isfinite(gap):
        return ""
    if cell_report.metric.exact and cell_report.text == cell_report.published_text:
        return ""
    return signed(gap, cell_report.decimals)


def _claims(report: TableReport) -> Iterator[dict[str, Any]]:
    labels = {key: short(report.table.row(key).name, 60) for key in report.table.rows}
    for judgement in claims.judge_claims(report):
        parts = []
        for part in judgement.parts:
            name = short(report.table.columns[part.column].label or part.column, 40)
            name += f" · {labels[part.better]}" if len(judgement.claim.steps) > 1 else ""
            decimals = report.table.column(part.column).metric.decimals
            texts = [part.outcome] + ([signed(part.difference, decimals)] if part.difference is not None else [])
            texts += [f"paper {signed(part.published, decimals)}"] if part.published is not None else []
            parts.append(f"{name}: {', '.join(texts)}" + (f" ({line(part.reason)})" if part.reason else ""))
        text = claims.claim_text(judgement.claim, labels.__getitem__)
        yield {"text": text, "outcome": judgement.outcome, "parts": parts}
