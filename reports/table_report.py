"""The join: a table, its plan and the stored results, cell by cell; everything a report of any format says is in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.jobs.job import Job
from harness.plan.planner import Plan, PlannedCell
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.stats.small_samples import deviation, mean
from harness.store.store import Result, Store
from harness.table.cell import Cell
from harness.table.metrics import Metric, equivalence_margin, scale
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Rounding, Table, Value
from harness.text import printed
from reports import verdict as judge
from reports.status import CellStatus, ResultReader, cell_status
from reports.verdict import Verdict

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

    `status` with its `reason`, as the commands say it; of a stale cell, `old` are the values of other code or data.
    `values` are in the printed unit, one per repetition, with the seeds they came from; counts and times have one.
    """

    cell: Cell
    status: CellStatus
    reason: str = ""
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    quartiles: tuple[float, float] | None = None
    old: tuple[float, ...] = ()
    convention: str = ""  # under which FLOPs were counted; that of the column before they are
    ratio: Ratio | None = None
    verdict: Verdict = judge.NONE
    footnotes: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()
    results: tuple[Result, ...] = ()
    trainings: tuple[Result, ...] = ()

    @property
    def row(self) -> str:
        return self.cell.row

    @property
    def column(self) -> str:
        return self.cell.column

    @property
    def metric(self) -> Metric:
        return self.cell.metric

    @property
    def published(self) -> Value | None:
        """The published value it compares with."""
        return self.cell.comparable

    @property
    def another(self) -> str:
        """The row whose published value this other module is compared with."""
        return self.cell.another

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.cell.provenance

    @property
    def rounding(self) -> Rounding:
        """How the paper cuts the number to its decimals, where it is a count."""
        return self.cell.rounding if self.metric.exact else "round"

    @property
    def measured(self) -> bool:
        return self.status.has_value

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
        """One word for the cell: its verdict where it was measured, else its status."""
        return self.verdict.word if self.measured else self.status


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


def table_reports(plan: Plan, store: Store, queued: Mapping[str, str] | None = None) -> Iterator[TableReport]:
    """The report of every table of a plan, one after the other. `queued`: how jobs stand that some cluster has, by key."""
    others = sum(1 for _ in store.results_outside(plan.jobs.values()))
    for table in plan.tables:
        yield replace(build(plan, table, store, queued), others=others)


def build(plan: Plan, table: Table, store: Store, queued: Mapping[str, str] | None = None) -> TableReport:
    """The report of one table of a plan, from what the store holds now; `others` are not counted."""
    reader = ResultReader(plan, store, queued)
    planned = plan.of(table)
    cells = {(c.row, c.column): _shown(c, reader, plan.profile) for c in planned}
    for place, shown in cells.items():
        cells[place] = replace(shown, ratio=_ratio(table, cells, shown))
    order = sorted({c.row: table.rows[c.row].extra for c in planned}.items(), key=lambda item: item[1])
    columns = dict.fromkeys(c for c in table.columns if any(c == p.column for p in planned))
    rows = tuple(row for row, _ in order)
    return TableReport(table, plan.profile, plan.repetitions, cells, rows, tuple(columns), _recipes(table, planned))


def _recipes(table: Table, cells: Sequence[PlannedCell]) -> dict[str, Recipe]:
    """The recipes of trained cells, with their sources; one whose file is gone since is left out."""
    found: dict[str, Recipe] = {}
    for cell in cells:
        name = cell.cell.recipe
        unused = cell.state in (CellStatus.CITED, CellStatus.AWAITS) or not cell.metric.trains
        if name is None or name in found or unused:
            continue
        try:
            found[name] = find_recipe(name, Path(table.path).parent)
        except UserError:
            continue
    return found


def _shown(planned: PlannedCell, reader: ResultReader, profile: Profile) -> CellReport:
    cell = planned.cell
    convention = cell.convention if cell.metric.name == "flops" else ""
    status, reason = cell_status(planned, reader)
    shown = CellReport(cell, status, reason, convention=convention, jobs=planned.jobs)
    if status == CellStatus.STALE:
        by = scale(cell.metric, cell.convention)
        shown = replace(shown, old=tuple(value / by for _, _, value in reader.stale(planned)))
    if status.has_value:
        shown = _with_values(shown, reader)
    shown = replace(shown, verdict=_verdict(shown, profile))
    return replace(shown, footnotes=_footnotes(shown, cell.table))


def _with_values(shown: CellReport, reader: ResultReader) -> CellReport:
    name, by = shown.metric.name, scale(shown.metric, shown.cell.convention)
    finished = [(job, r) for job in shown.jobs if (r := reader.result(job)) is not None]
    found = [(job, r, m) for job, r in finished if (m := r.value(name)) is not None]
    results = tuple(r for _, r, _ in found)
    return replace(
        shown,
        values=tuple(m.value / by for _, _, m in found),
        seeds=tuple(job.config.get("seed", 0) for job, _, _ in found),
        quartiles=_quartiles(results[0], name, by),
        convention=found[0][2].convention or shown.convention,
        results=results,
        trainings=tuple(t for job, _, _ in found for t in reader.trainings(job)),
    )


def _quartiles(result: Result, name: str, by: float) -> tuple[float, float] | None:
    low, high = result.value(f"{name}_q25"), result.value(f"{name}_q75")
    return (low.value / by, high.value / by) if low is not None and high is not None else None


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
    if not shown.measured and shown.status not in (CellStatus.NOT_RUN, CellStatus.ON_REQUEST):
        notes.append(f"{shown.status}: {shown.reason}" if shown.reason else str(shown.status))
    if shown.status == CellStatus.PARTLY:
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
    base = table.cell(to, shown.column).published
    if base is not None and shown.published is not None:
        published = _quotient(shown.published.value, base.value)
    return Ratio(to, measured, published) if measured is not None or published is not None else None


def _quotient(value: float, base: float) -> float | None:
    return value / base if base and math.isfinite(value) and math.isfinite(base) else None
