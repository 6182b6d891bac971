"""What the paper concludes from its table, judged on what was measured: `A beats B`, an ablation's steps, the rows' order.

A claim can hold where absolute numbers differ. It consists of comparisons: one per column, or one per column and step of a
monotone ablation. Two trainings under one seed share their data order and their backbone's initial weights, so differences
are taken per seed and tested with a one-sided t-test that holds at every look (`harness.stats.sequential`); counts are simply
compared, and times by whether their quartiles overlap. A printed gain (`by`) of a score is judged apart from the direction,
as an equivalence to it. A claim holds when every comparison does, each at ALPHA: a claim that is wrong anywhere is accepted at
most one time in twenty, however many comparisons it makes (intersection-union; Berger, Technometrics 1982). It does not hold
when one comparison is refuted at ALPHA shared among all of them (Bonferroni): a true claim is refused at most one time in
twenty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness.stats.agreement import Direction, agreement, direction, target
from harness.stats.sequential import LOOKS, Spread, factor
from harness.stats.small_samples import deviation, mean, t_quantile
from harness.table.metrics import equivalence_margin
from harness.table.schema import Claim
from harness.text import number, plural
from reports.cell_report import CellReport
from reports.table_report import TableReport
from reports.verdict import ALPHA

HOLDS = "holds"
FAILS = "does not hold"
UNDECIDED = "undecided"
UNMEASURED = "not measured"
NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Part:
    """One comparison of a claim. Differences are in favour of the claim: above 0 means `better` is better, whatever the unit.

    `interval` is that of the difference, both ends of which hold at every look.
    """

    better: str
    than: str
    column: str
    outcome: str
    reason: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    published: float | None = None


@dataclass(frozen=True)
class Judgement:
    """A claim of the table with how each of its comparisons stands, column by column, and it in all."""

    claim: Claim
    outcome: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Ranking:
    """Whether the rows of a column come in the paper's order: Kendall's τ between measured and published values.

    `interval` is the 90 % interval over seeds, where there are at least two.
    """

    column: str
    rows: int
    tau: float
    interval: tuple[float, float] | None


def judge_claims(report: TableReport) -> list[Judgement]:
    """The claims about the report's rows, in the table's order."""
    judged = report.comparable or report.profile.claims_only
    judgements = []
    for claim in report.table.claims:
        columns = tuple(report.table.columns) if claim.on == "all" else claim.on
        selected = [c for c in columns if c in report.columns]
        if not set(claim.rows) & set(report.rows):
            continue  # about rows that are not selected
        comparisons = len(claim.steps) * len(columns)
        parts = tuple(
            _part(report, Part(*step, column, UNMEASURED), claim.by or 0.0, comparisons, judged)
            for column in selected
            for step in claim.steps
        )
        judgements.append(Judgement(claim, _overall([p.outcome for p in parts], len(columns) - len(selected)), parts))
    return judgements


def claim_text(claim: Claim, name: Callable[[str], str]) -> str:
    """A claim in words; `name` gives a row's."""
    if claim.monotone is not None:
        return f"each better than the one before: {' → '.join(map(name, claim.monotone))}"
    by = f" by {number(claim.by)}" if claim.by else ""
    return f"{name(str(claim.better))} better than {name(str(claim.than))}{by}"


def _overall(outcomes: Sequence[str], left_out: int) -> str:
    """A claim holds when every comparison does, and does not when one is refuted."""
    if not outcomes:
        return UNMEASURED
    for outcome in (NOT_JUDGED, FAILS):
        if outcome in outcomes:
            return outcome
    if set(outcomes) == {HOLDS} and not left_out:
        return HOLDS
    return UNMEASURED if set(outcomes) == {UNMEASURED} else UNDECIDED


def _part(report: TableReport, part: Part, by: float, comparisons: int, judged: bool) -> Part:
    """The comparison judged, one of so many of its claim."""
    column = part.column
    better, than = (report.cells.get((row, column)) for row in (part.better, part.than))
    sign = 1 if report.table.column(column).metric.better == "higher" else -1
    ours, theirs = (report.table.cell(row, column).published for row in (part.better, part.than))
    if ours is not None and theirs is not None:
        part = replace(part, published=sign * (ours.value - theirs.value))
    if better is None or than is None or not better.measured or not than.measured:
        missing = [row for row, s in ((part.better, better), (part.than, than)) if s is None or not s.measured]
        return replace(part, reason=f"without {' and '.join(missing)}")
    difference = sign * (better.mean - than.mean)
    if not judged:
        return replace(part, outcome=NOT_JUDGED, reason=f"profile {report.profile.name}", difference=difference)
    missing_data = [cell.incomplete for cell in (better, than) if cell.incomplete]
    if missing_data:
        return replace(part, outcome=NOT_JUDGED, reason=f"incomplete data: {missing_data[0]}", difference=difference)
    if not math.isfinite(difference):
        return replace(part, outcome=UNDECIDED, reason="a value is not a finite number")
    part = replace(part, difference=difference)
    if better.metric.exact:
        holds = difference >= by if by else difference > 0
        return replace(part, outcome=HOLDS if holds else FAILS, reason="a count, without noise")
    if better.metric.kind == "latency":
        return _timed(part, better, than, by)
    return _paired(part, better, than, sign, by, comparisons)


def _timed(part: Part, better: CellReport, than: CellReport, by: float) -> Part:
    if better.quartiles is None or than.quartiles is None:
        return replace(part, outcome=UNDECIDED, reason="one measurement on this machine, without a spread")
    interval = (than.quartiles[0] - better.quartiles[1], than.quartiles[1] - better.quartiles[0])
    outcome = HOLDS if interval[0] > by else FAILS if interval[1] < by else UNDECIDED
    return replace(part, outcome=outcome, reason="on this machine, quartile against quartile", interval=interval)


def _paired(part: Part, better: CellReport, than: CellReport, sign: int, by: float, comparisons: int) -> Part:
    ours, theirs = dict(zip(better.seeds, better.values)), dict(zip(than.seeds, than.values))
    differences = [sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs][:LOOKS]
    if not differences:
        return replace(part, outcome=UNDECIDED, reason="no seed in common")
    n, centre = len(differences), mean(differences)
    spread = Spread(deviation(differences), n - 1)
    width = factor(n, 0.0, spread.dof, pooled=False)
    if not math.isfinite(width) or spread.value == 0:
        reason = f"{n} seeds with one and the same difference" if n > 1 and spread.value == 0 else plural(n, "seed")
        return replace(part, outcome=UNDECIDED, reason=f"{reason}: how much it varies is unknown", difference=centre)
    interval = (centre - width * spread.value, centre + width * spread.value)
    reason = f"{n} seeds, paired"
    if by:
        reason += f"; {_gain(better, differences, spread, by)}"
    outcome = _OUTCOMES[direction(differences, spread, comparisons=comparisons)]
    return replace(part, outcome=outcome, reason=reason, difference=centre, interval=interval)


_OUTCOMES = {Direction.HOLDS: HOLDS, Direction.FAILS: FAILS, Direction.UNDECIDED: UNDECIDED}


def _gain(cell: CellReport, differences: Sequence[float], spread: Spread, by: float) -> str:
    """How the differences agree with the printed gain, which is a difference of single runs unless the table says more."""
    statistic = cell.provenance.get("statistic", cell.cell.table.published.statistic)
    of = target(statistic, cell.provenance.get("runs")) if statistic in ("mean", "median") else target("single")
    dataset = str((cell.jobs[0].config.get("data") or {}).get("name", "")) if cell.jobs else ""
    found = agreement(differences, by, spread, margin=equivalence_margin(cell.metric.name, dataset, by), of=of)
    return f"the printed gain of {number(by)}: {found.word}, {found.grade()}"


# ---------------------------------------------------------------------------------------------------- printed gains


@dataclass(frozen=True)
class Gain:
    """A gain that the paper prints beside a value, `(+1.38)`, with the row that it is a gain over.

    `base` is None where no row of the table differs by that much: the paper's arithmetic does not close.
    """

    row: str
    column: str
    printed: float
    base: str | None
    measured: float | None = None


def gains(report: TableReport) -> list[Gain]:
    """Every printed gain of the report's cells; `measured` where both rows are measured and comparable, over shared seeds."""
    found = []
    judged = report.comparable or report.profile.claims_only
    for shown in report:
        value = shown.published
        if value is None or value.gain is None or shown.compared_row:
            continue
        base = _base(report, shown, value.value - value.gain)
        other = report.cells.get((base, shown.column)) if base is not None else None
        both = judged and other is not None and shown.measured and other.measured
        measured = _difference(shown, other) if both and other is not None else None
        found.append(Gain(shown.row, shown.column, value.gain, base, measured))
    return found


def _base(report: TableReport, shown: CellReport, expected: float) -> str | None:
    """The row that a gain is measured from: the nearest one above, else below, whose published value is the difference."""
    rows = list(report.table.rows)
    at = rows.index(shown.row)
    values = report.table.published.values
    tolerance = 0.51 * 10.0**-shown.decimals  # of sums of printed decimals in binary
    for row in (*reversed(rows[:at]), *rows[at + 1 :]):
        value = values.get(row, {}).get(shown.column)
        if value is not None and abs(value.value - expected) < tolerance:
            return row
    return None


def _difference(shown: CellReport, other: CellReport) -> float:
    """The mean difference over the seeds that both have, else of the means."""
    ours, theirs = dict(zip(shown.seeds, shown.values)), dict(zip(other.seeds, other.values))
    shared = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return mean(shared) if shared else shown.mean - other.mean


# --------------------------------------------------------------------------------------------------------- rankings


def rankings(report: TableReport) -> list[Ranking]:
    """For every column in which three or more rows are measured and published: do they come in the paper's order?

    Rows that are another module, or were reconstructed to meet the published numbers, are left out.
    """
    if not (report.comparable or report.profile.claims_only):
        return []
    found = []
    for column in report.columns:
        cells = [report.cells[row, column] for row in report.rows if (row, column) in report.cells]
        both = [c for c in cells if c.measured and c.published is not None and math.isfinite(c.mean)]
        both = [c for c in both if not c.compared_row and c.provenance.get("evidence") != "fitted"]
        if len(both) < 3:
            continue
        published = [c.published.value for c in both if c.published is not None]
        tau = kendall([c.mean for c in both], published)
        if tau is not None:
            found.append(Ranking(column, len(both), tau, _over_seeds(both, published)))
    return found


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's τ-b of two rankings, ties taken into account; None where one of them ties everything."""
    from scipy.stats import kendalltau  # loads slowly: only where three rows of a column are measured

    tau = float(kendalltau(first, second).statistic)
    return None if math.isnan(tau) else tau


def _over_seeds(cells: Sequence[CellReport], published: Sequence[float]) -> tuple[float, float] | None:
    shared = set.intersection(*(set(c.seeds) for c in cells))
    by_seed = [dict(zip(c.seeds, c.values)) for c in cells]
    taus = [t for s in sorted(shared) if (t := kendall([v[s] for v in by_seed], published)) is not None]
    if len(taus) < 2:
        return None
    half = t_quantile(1 - ALPHA, len(taus) - 1) * deviation(taus) / math.sqrt(len(taus))
    return max(-1.0, mean(taus) - half), min(1.0, mean(taus) + half)
