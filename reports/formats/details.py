"""The collapsible part of a Markdown report: what every number rests on, enough to doubt it or to repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import ROOT
from harness.plan.durations import work
from harness.store.store import Result
from harness.table.schema import Table
from harness.text import line, markdown, number, plural, signed
from reports.status import CellStatus
from reports.table_report import CellReport, TableReport

_IDENTITY = ("commit", "dirty", "python", "packages", "device", "driver", "threads", "system")


def render(report: TableReport) -> Iterator[str]:
    """Sections as `<details>` blocks: cells, rows, runs, environments, recipes."""
    yield "## Details\n"
    environments = _environments(report)
    yield from _block("Every cell: what was measured, what is published and where, and why the verdict", _cells(report))
    yield from _block("Rows: what each one is", _rows(report))
    yield from _block("Runs: seeds, keys, dates, durations", _runs(report, environments))
    yield from _block("Environments", _environment_lines(environments))
    yield from _block("Data", _data(report))
    yield from _block("Recipes and what they change", _recipes(report))


def _block(summary: str, lines: Iterator[str]) -> Iterator[str]:
    content = list(lines)
    if content:
        yield f"<details><summary>{summary}</summary>\n"
        yield from content
        yield "\n</details>\n"


def place(table: Table) -> str:
    """The table file as a person names it: relative to the checkout, without the folders of this machine."""
    path = Path(table.path)
    try:
        return line(str(path.resolve().relative_to(ROOT)))
    except ValueError:
        return line(path.name)


def options(report: TableReport) -> str:
    """The options of the command that measures this report."""
    given = [] if report.profile.name == "paper" else ["--profile", report.profile.name]
    given += ["--seeds", str(len(report.repetitions))] if len(report.repetitions) > 1 else []
    if set(report.rows) != set(report.table.rows):
        given += [part for row in report.rows for part in ("--rows", row)]
    if set(report.columns) != set(report.table.columns):
        given += [part for column in report.columns for part in ("--columns", column)]
    return "".join(f" {shlex.quote(line(part))}" for part in given)


# ------------------------------------------------------------------------------------------------------- the cells


def _cells(report: TableReport) -> Iterator[str]:
    shared: dict[str, set[str]] = {}
    for shown in report:
        if shown.published is not None:
            shared[shown.column] = shared.get(shown.column, set(_facts(shown))) & set(_facts(shown))
    for column, facts in shared.items():
        first = next(s for s in report if s.column == column and s.published is not None)
        told = [fact for fact in _facts(first) if fact in facts]
        label = report.table.columns[column].label or column
        yield f"- published values of column {markdown(label)}: {markdown('; '.join(told))}"
    yield "\n| Cell | Measured | Published | Difference | Outcome | Why |\n|---|---|---|---|---|---|"
    for shown in report:
        reason = shown.verdict.reason if shown.measured else shown.reason
        reason += f"; {shown.reason}" if shown.status == CellStatus.PARTLY else ""
        own = [fact for fact in _facts(shown) if fact not in shared.get(shown.column, set())]
        yield (
            f"| {markdown(f'{shown.row} / {shown.column}')} | {_measured(shown)} | {_published(shown, own)} |"
            f" {'' if shown.difference is None else signed(shown.difference, shown.decimals + 2)} |"
            f" {shown.outcome} | {markdown(reason)} |"
        )


def _measured(shown: CellReport) -> str:
    """All digits of every repetition, with unit and convention."""
    values = [format(v, ".10g") for v in (shown.values or shown.old)]
    text = ", ".join(values[:12]) + (f", … ({len(values)} in all)" if len(values) > 12 else "")
    if not values:
        return "–"
    about = " ".join(part for part in (shown.metric.unit, f"({shown.convention})" if shown.convention else "") if part)
    return markdown(f"{text} {about}".strip()) + (" *stale*" if shown.old else "")


def _published(shown: CellReport, own: list[str]) -> str:
    """The published value with what sets it apart from the others of its column."""
    if shown.published is None:
        return "–"
    row = shown.another or shown.provenance.get("row")
    return markdown(f"{shown.published.printed} {shown.metric.unit} ({'; '.join([f'row {row}', *own])})")


def _facts(shown: CellReport) -> list[str]:
    """Where a published value stands and how it is to be read."""
    told = shown.provenance
    if shown.published is None or not told:
        return []
    where = [f"arXiv {told['arxiv']}"] if told.get("arxiv") else [str(told.get("paper", ""))]
    where += [f"Table {told['table']}"] if told.get("table") is not None else []
    decimals = told.get("decimals")
    facts = [", ".join([*where, f"column {told.get('column')}"])]
    facts.append(
        f"{decimals} {'decimal' if decimals == 1 else 'decimals'}, {_ROUNDINGS[told.get('rounding', 'round')]}"
    )
    facts += [] if shown.metric.exact else [f"statistic: {told.get('statistic')}"]
    facts += [f"{name}: {told[name]}" for name in ("split", "protocol", "convention") if told.get(name)]
    return facts + ([f"module {told['evidence']}"] if told.get("evidence") and not shown.another else [])


_ROUNDINGS = {"round": "rounded", "truncate": "truncated"}


def _rows(report: TableReport) -> Iterator[str]:
    for key in report.rows:
        row = report.table.rows[key]
        parts = [f"method {_reference(row.method)}"] if row.method is not None else []
        if row.module is not None:
            note = f": {row.module.note}" if row.module.note else ""
            parts.append(f"module {_reference(row.module)}, {row.module.evidence}{note}")
        parts += [f"quoted from {row.cited}"] if row.cited is not None else []
        parts += [f"awaits {row.awaits}"] if row.awaits is not None else []
        parts += [f"in {column}: {_options(cell.options)}" for column, cell in row.cells.items() if cell.options]
        parts += [f"compared with the published {row.compared_with}"] if row.compared_with is not None else []
        text = markdown("; ".join([*parts, *row.notes]))
        yield f"- **{markdown(report.table.row(key).name)}** ({markdown(key)}): {text}"


def _reference(ref: Any) -> str:
    return ref.name + (f" ({_options(ref.options)})" if ref.options else "")


def _options(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given.items())


# -------------------------------------------------------------------------------------------------------- the runs


def _runs(report: TableReport, environments: Mapping[str, tuple[int, Mapping[str, Any]]]) -> Iterator[str]:
    shown_by: dict[str, list[str]] = {}
    for shown in report:
        for result in (*shown.trainings, *shown.results):
            shown_by.setdefault(result.job.key, []).append(f"{shown.row} / {shown.column}")
    results = report.results()
    if not results:
        return
    total = sum(map(work, results.values()))
    yield f"{plural(len(results), 'job')}, {total:.0f} s in all. A key names configuration, code, data and weights together.\n"
    yield "| Job | For | Seed | Key | Started (UTC) | Seconds | Environment | Told |\n|---|---|---|---|---|---:|---|---|"
    for key, result in results.items():
        cells = list(dict.fromkeys(shown_by[key]))
        used = ", ".join(cells[:2]) + (f" and {len(cells) - 2} more" if len(cells) > 2 else "")
        started = datetime.fromtimestamp(result.started, UTC).strftime("%Y-%m-%d %H:%M")
        yield (
            f"| {result.job.kind} | {markdown(used)} | {result.job.config.get('seed', '')} | `{key[:16]}` |"
            f" {started} | {work(result):.1f} | E{environments[_identity(result)][0]} | {_environment_summary(result)} |"
        )


_TOLD = {
    "iterations": "{} iterations",
    "final_loss": "final loss {}",
    "train_throughput": "{} images/s",
    "data_wait": "{} % waiting for data",
    "images": "{} images",
    "aacc": "{} % pixel accuracy",
}


def _environment_summary(result: Result) -> str:
    found = ((text, result.value(name)) for name, text in _TOLD.items())
    return ", ".join(text.format(number(m.value)) for text, m in found if m is not None)


def _identity(result: Result) -> str:
    return json.dumps({k: result.environment.get(k) for k in _IDENTITY}, sort_keys=True, default=str)


def _environments(report: TableReport) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """{identity: (number, environment)} of everything that differs between the report's results."""
    found: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for result in report.results().values():
        found.setdefault(_identity(result), (len(found) + 1, result.environment))
    return found


def _environment_lines(environments: Mapping[str, tuple[int, Mapping[str, Any]]]) -> Iterator[str]:
    for i, told in environments.values():
        packages = ", ".join(f"{name} {version}" for name, version in (told.get("packages") or {}).items())
        commit = str(told.get("commit") or "unknown commit")
        state = " with uncommitted changes" if told.get("dirty") else ""
        parts = [
            f"commit {commit}{state}",
            f"{told.get('device', 'unknown device')}, {told.get('threads', '?')} threads",
            *([f"driver {told['driver']}"] if told.get("driver") else []),
            str(told.get("system", "")),
            f"Python {told.get('python', '?')}",
            packages,
        ]
        yield f"- **E{i}**: {markdown(' · '.join(part for part in parts if part))}"


def _data(report: TableReport) -> Iterator[str]:
    """The manifest of every dataset: a digest of all of its files."""
    found = {str(k): str(v) for r in report.results().values() for k, v in (r.job.parts.get("data") or {}).items()}
    about = ", embedded scenes that stand in for it" if report.profile.synthetic is not None else ""
    yield from (f"- **{markdown(name)}**: manifest `{line(digest)[:16]}`{about}" for name, digest in found.items())


# ----------------------------------------------------------------------------------------------------- the recipes


def _recipes(report: TableReport) -> Iterator[str]:
    for name, recipe in report.recipes.items():
        length = f"{recipe.epochs} epochs" if recipe.epochs is not None else f"{recipe.iterations} iterations"
        crop = "×".join(map(str, recipe.augmentation.crop))
        optimizer, schedule = recipe.optimizer, recipe.schedule
        text = (
            f"{recipe.dataset}, {length}, batch {recipe.batch_size}, crop {crop}, {optimizer.name} at {optimizer.lr:g}, weight"
            f" decay {optimizer.weight_decay:g}, {schedule.name}; tested on {recipe.test.split}, {recipe.test.mode}"
        )
        source = f"; source: {recipe.source}" if recipe.source else ""
        yield f"- **{markdown(name)}**: {markdown(text + source)}"
        yield from (f"  - {markdown(key)}: {markdown(why)}" for key, why in recipe.differs.items())
    changed = {
        "recipe": report.profile.recipe,
        "model": report.profile.model.explicit_fields(),
        "length of the training": report.profile.shorten,
        "synthetic data": report.profile.synthetic.model_dump() if report.profile.synthetic is not None else None,
        "side of given feature maps": report.profile.features_side,
    }
    for what, value in changed.items():
        if value:
            text = json.dumps(value, ensure_ascii=False)
            yield f"- profile {markdown(report.profile.name)} changes {what}: {markdown(text)}"
