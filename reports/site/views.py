"""What the pages show, as plain data for the templates: text is made safe here as far as lines go, and escaped there."""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.jobs.key import changes
from harness.plan.durations import work
from harness.store.store import Result, Store
from harness.table.metrics import scale
from harness.text import line, number, shorten, signed
from reports import claims, commands, row_headers, verdict
from reports.audit.corpus import Finding
from reports.figures import curves
from reports.meanings import MEANINGS
from reports.site import drawings
from reports.status import CellStatus
from reports.table_report import CellReport, TableReport

LABEL = 120
OUTCOMES = tuple(MEANINGS)

_TONES = {
    "good": (verdict.REPRODUCED, claims.HOLDS),
    "weak": (
        verdict.INFERRED,
        verdict.FITTED,
        verdict.INCONCLUSIVE,
        claims.UNDECIDED,
        CellStatus.STALE,
        CellStatus.PARTLY,
    ),
    "bad": (verdict.NOT_REPRODUCED, verdict.INVALID, CellStatus.FAILED, CellStatus.UNREADABLE, claims.FAILS),
}


def tone(outcome: str) -> str:
    """`good`, `weak`, `bad` or `none`: how an outcome is coloured; its word always stands beside the colour."""
    return next((name for name, words in _TONES.items() if outcome in words), "none")


_BRIEF = {verdict.INFERRED: "inferred", verdict.UNPUBLISHED: "unpublished"}


def brief(outcome: str) -> str:
    """An outcome as the head of a narrow column."""
    return _BRIEF.get(outcome, outcome)


def short(text: str, length: int = LABEL) -> str:
    return shorten(line(text), length)


def file_name(*keys: str) -> str:
    """A file's name for keys that may hold anything: readable where they are plain, never the same for two."""
    plain = "--".join(re.sub(r"[^A-Za-z0-9_.-]", "-", key)[:60].strip(".") or "-" for key in keys)
    if plain != "--".join(keys) or "--" in "".join(keys):
        plain += "-" + hashlib.sha256("\0".join(keys).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}.html"


def cell_page(report: TableReport, shown: CellReport) -> str:
    return f"cells/{file_name(report.table.id, shown.row, shown.column)}"


def table_page(report: TableReport) -> str:
    return file_name(report.table.id)


def when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return "unknown"


def table_name(report: TableReport) -> str:
    table = report.table
    return short(table.name)


# ------------------------------------------------------------------------------------------------------- the lists


def summary(report: TableReport, findings: int) -> dict[str, Any]:
    """A table's line of the status matrix."""
    counts = report.counts()
    total = sum(counts.values()) or 1
    by_tone = {name: sum(n for o, n in counts.items() if tone(o) == name) for name in ("good", "weak", "bad", "none")}
    parts, x = [], 0.0
    for name, count in by_tone.items():
        if count:
            words = ", ".join(f"{n} {o}" for o, n in counts.items() if tone(o) == name)
            parts.append({"tone": name, "x": f"{x:.2f}", "width": f"{100 * count / total:.2f}", "words": words})
            x += 100 * count / total
    number_ = str(report.table.table) if report.table.table is not None else ""
    return {
        "id": report.table.id,
        "paper": short(report.table.published.source.name or report.table.paper, 40),
        "number": number_,
        "name": f"Table {number_}" if number_ else short(report.table.id, 24),
        "title": short(report.table.title),
        "page": table_page(report),
        "counts": counts,
        "parts": parts,
        "measured": sum(s.measured for s in report),
        "share": f"{sum(s.measured for s in report) / total:.4f}",
        "words": ", ".join(f"{n} {o}" for o, n in counts.items()),
        "findings": findings,
    }


def listed(report: TableReport, shown: CellReport) -> dict[str, Any]:
    """A cell's line of the list of all cells."""
    value = shown.mean if shown.values else math.nan
    gap = shown.difference
    return {
        "table": report.table.id,
        "row": short(report.table.row(shown.row).name, 60),
        "column": short(report.table.columns[shown.column].label or shown.column, 40),
        "href": cell_page(report, shown),
        "value": repr(value) if math.isfinite(value) else "",
        "measured": shown.text,
        "paper": shown.published.text if shown.published is not None else "",
        "published": shown.published.printed if shown.published is not None else "",
        "gap": repr(gap) if gap is not None and math.isfinite(gap) else "",
        "difference": signed(gap, shown.decimals) if gap is not None and report.comparable else "",
        "outcome": shown.outcome,
        "n": len(shown.values) or "",
    }


# ------------------------------------------------------------------------------------------------------- one table


def table(report: TableReport, findings: Sequence[Finding], figures: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """A table's page."""
    spec, source = report.table, report.table.published.source
    heads = row_headers.heads(spec)
    places = [f"arXiv {source.arxiv}"] if source.arxiv else []
    places += [source.venue] if source.venue else []
    places += [f"Table {source.table}"] if source.table is not None else []
    of = "Published: " + " · ".join(places) if spec.published.values else "Ours: nothing is published to compare with"
    cells = list(report)
    return {
        "name": table_name(report),
        "heading": short(spec.title),
        "source": line(of),
        "about": line(spec.about),
        "comparable": report.comparable,
        "profile_about": line(report.profile.about),
        "measured": sum(s.measured for s in cells),
        "total": len(cells),
        "counts": report.counts(),
        "stub": [short(heading) for heading in heads.values()],
        "columns": [_column(report, column) for column in report.columns],
        "rows": list(_rows(report, list(heads))),
        "claims": list(_claims(report)),
        "figures": figures,
        "findings": findings,
        "notes": [line(note) for note in spec.notes],
        "command": commands.run_command(report),
    }


def _column(report: TableReport, column: str) -> dict[str, str]:
    spec, metric = report.table.columns[column], report.table.column(column).metric
    unit = [metric.unit] if metric.unit else []
    unit += [report.table.column(column).convention] if metric.name == "flops" else []
    return {"label": short(spec.label or column, 60), "unit": "; ".join(unit), "note": line(spec.note or metric.title)}


def _rows(report: TableReport, heads: Sequence[str]) -> Iterator[dict[str, Any]]:
    for entry in row_headers.lines(report.table, report.rows):
        cells = [report.cells.get((entry.row, column)) for column in report.columns]
        yield {
            "heading": short(entry.heading),
            "stub": [short(name) for name in row_headers.names(report.table, entry.row, heads)],
            "cells": [_cell(report, cell) if cell is not None else None for cell in cells],
        }


def _cell(report: TableReport, shown: CellReport) -> dict[str, Any]:
    spread = f"± {number(shown.deviation, 2)} (n = {len(shown.values)})" if len(shown.values) > 1 else ""
    ratio = shown.ratio
    value = shown.mean if shown.values else shown.published.value if shown.published is not None else math.nan
    return {
        "href": f"../{cell_page(report, shown)}",
        "outcome": shown.outcome,
        "why": short(shown.verdict.reason if shown.measured else shown.reason, 300),
        "measured": shown.text + (f" · {ratio.measured:.2f} ×" if ratio and ratio.measured is not None else ""),
        "published": shown.published.printed if shown.published is not None else "",
        "ratio": f"{ratio.published:.2f} ×" if ratio is not None and ratio.published is not None else "",
        "spread": spread,
        "sort": repr(value) if math.isfinite(value) else "",
    }


def _claims(report: TableReport) -> Iterator[dict[str, Any]]:
    labels = {key: short(report.table.row(key).name, 60) for key in report.table.rows}
    for judgement in claims.judge_claims(report):
        parts = []
        for part in judgement.parts:
            name = short(report.table.columns[part.column].label or part.column, 40)
            name += f" · {labels[part.better]}" if len(judgement.claim.steps) > 1 else ""
            decimals = report.table.column(part.column).metric.decimals
            said = [part.outcome] + ([signed(part.difference, decimals)] if part.difference is not None else [])
            said += [f"paper {signed(part.published, decimals)}"] if part.published is not None else []
            parts.append(f"{name}: {', '.join(said)}" + (f" ({line(part.reason)})" if part.reason else ""))
        text = claims.claim_text(judgement.claim, labels.__getitem__)
        yield {"text": text, "outcome": judgement.outcome, "parts": parts}


# -------------------------------------------------------------------------------------------------------- one cell


def cell(report: TableReport, shown: CellReport, store: Store) -> dict[str, Any]:
    """A cell's page: what was measured by which runs, against what, how it moved, and how to run it again."""
    results = list({r.job.key: r for r in (*shown.trainings, *shown.results)}.values())
    environments = {_environment(r): None for r in results}
    numbers = {text: i + 1 for i, text in enumerate(environments)}
    band = curves.band([r.folder for r in shown.trainings]) if shown.trainings else None
    scored = curves.band([r.folder for r in shown.trainings], "miou") if shown.trainings else None
    made = next((m for r in shown.results if (m := drawings.confusion(r.folder / "confusion.npy")) is not None), None)
    seeds = f", mean and range of {band.seeds} seeds" if band is not None and band.seeds > 1 else ""
    classes, measures = _classes(shown.results)
    reason = (shown.verdict.reason if shown.measured else shown.reason) or ""
    return {
        "table_name": table_name(report),
        "table_page": table_page(report),
        "row": short(report.table.row(shown.row).name),
        "column": short(report.table.columns[shown.column].label or shown.column),
        "outcome": shown.outcome,
        "reason": line("; ".join(part for part in (reason, *(f for f in shown.footnotes if f not in reason)) if part)),
        "measured": shown.text,
        "published": shown.published.printed if shown.published is not None else "",
        "difference": signed(shown.difference, shown.decimals)
        if shown.difference is not None and report.comparable
        else "",
        "unit": shown.metric.unit,
        "n": len(shown.values),
        "strip": drawings.strip(shown) if report.comparable else "",
        "provenance": [(k, line(str(v))) for k, v in shown.provenance.items() if v != ""],
        "about_row": list(_about(report, shown)),
        "runs": [_run(r, shown, numbers[_environment(r)]) for r in results],
        "environments": [f"E{i}: {text}" for text, i in numbers.items()],
        "curve": drawings.curve(band) if band is not None and len(band.iterations) > 1 else "",
        "curve_words": f"Training loss over iterations{seeds}",
        "scores": drawings.curve(scored, "mIoU while training")
        if scored is not None and len(scored.iterations) > 1
        else "",
        "scores_words": f"mIoU on the test split, in %, over iterations, measured while training{seeds}",
        "classes": classes,
        "class_measures": measures,
        "confusion": made[0] if made is not None else "",
        "confusion_words": made[1] if made is not None else "",
        "history": _history(shown, store),
        "command": _command(report, shown),
    }


def _about(report: TableReport, shown: CellReport) -> Iterator[tuple[str, str]]:
    table, spec = report.table, report.table.rows[shown.row]
    yield "key", line(shown.row)
    yield "label", line(spec.label or shown.row)
    for name, text in spec.descriptors.items():
        yield line(table.descriptors.get(name, name)), line(text)
    if spec.method is not None:
        given = ", ".join(f"{k} {v}" for k, v in shown.cell.options.items())
        yield "method", line(spec.method.name + (f" ({given})" if given else ""))
    if spec.module is not None:
        yield "module", line(f"{spec.module.name}, {spec.module.evidence}. {spec.module.note}".strip())
    told = {
        "recipe": shown.cell.recipe,
        "quoted from": spec.cited,
        "awaits": spec.awaits,
        "compared with": spec.compared_with,
    }
    yield from ((name, line(text)) for name, text in told.items() if text)
    if shown.jobs:
        built = shown.jobs[0].config.get("model") or {}
        yield "built as", line(", ".join(f"{k} {v}" for k, v in built.items() if v not in (None, {}, "")))
    yield from (("note", line(note)) for note in spec.notes)


def _environment(result: Result) -> str:
    told = result.environment
    packages = ", ".join(f"{name} {version}" for name, version in (told.get("packages") or {}).items())
    parts = [
        f"commit {told.get('commit') or 'unknown'}{' with uncommitted changes' if told.get('dirty') else ''}",
        f"{told.get('device', 'unknown device')}, {told.get('threads', '?')} threads",
        f"driver {told['driver']}" if told.get("driver") else "",
        str(told.get("system", "")),
        f"Python {told.get('python', '?')}",
        packages,
    ]
    return line(" · ".join(part for part in parts if part))


def _run(result: Result, shown: CellReport, environment: int) -> dict[str, Any]:
    found = result.value(shown.metric.name)
    value = found.value / scale(shown.metric, found.convention or shown.convention) if found is not None else None
    return {
        "kind": result.job.kind,
        "seed": result.job.config.get("seed", ""),
        "value": format(value, ".8g") if value is not None else "",
        "key": result.job.key[:16],
        "started": when(result.started),
        "seconds": f"{work(result):.1f}",
        "environment": f"E{environment}",
    }


def _classes(results: Sequence[Result]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Per-class values (means over seeds) and the names of the metrics: `iou/car` is IoU of car."""
    found: dict[str, dict[str, list[float]]] = {}
    metrics: dict[str, None] = {}
    for result in results:
        for m in result.measurements:
            metric, slash, name = m.name.partition("/")
            if slash and math.isfinite(m.value):
                metrics[metric] = None
                found.setdefault(name, {}).setdefault(metric, []).append(m.value)
    lines = []
    for name, by in found.items():
        means = [f"{sum(by[m]) / len(by[m]):.2f}" if m in by else "" for m in metrics]
        lines.append((short(name), means))
    return lines, [short(m, 30) for m in metrics]


def _history(shown: CellReport, store: Store) -> list[dict[str, Any]]:
    """Every result of the cell's jobs under whatever key, oldest first; a move beyond the margin is an alarm."""
    lines = []
    name, convention = shown.metric.name, shown.cell.convention
    for job in shown.jobs:
        versions = store.versions(job)
        before: Result | None = None
        for result in versions if len(versions) > 1 else ():
            found = result.value(name)
            value = found.value / scale(shown.metric, convention) if found is not None else math.nan
            old = before.value(name) if before is not None else None
            moved = value - old.value / scale(shown.metric, convention) if old is not None else None
            margin = shown.verdict.margin or 0.5 * 10.0**-shown.decimals
            lines.append(
                {
                    "started": when(result.started),
                    "seed": job.config.get("seed", ""),
                    "value": format(value, ".8g"),
                    "moved": signed(moved, shown.decimals + 1) if moved is not None else "",
                    "alarm": moved is not None and shown.metric.portable and abs(moved) > margin,
                    "commit": str(result.environment.get("commit") or "unknown")[:10],
                    "key": result.job.key[:16],
                    "current": result.job.key == job.key,
                    "changed": line("; ".join(changes(before.job.parts, result.job.parts)[:4])) if before else "",
                }
            )
            before = result
    return lines


def _command(report: TableReport, shown: CellReport) -> str:
    commits = {str(r.environment.get("commit")) for r in shown.results if r.environment.get("commit")}
    given = [] if report.profile.name == "paper" else ["--profile", report.profile.name]
    given += ["--seeds", str(len(report.repetitions))] if len(report.repetitions) > 1 else []
    only = ["--rows", shown.row, "--columns", shown.column]
    options = " ".join(shlex.quote(line(part)) for part in (*given, *only))
    checkout = [f"git checkout {commits.pop()}"] if len(commits) == 1 else []
    return "\n".join([*checkout, f"python -m harness run {commands.table_path(report.table)} {options}"])
