"""The spread between repetitions of trained cells, pooled over all cells of a plan that share recipe and metric.

Rows, columns and tables that are trained by one recipe vary alike, so a few seeds of each know their spread together.
Cells that test the same trainings (one scale and several, another dataset) vary together and count once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.jobs.job import Job
from harness.plan.planner import Plan, PlannedCell
from harness.stats.sequential import Spread, own_spread, pooled_spread
from harness.store.store import Store
from harness.table.metrics import scale
from harness.text import plural
from reports.status import ResultReader

Kind = tuple[str | None, str]  # recipe, metric


@dataclass(frozen=True)
class Sample:
    """Repetitions of one cell in the printed unit, and the trainings that the plan has behind them."""

    table: str
    trainings: tuple[str, ...]
    values: tuple[float, ...]


Samples = Mapping[Kind, Sequence[Sample]]


def trainings(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Keys of what a cell's repetitions test; cells with the same ones depend on each other."""
    return tuple(key for job in jobs for key in job.needs or (job.key,))


def kind(cell: PlannedCell) -> Kind:
    return cell.cell.recipe, cell.metric.name


def samples(plan: Plan, store: Store) -> Samples:
    """Everything that can be pooled: trained cells of all tables of the plan with two finite repetitions or more."""
    found: dict[Kind, list[Sample]] = defaultdict(list)
    if not plan.profile.comparable or len(plan.repetitions) < 2:
        return found
    for table in plan.tables:
        reader = ResultReader(plan, store)  # one table's results at a time in memory
        for cell in plan.of(table):
            if not cell.metric.trains or len(cell.jobs) < 2 or cell.jobs[0].config.get("checkpoint"):
                continue
            by = scale(cell.metric, cell.cell.convention)
            results = (reader.result(job) for job in cell.jobs)
            measured = [m for r in results if r is not None and (m := r.value(cell.metric.name)) is not None]
            values = tuple(m.value / by for m in measured)
            if len(values) > 1 and all(map(math.isfinite, values)):
                found[kind(cell)].append(Sample(table.id, trainings(cell.jobs), values))
    return found


def pooled(values: Sequence[float], own: tuple[str, ...], alike: Sequence[Sample], recipe: str | None) -> Spread:
    """The spread of a cell's `values`, pooled with those of other trainings than its `own` among cells `alike`."""
    groups: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in alike:
        if sample.trainings != own:
            groups[sample.trainings].append(sample)
    tables = ", ".join(dict.fromkeys(sample.table for group in groups.values() for sample in group))
    about = f"{plural(len(groups), 'other model')} trained by {recipe} in {tables}"
    return pooled_spread(values, [own_spread(*(s.values for s in group)) for group in groups.values()], about)
