"""One cell of a report: what was measured beside what was published, joined from the plan and the stored results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.jobs.job import Job
from harness.plan.planner import PlannedCell
from harness.recipes.profile import Profile
from harness.stats.sequential import Spread
from harness.stats.small_samples import deviation, mean
from harness.store.store import Result
from harness.table.cell import Cell
from harness.table.metrics import Metric, equivalence_margin, scale
from harness.table.schema import Rounding, Table, Value
from harness.text import format_decimals
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
    def published_text(self) -> str:
        """The published value as the paper prints it; '' where it prints none."""
        return self.published.printed if self.published is not None else ""

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


def report_cell(planned_cell: PlannedCell, reader: ResultReader, profile: Profile) -> CellReport:
    """A planned cell with what is stored of it, judged by itself."""
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


def with_pooled_spread(cell_report: CellReport, profile: Profile, samples: Samples) -> CellReport:
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


def ratio(table: Table, cells: Mapping[tuple[str, str], CellReport], cell_report: CellReport) -> Ratio | None:
    """A cell's value as a multiple of its column's reference row; None where the column has none or neither side is known."""
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
