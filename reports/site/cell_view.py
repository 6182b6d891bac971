"""A cell's page, as plain data for its template: control characters are removed here, HTML is escaped there."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.jobs.key import changes
from harness.jobs.kinds import word
from harness.jobs.outside_names import without_folder
from harness.plan.durations import work
from harness.store.store import Result, Store
from harness.table.metrics import scale
from harness.text import line, signed
from reports import commands
from reports.cell_report import CellReport
from reports.site import confusion
from reports.site.curve_chart import TableCurves
from reports.site.names import short, table_name, table_page, when
from reports.site.number_line import number_line
from reports.table_report import TableReport


def cell(report: TableReport, cell_report: CellReport, store: Store, table_curves: TableCurves) -> dict[str, Any]:
    """A cell's page: measurements per run, the published value, its history, and the command that runs it again."""
    results = list({r.job.key: r for r in (*cell_report.trainings, *cell_report.results)}.values())
    environments = {_environment(r): None for r in results}
    numbers = {text: i + 1 for i, text in enumerate(environments)}
    matrix = next(
        (m for r in cell_report.results if (m := confusion.picture(r.folder / "confusion.npy")) is not None), None
    )
    classes, measures = _classes(cell_report.results)
    reason = (cell_report.verdict.reason if cell_report.measured else cell_report.reason) or ""
    notes = [note for note in cell_report.footnotes if not reason or (note not in reason and reason not in note)]
    return {
        "table_name": table_name(report),
        "table_page": table_page(report),
        "row": short(report.table.row(cell_report.row).name),
        "column": short(report.table.columns[cell_report.column].label or cell_report.column),
        "outcome": cell_report.outcome,
        "reason": line("; ".join(part for part in (reason, *notes) if part)),
        "measured": cell_report.text,
        "published": cell_report.published.printed if cell_report.published is not None else "",
        "difference": signed(cell_report.difference, cell_report.decimals)
        if cell_report.difference is not None and report.comparable
        else "",
        "unit": cell_report.metric.unit,
        "sensitivity": cell_report.verdict.sensitivity,
        "n": len(cell_report.values),
        "number_line": number_line(cell_report) if report.comparable else "",
        "provenance": [(k, line(str(v))) for k, v in cell_report.provenance.items() if v not in ("", None)],
        "about_row": list(_about(report, cell_report)),
        "runs": [_run(r, cell_report, numbers[_environment(r)]) for r in results],
        "environments": [f"E{i}: {text}" for text, i in numbers.items()],
        "charts": table_curves.charts(cell_report),
        "classes": classes,
        "class_measures": measures,
        "confusion": matrix[0] if matrix is not None else "",
        "confusion_words": matrix[1] if matrix is not None else "",
        "history": _history(cell_report, store),
        "command": _command(report, cell_report),
    }


def _about(report: TableReport, cell_report: CellReport) -> Iterator[tuple[str, str]]:
    table, spec = report.table, report.table.rows[cell_report.row]
    yield "key", line(cell_report.row)
    yield "label", line(spec.label or cell_report.row)
    for name, text in spec.descriptors.items():
        yield line(table.descriptors.get(name, name)), line(text)
    if spec.method is not None:
        options = ", ".join(f"{k} {v}" for k, v in cell_report.cell.options.items())
        yield "method", line(without_folder(spec.method.name) + (f" ({options})" if options else ""))
    if spec.module is not None:
        yield "module", line(f"{spec.module.name}, {spec.module.evidence}. {spec.module.note}".strip())
    facts = {
        "recipe": cell_report.cell.recipe,
        "quoted from": spec.quoted,
        "awaits": spec.awaits,
        "compared with": spec.compared_with,
    }
    yield from ((name, line(text)) for name, text in facts.items() if text)
    if cell_report.jobs:
        model = cell_report.jobs[0].config.get("model") or {}
        yield "built as", line(_settings(model))
    yield from (("note", line(note)) for note in spec.notes)


def _settings(values: Mapping[str, Any]) -> str:
    """`name pspnet, options (channels 128), backbone resnet50`: what is set, without what is empty."""
    shown = ((k, v) for k, v in values.items() if v not in (None, {}, ""))
    return ", ".join(f"{k} ({_settings(v)})" if isinstance(v, Mapping) else f"{k} {v}" for k, v in shown)


def _environment(result: Result) -> str:
    environment = result.environment
    packages = ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items())
    parts = [
        f"commit {environment.get('commit') or 'unknown'}{' with uncommitted changes' if environment.get('dirty') else ''}",
        f"{environment.get('device', 'unknown device')}, {environment.get('threads', '?')} threads",
        f"driver {environment['driver']}" if environment.get("driver") else "",
        str(environment.get("system", "")),
        f"Python {environment.get('python', '?')}",
        packages,
    ]
    return line(" · ".join(part for part in parts if part))


def _run(result: Result, cell_report: CellReport, environment: int) -> dict[str, Any]:
    measurement = result.value(cell_report.metric.name)
    value = (
        measurement.value / scale(cell_report.metric, measurement.convention or cell_report.convention)
        if measurement is not None
        else None
    )
    return {
        "kind": word(result.job.kind),
        "seed": result.job.config.get("seed", ""),
        "value": format(value, ".8g") if value is not None else "",
        "key": result.job.key[:16],
        "started": when(result.started),
        "seconds": f"{work(result):.1f}",
        "environment": f"E{environment}",
    }


def _classes(results: Sequence[Result]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Per-class values (means over seeds) and the names of the metrics: `iou/car` is IoU of car."""
    by_class: dict[str, dict[str, list[float]]] = {}
    metrics: dict[str, None] = {}
    for result in results:
        for m in result.measurements:
            metric, slash, name = m.name.partition("/")
            if slash and math.isfinite(m.value):
                metrics[metric] = None
                by_class.setdefault(name, {}).setdefault(metric, []).append(m.value)
    lines = []
    for name, by in by_class.items():
        means = [f"{sum(by[m]) / len(by[m]):.2f}" if m in by else "" for m in metrics]
        lines.append((short(name), means))
    return lines, [short(m, 30) for m in metrics]


def _history(cell_report: CellReport, store: Store) -> list[dict[str, Any]]:
    """Every result of the cell's jobs under any key, oldest first; a change beyond the margin is an alarm."""
    lines = []
    name, convention = cell_report.metric.name, cell_report.cell.convention
    for job in cell_report.jobs:
        versions = store.versions(job)
        before: Result | None = None
        for result in versions if len(versions) > 1 else ():
            measurement = result.value(name)
            value = measurement.value / scale(cell_report.metric, convention) if measurement is not None else math.nan
            old = before.value(name) if before is not None else None
            change = value - old.value / scale(cell_report.metric, convention) if old is not None else None
            margin = cell_report.verdict.margin or 0.5 * 10.0**-cell_report.decimals
            lines.append(
                {
                    "started": when(result.started),
                    "seed": job.config.get("seed", ""),
                    "value": format(value, ".8g"),
                    "moved": signed(change, cell_report.decimals + 1) if change is not None else "",
                    "alarm": change is not None and cell_report.metric.portable and abs(change) > margin,
                    "commit": str(result.environment.get("commit") or "unknown")[:10],
                    "key": result.job.key[:16],
                    "current": result.job.key == job.key,
                    "changed": line("; ".join(changes(before.job.parts, result.job.parts)[:4])) if before else "",
                }
            )
            before = result
    return lines


def _command(report: TableReport, cell_report: CellReport) -> str:
    commits = {str(r.environment.get("commit")) for r in cell_report.results if r.environment.get("commit")}
    profile_options = [] if report.profile.name == "paper" else ["--profile", report.profile.name]
    profile_options += ["--seeds", str(len(report.repetitions))] if len(report.repetitions) > 1 else []
    only = ["--rows", cell_report.row, "--columns", cell_report.column]
    options = " ".join(shlex.quote(line(part)) for part in (*profile_options, *only))
    checkout = [f"git checkout {commits.pop()}"] if len(commits) == 1 else []
    return "\n".join([*checkout, f"python -m harness run {commands.table_path(report.table)} {options}"])
