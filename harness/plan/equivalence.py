"""The gate of a profile: whether its numbers are those of another profile, shown by trainings paired by seed.

Two one-sided tests at 5 % (Schuirmann 1987) on the differences of pairs: the profile passes where the 90 % interval of the mean
difference lies within the margin in every row of the gate, so that one that moves a row by the margin passes in at most 5 % of
cases. The number of pairs is fixed by the gate: there is one look. What is judged are the stored results of both profiles under
today's code; a change of the code asks for the trainings again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness import SHIPPED
from harness.plan.planner import Planner, Selection
from harness.recipes.profile import Gate, Profile
from harness.stats.small_samples import deviation, mean, t_quantile
from harness.store.store import Store
from harness.table.load import load
from harness.table.recipes import profile as find_profile

LEVEL = 0.05
"""Of each one-sided test."""

PlannerOf = Callable[[Profile, Sequence[int]], Planner]
"""The planner for a profile and these repetitions."""


@dataclass(frozen=True)
class Equivalence:
    """How the differences of pairs lie, in the metric's points, by row; None where not every pair is measured."""

    profile: str
    gate: Gate
    intervals: Mapping[str, tuple[float, float] | None]

    @property
    def measured(self) -> bool:
        return all(interval is not None for interval in self.intervals.values())

    @property
    def passed(self) -> bool:
        margin = self.gate.margin
        return all(i is not None and -margin < i[0] and i[1] < margin for i in self.intervals.values())

    def line(self) -> str:
        """The outcome in a sentence, with what to type where something is not measured."""
        gate = self.gate
        against = f"profile {gate.against} within ±{gate.margin:g} points of {gate.column}"
        if not self.measured:
            rows = " ".join(f"--rows {row}" for row in gate.rows)
            command = f"python -m harness run tables/{gate.table}.yaml {rows} --columns {gate.column}"
            command += f" --repetitions {gate.repetitions} --profile"
            return f"not shown to equal {against}: {command} {gate.against}; {command} {self.profile}"
        found = ", ".join(f"{row} {i[0]:+.2f} … {i[1]:+.2f}" for row, i in self.intervals.items() if i is not None)
        verb = "equals" if self.passed else "is not shown to equal"
        return f"{verb} {against} ({gate.repetitions} paired seeds, 90 % intervals: {found})"


def equivalence(profile: Profile, planner_of: PlannerOf, store: Store, device: str) -> Equivalence:
    """What the stored results say of the profile's gate; only those on this kind of device (cpu, cuda) count.

    Raises Problems and UserError for a gate whose table, rows, column or profile are not there.
    """
    gate = profile.gate
    assert gate is not None
    table = load(SHIPPED / "tables" / f"{gate.table}.yaml")
    selection = Selection(gate.rows, (gate.column,))
    values: dict[str, dict[str, list[float | None]]] = {}
    for side in (profile, find_profile(gate.against)):
        plan = planner_of(side, range(gate.repetitions)).plan([table], selection)
        for cell in plan.cells:
            results = [store.result(job) for job in cell.jobs]
            there = [
                r if r is not None and str(r.environment.get("device", "")).startswith(device) else None
                for r in results
            ]
            found = [r.value(cell.metric.name) if r is not None else None for r in there]
            values.setdefault(cell.row, {})[side.name] = [m.value if m is not None else None for m in found]
    intervals = {row: _interval(sides[profile.name], sides[gate.against]) for row, sides in values.items()}
    return Equivalence(profile.name, gate, intervals)


def _interval(ours: Sequence[float | None], theirs: Sequence[float | None]) -> tuple[float, float] | None:
    """Of the mean difference of all pairs, with probability 1 − 2·LEVEL; None where a pair is not whole."""
    differences = [a - b for a, b in zip(ours, theirs) if a is not None and b is not None]
    if len(differences) < max(2, len(ours)):
        return None
    half = t_quantile(1 - LEVEL, len(differences) - 1) * deviation(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half
