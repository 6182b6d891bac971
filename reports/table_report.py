"""Joins a table, its plan and the stored results, cell by cell, into the report that all formats render."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.jobs.job import Job
from harness.plan.planner import Plan, PlannedCell
from harness.recipes.profile import Profile
from harness.recipes.segmentation import Recipe
from harness.stats.agreement import Word, headline
from harness.stats.sequential import Spread
from harness.stats.small_samples import deviation, mean
from harness.store.store import Result, Store
from harness.table.cell import Cell
from harness.table.metrics import Metric, equivalence_margin, scale
from harness.table.recipes import recipe as find_recipe
from harness.table.schema import Rounding, Table, Value
from harness.text import format_decimals, plural
from reports import completeness, spreads
from reports import verdict as judge
from reports.spreads import Samples
from reports.status import CellStatus, ResultReader, cell_status
from reports.verdict import Verdict

QUIET = 10.0  # percent of the CPUs that other processes may use while a forward pass is timed


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
    def compared_row(self) -> str:
        """The row whose published value this other module is compared with."""
        return self.cell.compared_row

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.cell.provenance

    @property
    def rounding(self) -> Rounding:
        """How the paper cuts the number to its decimals, where it is a count."""
        return self.cell.rounding if self.metric.exact else "round"

    @property
    def measured_jobs(self) -> list[Job]:
        """The jobs whose results it rests on, trainings included."""
        return [result.job for result in (*self.trainings, *self.results)]

    @property
    def incomplete(self) -> str:
        """What is missing of the data behind its values, where the table does not accept that; else ''."""
        return completeness.unaccepted(self.measured_jobs, self.cell.table)

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
        return format_decimals(self.mean, self.decimals, self.rounding) if self.values else ""

    @property
    def outcome(self) -> str:
        """One word for the cell: its verdict where it was measured, else its status."""
        return self.verdict.word if self.measured else self.status


@dataclass(frozen=True)
class TableReport:
    """A table with its measurements under one profile. `rows` and `columns` are those selected, in table order."""

    table: Table
    profile: Profile
    repetitions: tuple[int, ...]
    cells: Mapping[tuple[str, str], CellReport]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    recipes: Mapping[str, Recipe]
    other_jobs: int = 0  # finished jobs in the store that no cell of the plan is about

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
        return dict(Counter(cell_report.outcome for cell_report in self).most_common())

    def judged(self) -> list[CellReport]:
        """The cells whose verdict has an error rate: trained here, with an interval, against a published value."""
        trained = (cell for cell in self if cell.metric.trains and not cell.cell.checkpoint)
        return [cell for cell in trained if cell.verdict.interval is not None and cell.verdict.word in set(Word)]

    def judged_words(self) -> list[JudgedWord]:
        """(the trainings it tests, its word) of every judged cell."""
        return [(spreads.trainings(cell.jobs), Word(cell.verdict.word)) for cell in self.judged()]

    @property
    def headline(self) -> str:
        return headline_of(self.judged_words())

    @property
    def sensitivity(self) -> str:
        """How many judged cells agree under other assumptions on what the paper does not say; "" where none is judged."""
        agreeing: dict[str, list[bool]] = {}
        for cell in self.judged():
            for assumption, word in (("as assumed", cell.verdict.word), *cell.verdict.others):
                agreeing.setdefault(assumption, []).append(word in (judge.REPRODUCED, judge.AS_ONE_RUN))
        total = len(self.judged())
        parts = [
            f"{sum(words)}{'' if len(words) == total else f' of {len(words)}'} {name}"
            for name, words in agreeing.items()
        ]
        return (
            f"of {plural(total, 'judged cell')} these agree if the paper's values are: {' · '.join(parts)}"
            if parts
            else ""
        )

    @property
    def warnings(self) -> list[str]:
        """What every format says above the table: data that are not those of the paper."""
        return list(completeness.warnings(self, self.table))

    def results(self) -> dict[str, Result]:
        """Every result that the report rests on, trainings included, by job key."""
        by_key: dict[str, Result] = {}
        for cell_report in self:
            by_key |= {r.job.key: r for r in (*cell_report.trainings, *cell_report.results)}
        return by_key


JudgedWord = tuple[tuple[str, ...], Word]


def headline_of(words: Iterable[JudgedWord]) -> str:
    """How many judged cells are reproduced and how many chance would call so; "" where none is judged."""
    groups: dict[tuple[str, ...], list[Word]] = defaultdict(list)
    for trainings, word in words:
        groups[trainings].append(word)
    return headline(list(groups.values()))


def table_reports(plan: Plan, store: Store, queue_states: Mapping[str, str] | None = None) -> Iterator[TableReport]:
    """The report of every table of a plan, one after the other. `queue_states`: states of jobs submitted to a cluster, by key."""
    other_jobs = sum(1 for _ in store.results_outside(plan.jobs.values()))
    samples = spreads.samples(plan, store)
    for table in plan.tables:
        yield replace(build(plan, table, store, queue_states, samples), other_jobs=other_jobs)


def build(
    plan: Plan,
    table: Table,
    store: Store,
    queue_states: Mapping[str, str] | None = None,
    samples: Samples | None = None,
) -> TableReport:
    """The report of one table of a plan, from the stored results; `other_jobs` are not counted.

    `samples`: what the spreads are pooled from (`spreads.samples` of the plan), where several tables are reported.
    """
    reader = ResultReader(plan, store, queue_states)
    samples = spreads.samples(plan, store) if samples is None else samples
    planned_cells = plan.of(table)
    reported = (_report_cell(c, reader, plan.profile) for c in planned_cells)
    cells = {(c.row, c.column): _with_pooled_spread(c, plan.profile, samples) for c in reported}
    for place, cell_report in cells.items():
        cells[place] = replace(cell_report, ratio=_ratio(table, cells, cell_report))
    order = sorted({c.row: table.rows[c.row].extra for c in planned_cells}.items(), key=lambda item: item[1])
    columns = dict.fromkeys(c for c in table.columns if any(c == p.column for p in planned_cells))
    rows = tuple(row for row, _ in order)
    return TableReport(
        table, plan.profile, plan.repetitions, cells, rows, tuple(columns), _recipes(table, planned_cells)
    )


def _recipes(table: Table, cells: Sequence[PlannedCell]) -> dict[str, Recipe]:
    """The recipes of trained cells, with their sources; one whose file is gone since is left out."""
    recipes: dict[str, Recipe] = {}
    for cell in cells:
        name = cell.cell.recipe
        has_no_recipe = cell.state in (CellStatus.CITED, CellStatus.AWAITS) or not cell.metric.trains
        if name is None or name in recipes or has_no_recipe:
            continue
        try:
            recipes[name] = find_recipe(name, Path(table.path).parent)
        except UserError:
            continue
    return recipes


def _report_cell(planned_cell: PlannedCell, reader: ResultReader, profile: Profile) -> CellReport:
    cell = planned_cell.cell
    convention = cell.convention if cell.metric.name == "flops" else ""
    status, reason = cell_status(planned_cell, reader)
    cell_report = CellReport(cell, status, reason, convention=convention, jobs=planned_cell.jobs)
    if status == CellStatus.STALE:
        by = scale(cell.metric, cell.convention)
        cell_report = replace(cell_report, old=tuple(value / by for _, _, value in reader.stale(planned_cell)))
    if status.has_value:
        cell_report = _with_values(cell_report, reader)
    cell_report = replace(cell_report, verdict=_verdict(cell_report, profile))
    return replace(cell_report, footnotes=_footnotes(cell_report, cell.table))


def _with_values(cell_report: CellReport, reader: ResultReader) -> CellReport:
    name, by = cell_report.metric.name, scale(cell_report.metric, cell_report.cell.convention)
    job_results = [(job, r) for job in cell_report.jobs if (r := reader.result(job)) is not None]
    entries = [(job, r, m) for job, r in job_results if (m := r.value(name)) is not None]
    results = tuple(r for _, r, _ in entries)
    return replace(
        cell_report,
        values=tuple(m.value / by for _, _, m in entries),
        seeds=tuple(job.config.get("seed", 0) for job, _, _ in entries),
        quartiles=_quartiles(results[0], name, by),
        convention=entries[0][2].convention or cell_report.convention,
        results=results,
        trainings=tuple(t for job, _, _ in entries for t in reader.trainings(job)),
    )


def _quartiles(result: Result, name: str, by: float) -> tuple[float, float] | None:
    low, high = result.value(f"{name}_q25"), result.value(f"{name}_q75")
    return (low.value / by, high.value / by) if low is not None and high is not None else None


def _verdict(cell_report: CellReport, profile: Profile, spread: Spread | None = None) -> Verdict:
    if not cell_report.measured:
        return judge.NONE
    if cell_report.published is None:
        return Verdict(judge.UNPUBLISHED, "the paper prints no value for this cell")
    if not profile.comparable:
        tail = ": only claims are judged" if profile.claims_only else f": {profile.about}"
        return Verdict(judge.NOT_COMPARABLE, f"profile {profile.name}{tail}")
    if cell_report.incomplete:
        return Verdict(judge.NOT_COMPARABLE, f"incomplete data: {cell_report.incomplete}")
    if not cell_report.metric.portable:
        return Verdict(
            judge.OTHER_MACHINE, "the paper measured on another machine; only the ratio between rows compares"
        )
    text = cell_report.published.text
    if cell_report.metric.exact:
        evidence = str(cell_report.provenance.get("evidence", ""))
        return judge.exact(cell_report.values[0], text, cell_report.rounding, evidence, cell_report.compared_row)
    if cell_report.jobs[0].config.get("checkpoint"):
        return judge.judge_given_weights(cell_report.values[0], text)
    dataset = str((cell_report.jobs[0].config.get("data") or {}).get("name", ""))
    wide = equivalence_margin(cell_report.metric.name, dataset, cell_report.published.value)
    statistic = str(cell_report.provenance.get("statistic", "unknown"))
    runs = cell_report.provenance.get("runs")
    return judge.equivalence(cell_report.values, text, margin=wide, statistic=statistic, runs=runs, spread=spread)


def _with_pooled_spread(cell_report: CellReport, profile: Profile, samples: Samples) -> CellReport:
    """A trained score judged again by the spread of all cells of the plan that share recipe and metric."""
    alike = samples.get((cell_report.cell.recipe, cell_report.metric.name), ())
    if not cell_report.measured or not cell_report.metric.trains or not alike:
        return cell_report
    spread = spreads.pooled(
        cell_report.values, spreads.trainings(cell_report.jobs), alike, str(cell_report.cell.recipe)
    )
    return replace(cell_report, verdict=_verdict(cell_report, profile, spread))


def _footnotes(cell_report: CellReport, table: Table) -> tuple[str, ...]:
    """Notes needed to read this cell correctly; the same text in several cells becomes one footnote."""
    notes: list[str] = []
    if cell_report.verdict.word in (judge.FITTED, judge.INFERRED, judge.INVALID):
        notes.append(cell_report.verdict.reason)
    if cell_report.incomplete:
        notes.append(cell_report.verdict.reason or f"incomplete data: {cell_report.incomplete}")
    notes += [f"incomplete data: {text}" for text in completeness.accepted(cell_report.measured_jobs, table)]
    weights = {name for job in cell_report.jobs if (name := job.config.get("checkpoint"))}
    notes += [f"given weights, tested and not trained here: {Path(name).name}" for name in sorted(weights)]
    busy = max(
        (m.value for r in cell_report.results if (m := r.value(f"{cell_report.metric.name}_others")) is not None),
        default=0,
    )
    if busy > QUIET:
        notes.append(f"not a quiet machine: other processes took {busy:.0f} % of the CPUs meanwhile; measure it again")
    is_fitted = cell_report.provenance.get("evidence") == "fitted"
    if cell_report.verdict.word == judge.OTHER_MACHINE and is_fitted:
        notes.append(
            "measured on the reconstruction, which met the published counts and need not be the paper's module"
        )
    if cell_report.compared_row and cell_report.measured and cell_report.published is not None:
        row = table.rows[cell_report.row]
        notes.append(
            " ".join((f"Another module, compared with the published value of {cell_report.compared_row}.", *row.notes))
        )
    if not cell_report.measured and cell_report.status not in (CellStatus.NOT_RUN, CellStatus.ON_REQUEST):
        notes.append(f"{cell_report.status}: {cell_report.reason}" if cell_report.reason else str(cell_report.status))
    if cell_report.measured and cell_report.reason:
        notes.append(cell_report.reason)
    return tuple(notes)


def _ratio(table: Table, cells: Mapping[tuple[str, str], CellReport], cell_report: CellReport) -> Ratio | None:
    to = table.columns[cell_report.column].relative_to
    if to is None:
        return None
    reference = cells.get((to, cell_report.column))
    measured_ratio = published_ratio = None
    if reference is not None and reference.measured and cell_report.measured:
        measured_ratio = _quotient(cell_report.mean, reference.mean)
    base = table.cell(to, cell_report.column).published
    if base is not None and cell_report.published is not None:
        published_ratio = _quotient(cell_report.published.value, base.value)
    return (
        Ratio(to, measured_ratio, published_ratio)
        if measured_ratio is not None or published_ratio is not None
        else None
    )


def _quotient(value: float, base: float) -> float | None:
    return value / base if base and math.isfinite(value) and math.isfinite(base) else None
