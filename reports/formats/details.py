"""The collapsible part of a Markdown report: what every number rests on, enough to doubt it or to repeat it.

The document itself is templates/details.md.jinja; here are the texts that stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.jobs.kinds import word
from harness.jobs.outside_names import without_folder
from harness.plan.durations import work
from harness.recipes.segmentation import Recipe
from harness.store.store import Result
from harness.text import line, markdown, number, plural, signed
from reports.cell_report import CellReport
from reports.table_report import TableReport

_IDENTITY = ("commit", "dirty", "python", "packages", "device", "driver", "processes", "threads", "system")
_ROUNDINGS = {"round": "rounded", "truncate": "truncated"}
_NUMBERS = {  # what a run's line shows of its measurements
    "iterations": "{} iterations",
    "final_loss": "final loss {}",
    "train_throughput": "{} images/s",
    "data_wait": "{} % waiting for data",
    "images": "{} images",
    "aacc": "{} % pixel accuracy",
}


def sections(report: TableReport) -> dict[str, Any]:
    """What the template shows: cells, rows, runs, environments, data, recipes."""
    environments = _environments(report)
    results = report.results()
    seconds = sum(map(work, results.values()))
    shared = _shared_facts(report)
    return {
        "shared_facts": list(_facts_of_columns(report, shared)),
        "cells": [_cell(cell, shared.get(cell.column, set())) for cell in report],
        "rows": [_row(report, key) for key in report.rows],
        "runs": list(_runs(report, list(environments))),
        "runs_summary": (
            f"{plural(len(results), 'job')}, {seconds:.0f} s in all. "
            "A key names configuration, code, data and weights together."
        ),
        "environments": [describe_environment(environment) for environment in environments.values()],
        "datasets": list(_datasets(report)),
        "recipes": [_recipe(name, recipe) for name, recipe in report.recipes.items()],
        "profile_changes": list(_profile_changes(report)),
    }


# ------------------------------------------------------------------------------------------------------- the cells


def _shared_facts(report: TableReport) -> dict[str, set[str]]:
    """{column: the facts that all of its published values have in common}."""
    shared: dict[str, set[str]] = {}
    for cell in report:
        if cell.published is not None:
            shared[cell.column] = shared.get(cell.column, set(_facts(cell))) & set(_facts(cell))
    return shared


def _facts_of_columns(report: TableReport, shared: Mapping[str, set[str]]) -> Iterator[dict[str, Any]]:
    for column, facts in shared.items():
        first = next(cell for cell in report if cell.column == column and cell.published is not None)
        label = report.table.columns[column].label or column
        yield {"label": label, "facts": [fact for fact in _facts(first) if fact in facts]}


def _cell(cell: CellReport, shared: set[str]) -> dict[str, str]:
    reason = cell.verdict.reason if cell.measured else cell.reason
    reason += f"; {cell.reason}" if cell.measured and cell.reason else ""
    return {
        "name": f"{cell.row} / {cell.column}",
        "measured": _measured_values(cell),
        "published": _published(cell, [fact for fact in _facts(cell) if fact not in shared]),
        "difference": "" if cell.difference is None else signed(cell.difference, cell.decimals + 2),
        "outcome": cell.outcome,
        "reason": reason,
    }


def _measured_values(cell: CellReport) -> str:
    """All digits of every repetition, with unit and convention."""
    values = [format(value, ".10g") for value in (cell.values or cell.old)]
    text = ", ".join(values[:12]) + (f", … ({len(values)} in all)" if len(values) > 12 else "")
    if not values:
        return "–"
    about = " ".join(part for part in (cell.metric.unit, f"({cell.convention})" if cell.convention else "") if part)
    return markdown(f"{text} {about}".strip()) + (" *stale*" if cell.old else "")


def _published(cell: CellReport, own_facts: Sequence[str]) -> str:
    """The published value with what sets it apart from the others of its column."""
    if cell.published is None:
        return "–"
    row = cell.compared_row or cell.provenance.get("row")
    return markdown(f"{cell.published.printed} {cell.metric.unit} ({'; '.join([f'row {row}', *own_facts])})")


def _facts(cell: CellReport) -> list[str]:
    """Where a published value stands and how it is to be read."""
    source = cell.provenance
    if cell.published is None or not source:
        return []
    where = [f"arXiv {source['arxiv']}"] if source.get("arxiv") else [str(source.get("paper", ""))]
    where += [f"Table {source['table']}"] if source.get("table") is not None else []
    decimals = source.get("decimals")
    facts = [", ".join([*where, f"column {source.get('column')}"])]
    facts.append(
        f"{decimals} {'decimal' if decimals == 1 else 'decimals'}, {_ROUNDINGS[source.get('rounding', 'round')]}"
    )
    facts += [] if cell.metric.exact else [f"statistic: {source.get('statistic')}"]
    facts += [f"{name}: {source[name]}" for name in ("split", "protocol", "convention") if source.get(name)]
    return facts + ([f"module {source['evidence']}"] if source.get("evidence") and not cell.compared_row else [])


def _row(report: TableReport, key: str) -> dict[str, str]:
    row = report.table.rows[key]
    parts = [f"method {_reference(row.method)}"] if row.method is not None else []
    if row.module is not None:
        note = f": {row.module.note}" if row.module.note else ""
        parts.append(f"module {_reference(row.module)}, {row.module.evidence}{note}")
    parts += _initialisation(report, key)
    parts += [f"quoted from {row.quoted}"] if row.quoted is not None else []
    parts += [f"awaits {row.awaits}"] if row.awaits is not None else []
    parts += [f"in {column}: {_options(cell.options)}" for column, cell in row.cells.items() if cell.options]
    parts += [f"compared with the published {row.compared_with}"] if row.compared_with is not None else []
    return {"name": report.table.row(key).name, "key": key, "text": "; ".join([*parts, *row.notes])}


def _initialisation(report: TableReport, row: str) -> list[str]:
    """What the backbone of a row's trainings starts from: a phrase for each kind there is, mostly one."""
    found: dict[str, None] = {}
    for column in report.columns:
        cell = report.cells.get((row, column))
        for job in cell.jobs if cell is not None else ():
            if job.kind not in ("train", "evaluate") or job.config.get("checkpoint") is not None:
                continue
            assert cell is not None
            model, own = job.config["model"], cell.cell.backbone
            backbone = f"backbone {without_folder(str(model.get('backbone')))}"
            if own not in (None, model.get("backbone")):
                backbone += f" in place of {without_folder(own)} (profile {report.profile.name})"
            trainings = [training.job.parts.get("weights", {}) for training in cell.trainings] or [{}]
            for weights in trainings:
                found[f"{backbone} from {_weights(model.get('pretrained'), weights)}"] = None
    return list(found)


def _weights(source: bool | str, weights: Mapping[str, str]) -> str:
    """Which weights a training started from: as the configuration says, and as its key does where it has run."""
    if not source:
        return "random weights"
    name = "pretrained weights" if source is True else f"the file {Path(str(source)).name}"
    name = f"timm's {weights['timm']}" if "timm" in weights else name
    digest = weights.get("sha256") or weights.get("file")
    return f"{name} (SHA-256 {digest[:12]}…)" if digest else name


def _reference(ref: Any) -> str:
    return without_folder(ref.name) + (f" ({_options(ref.options)})" if ref.options else "")


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


# -------------------------------------------------------------------------------------------------------- the runs


def _runs(report: TableReport, environments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every job once, with the cells that show it. `environments`: identities, in the order of their numbers."""
    shown_by: dict[str, list[str]] = {}
    for cell in report:
        for result in (*cell.trainings, *cell.results):
            shown_by.setdefault(result.job.key, []).append(f"{cell.row} / {cell.column}")
    for key, result in report.results().items():
        cells = list(dict.fromkeys(shown_by[key]))
        yield {
            "kind": word(result.job.kind),
            "cells": ", ".join(cells[:2]) + (f" and {len(cells) - 2} more" if len(cells) > 2 else ""),
            "seed": result.job.config.get("seed", ""),
            "key": key[:16],
            "started": datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%d %H:%M"),
            "seconds": f"{work(result):.1f}",
            "environment": f"E{environments.index(_identity(result)) + 1}",
            "numbers": _numbers(result),
        }


def _numbers(result: Result) -> str:
    values = ((text, result.value(name)) for name, text in _NUMBERS.items())
    return ", ".join(text.format(number(m.value)) for text, m in values if m is not None)


def _identity(result: Result) -> str:
    return json.dumps({k: result.environment.get(k) for k in _IDENTITY}, sort_keys=True, default=str)


def _environments(report: TableReport) -> dict[str, Mapping[str, Any]]:
    """{identity: environment} of everything that differs between where the report's results were measured."""
    environments: dict[str, Mapping[str, Any]] = {}
    for result in report.results().values():
        environments.setdefault(_identity(result), result.environment)
    return environments


def describe_environment(environment: Mapping[str, Any]) -> str:
    """An environment in a line."""
    packages = ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items())
    changes = " with uncommitted changes" if environment.get("dirty") else ""
    parts = [
        f"commit {environment.get('commit') or 'unknown commit'}{changes}",
        f"{environment.get('device', 'unknown device')}, {environment.get('threads', '?')} threads"
        + (f" on each of {environment['processes']} processes" if environment.get("processes", 1) > 1 else ""),
        *([f"driver {environment['driver']}"] if environment.get("driver") else []),
        str(environment.get("system", "")),
        f"Python {environment.get('python', '?')}",
        packages,
    ]
    return " · ".join(part for part in parts if part)


def _datasets(report: TableReport) -> Iterator[dict[str, str]]:
    """The manifest of every dataset: a digest of all of its files."""
    digests = {k: v for r in report.results().values() for k, v in r.job.data_digests.items()}
    return ({"name": name, "digest": line(digest)[:16]} for name, digest in digests.items())


# ----------------------------------------------------------------------------------------------------- the recipes


def _recipe(name: str, recipe: Recipe) -> dict[str, Any]:
    length = f"{recipe.epochs} epochs" if recipe.epochs is not None else f"{recipe.iterations} iterations"
    crop = "×".join(map(str, recipe.augmentation.crop))
    optimizer, schedule = recipe.optimizer, recipe.schedule
    text = (
        f"{without_folder(recipe.dataset)}, {length}, batch {recipe.batch_size}, crop {crop}, {optimizer.name}"
        f" at {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}, {schedule.name};"
        f" tested on {recipe.test.split}, {recipe.test.mode}"
    )
    source = f"; source: {recipe.source}" if recipe.source else ""
    return {"name": name, "text": text + source, "differs": recipe.differs}


def _profile_changes(report: TableReport) -> Iterator[dict[str, str]]:
    profile = report.profile
    changes = {
        "recipe": profile.recipe,
        "model": profile.model.explicit_fields(),
        "options of methods": profile.options,
        "length of the training": profile.shorten,
        "synthetic data": profile.synthetic.model_dump() if profile.synthetic is not None else None,
        "side of given feature maps": profile.features_side,
    }
    for what, value in changes.items():
        if value:
            yield {"what": what, "value": json.dumps(value, ensure_ascii=False)}
