"""The join: a table, its plan and the stored results, cell by cell; everything a report of any format says is in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.key import changes
from harness.plan.planner import Cell, Plan
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.stats.small_samples import deviation, mean
from harness.store.store import Failure, Result, Store
from harness.table.metrics import Metric, equivalence_margin, scale
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Table, Value
from harness.text import printed
from reports import verdict as judge
from reports.verdict import Verdict

MEASURED = ("measured", "partly")
"""States of a cell that has a current value: every repetition, or only some."""

QUIET = 10.0  # percent of the CPUs that others may take while a forward pass is timed


@dataclass(frozen=True)
class Ratio:
    """A value as a multiple of the reference row's, here and in the paper (None where either is not known)."""

    to: str  # the reference row's key
    measured: float | None
    published: float | None


@dataclass(frozen=True)
class CellReport:
    """One cell as a report shows it.

    `state`: measured, partly (some repetitions), stale (only of other code or data: `old`), failed, blocked, absent (the
    job does not measure it here), unreadable (a result of another version), not run, on request, cited or awaits; with
    `reason` for all but the first.
    `values` are in the printed unit, one per repetition, with the seeds they came from; counts and times have one.
    """

    row: str
    column: str
    metric: Metric
    state: str
    reason: str = ""
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    quartiles: tuple[float, float] | None = None
    old: tuple[float, ...] = ()
    published: Value | None = None
    another: str = ""  # the row whose published value this other module is compared with
    convention: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    rounding: str = "round"
    ratio: Ratio | None = None
    verdict: Verdict = judge.NONE
    footnotes: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()
    results: tuple[Result, ...] = ()
    trainings: tuple[Result, ...] = ()

    @property
    def measured(self) -> bool:
        return self.state in MEASURED

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation between repetitions; NaN below two."""
        return deviation(self.values)

    @property
    def difference(self) -> float | None:
        """Measured minus published, in the printed unit."""
        return self.mean - self.published.value if self.values and self.published is not None else None

    @property
    def decimals(self) -> int:
        """As many as the paper prints, else as the metric usually has."""
        return self.published.decimals if self.published is not None else self.metric.decimals

    @property
    def text(self) -> str:
        """The measured value as the paper would print it; '' where there is none."""
        return printed(self.mean, self.decimals, self.rounding) if self.values else ""

    @property
    def outcome(self) -> str:
        """One word for the cell: its verdict where it was measured, else its state."""
        return self.verdict.word if self.measured else self.state


@dataclass(frozen=True)
class TableReport:
    """A table with what was measured of it, under one profile. `rows` and `columns` are those selected, in table order."""

    table: Table
    profile: Profile
    repetitions: tuple[int, ...]
    cells: Mapping[tuple[str, str], CellReport]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    recipes: Mapping[str, Recipe]
    others: int = 0  # finished jobs in the store that no cell of the plan is about

    @property
    def comparable(self) -> bool:
        return self.profile.comparable

    def __iter__(self) -> Iterator[CellReport]:
        """Cells row by row, in the order they are printed."""
        for row in self.rows:
            for column in self.columns:
                if (row, column) in self.cells:
                    yield self.cells[row, column]

    def counts(self) -> dict[str, int]:
        """How many cells have which outcome, most frequent first."""
        return dict(Counter(shown.outcome for shown in self).most_common())

    def results(self) -> dict[str, Result]:
        """Every result that the report rests on, trainings included, by job key."""
        found: dict[str, Result] = {}
        for shown in self:
            found |= {r.job.key: r for r in (*shown.trainings, *shown.results)}
        return found


def table_reports(plan: Plan, store: Store) -> Iterator[TableReport]:
    """The report of every table of a plan, one after the other."""
    others = sum(1 for _ in store.results_outside(plan.jobs.values()))
    for table in plan.tables:
        yield replace(build(plan, table, store), others=others)


def build(plan: Plan, table: Table, store: Store) -> TableReport:
    """The report of one table of a plan, from what the store holds now; `others` are not counted."""
    reader = _Reader(plan, store)
    planned = plan.of(table)
    cells = {(c.row, c.column): _shown(c, reader, plan.profile) for c in planned}
    for place, shown in cells.items():
        cells[place] = replace(shown, ratio=_ratio(table, cells, shown))
    order = sorted({c.row: table.rows[c.row].extra for c in planned}.items(), key=lambda item: item[1])
    columns = dict.fromkeys(c for c in table.columns if any(c == p.column for p in planned))
    rows = tuple(row for row, _ in order)
    return TableReport(table, plan.profile, plan.repetitions, cells, rows, tuple(columns), _recipes(table, planned))


def _recipes(table: Table, cells: Sequence[Cell]) -> dict[str, Recipe]:
    """The recipes of trained cells, with their sources; one whose file is gone since is left out."""
    found: dict[str, Recipe] = {}
    for cell in cells:
        name = table.recipe_of(cell.column, cell.row)
        unused = cell.state in ("cited", "awaits") or cell.metric.kind not in ("train", "evaluate")
        if name is None or name in found or unused:
            continue
        try:
            found[name] = find_recipe(name, Path(table.path).parent)
        except UserError:
            continue
    return found


class _Reader:
    """The store through a plan's jobs; each result is read once however many cells show it."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self._results: dict[str, Result | None] = {}

    def result(self, job: Job) -> Result | None:
        if job.key not in self._results:
            self._results[job.key] = self.store.result(job)
        return self._results[job.key]

    def trainings(self, job: Job) -> list[Result]:
        """Of the job itself and of those it needs, the trainings that have finished."""
        found = [r for key in job.needs for r in self.trainings(self.plan.jobs[key])]
        own = self.result(job) if job.kind == "train" else None
        return [*found, own] if own is not None else found

    def failure(self, job: Job) -> Failure | None:
        """Why the job, or one that it needs, failed."""
        for member in (job, *(self.plan.jobs[key] for key in job.needs)):
            found = self.store.failure(member) if self.result(member) is None else None
            if found is not None:
                return found
        return None

    def changed(self, old: Result, job: Job) -> str:
        """What differs between a stored result's key and the job's, down to the job that it needs."""
        lines = changes(old.job.parts, job.parts)
        own = [text for text in lines if not text.startswith("needs")]
        for key in job.needs if len(own) < len(lines) else ():
            needed = self.plan.jobs[key]
            before = self.store.stale(needed)
            own += changes(before.job.parts, needed.parts) if before is not None else []
        lines = list(dict.fromkeys(own)) or lines
        texts = [" ".join(line.split()) for line in lines]
        return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "") or "another key"


def _shown(cell: Cell, reader: _Reader, profile: Profile) -> CellReport:
    table, metric = cell.table, cell.metric
    row = table.rows[cell.row]
    shown = CellReport(
        cell.row,
        cell.column,
        metric,
        "not run",
        # a time of another module on another machine compares with nothing
        published=table.value_of(cell.row, cell.column) if metric.portable or not row.compared_with else None,
        another=(table.name_of(row.compared_with)) if row.compared_with else "",
        convention=table.convention_of(cell.column, cell.row) if metric.name == "flops" else "",
        provenance=table.provenance(cell.row, cell.column),
        rounding=table.rounding_of(cell.row) if metric.exact else "round",
        jobs=cell.jobs,
    )
    shown = _with_values(shown, cell, reader)
    shown = replace(shown, verdict=_verdict(shown, profile))
    return replace(shown, footnotes=_footnotes(shown, table))


def _with_values(shown: CellReport, cell: Cell, reader: _Reader) -> CellReport:
    if cell.state in ("cited", "awaits"):
        return replace(shown, state=cell.state, reason=cell.reason)
    finished = [(job, r) for job in cell.jobs if (r := reader.result(job)) is not None]
    name = shown.metric.name
    found = [(job, r, m) for job, r in finished if (m := r.value(name)) is not None]
    if not found:
        return _without_value(shown, cell, reader, bool(finished))
    by = scale(shown.metric, cell.table.convention_of(cell.column, cell.row))
    results = tuple(r for _, r, _ in found)
    shown = replace(
        shown,
        state="measured",
        values=tuple(m.value / by for _, _, m in found),
        seeds=tuple(job.config.get("seed", 0) for job, _, _ in found),
        quartiles=_quartiles(results[0], name, by),
        convention=found[0][2].convention or shown.convention,
        results=results,
        trainings=tuple(t for job, _, _ in found for t in reader.trainings(job)),
    )
    if len(found) == len(cell.jobs):
        return shown
    rest = _without_value(shown, replace(cell, jobs=tuple(j for j in cell.jobs if reader.result(j) is None)), reader)
    return replace(shown, state="partly", reason=f"{len(found)} of {len(cell.jobs)} repetitions; {_clause(rest)}")


def _clause(rest: CellReport) -> str:
    return f"the others: {rest.state}" + (f" ({rest.reason})" if rest.reason else "")


def _quartiles(result: Result, name: str, by: float) -> tuple[float, float] | None:
    low, high = result.value(f"{name}_q25"), result.value(f"{name}_q75")
    return (low.value / by, high.value / by) if low is not None and high is not None else None


def _without_value(shown: CellReport, cell: Cell, reader: _Reader, finished: bool = False) -> CellReport:
    """Why a cell, or what is missing of it, has no current value."""
    if finished:
        return replace(shown, state="absent", reason=f"the job finished without measuring {shown.metric.title}")
    for job in cell.jobs:
        failure = reader.failure(job)
        if failure is not None:
            return replace(shown, state="failed", reason=f"{failure.cause}: {failure.message}")
    if any((reader.store.folder(job) / "result.json").exists() for job in cell.jobs if reader.result(job) is None):
        why = "its result was written by another version or is not whole; python -m harness run measures it again"
        return replace(shown, state="unreadable", reason=why)
    stale = _stale(shown, cell, reader)
    if stale is not None:
        return stale
    if cell.state == "on request":
        return replace(shown, state="on request", reason=cell.reason)
    for job in cell.jobs:
        blocked = reader.plan.reason(job)
        if blocked is not None:
            return replace(shown, state="blocked", reason=blocked)
    return replace(shown, state="not run", reason="no job of this cell has finished")


def _stale(shown: CellReport, cell: Cell, reader: _Reader) -> CellReport | None:
    """The cell with what was measured of it before code, data or weights changed, if anything was."""
    old = [(job, r) for job in cell.jobs if (r := reader.store.stale(job)) is not None]
    measured = [(job, r, m) for job, r in old if (m := r.value(shown.metric.name)) is not None]
    if not measured:
        return None
    by = scale(shown.metric, cell.table.convention_of(cell.column, cell.row))
    job, newest, _ = max(measured, key=lambda entry: entry[1].started)
    why = f"measured before a change: {reader.changed(newest, job)}"
    return replace(shown, state="stale", reason=why, old=tuple(m.value / by for _, _, m in measured))


def _verdict(shown: CellReport, profile: Profile) -> Verdict:
    if not shown.measured:
        return judge.NONE
    if shown.published is None:
        return Verdict(judge.UNPUBLISHED, "the paper prints no value for this cell")
    if not profile.comparable:
        tail = ": only claims are judged" if profile.claims_only else f": {profile.about}"
        return Verdict(judge.NOT_COMPARABLE, f"profile {profile.name}{tail}")
    if not shown.metric.portable:
        return Verdict(
            judge.OTHER_MACHINE, "the paper measured on another machine; only the ratio between rows compares"
        )
    text = shown.published.text
    if shown.metric.exact:
        evidence = str(shown.provenance.get("evidence", ""))
        return judge.exact(shown.values[0], text, shown.rounding, evidence, shown.another)
    if shown.jobs[0].config.get("checkpoint"):
        return judge.judge_given_weights(shown.values[0], text)
    dataset = str((shown.jobs[0].config.get("data") or {}).get("name", ""))
    wide = equivalence_margin(shown.metric.name, dataset, shown.published.value)
    statistic = str(shown.provenance.get("statistic", "unknown"))
    rounding = str(shown.provenance.get("rounding", "round"))
    return judge.equivalence(shown.values, text, margin=wide, statistic=statistic, rounding=rounding)


def _footnotes(shown: CellReport, table: Table) -> tuple[str, ...]:
    """What a reader must know to read this cell rightly; the same text in several cells becomes one footnote."""
    notes: list[str] = []
    if shown.verdict.word in (judge.FITTED, judge.INFERRED, judge.INVALID):
        notes.append(shown.verdict.reason)
    weights = {name for job in shown.jobs if (name := job.config.get("checkpoint"))}
    notes += [f"given weights, tested and not trained here: {Path(name).name}" for name in sorted(weights)]
    busy = max((m.value for r in shown.results if (m := r.value(f"{shown.metric.name}_others")) is not None), default=0)
    if busy > QUIET:
        notes.append(f"not a quiet machine: other processes took {busy:.0f} % of the CPUs meanwhile; measure it again")
    fitted = shown.provenance.get("evidence") == "fitted"
    if shown.verdict.word == judge.OTHER_MACHINE and fitted:
        notes.append(
            "measured on the reconstruction, which met the published counts and need not be the paper's module"
        )
    if shown.another and shown.measured and shown.published is not None:
        row = table.rows[shown.row]
        notes.append(" ".join((f"Another module, compared with the published value of {shown.another}.", *row.notes)))
    if not shown.measured and shown.state not in ("not run", "on request"):
        notes.append(f"{shown.state}: {shown.reason}" if shown.reason else shown.state)
    if shown.state == "partly":
        notes.append(shown.reason)
    return tuple(notes)


def _ratio(table: Table, cells: Mapping[tuple[str, str], CellReport], shown: CellReport) -> Ratio | None:
    to = table.columns[shown.column].relative_to
    if to is None:
        return None
    reference = cells.get((to, shown.column))
    measured = published = None
    if reference is not None and reference.measured and shown.measured:
        measured = _quotient(shown.mean, reference.mean)
    base = table.value_of(to, shown.column)
    if base is not None and shown.published is not None:
        published = _quotient(shown.published.value, base.value)
    return Ratio(to, measured, published) if measured is not None or published is not None else None


def _quotient(value: float, base: float) -> float | None:
    return value / base if base and math.isfinite(value) and math.isfinite(base) else None
