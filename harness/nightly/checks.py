"""The three checks of a night: golden curves, kept checkpoints tested again, and full trainings in rotation.

Each is cheaper and less specific than the next. Curves must be equal. A checkpoint tested again may differ by rounding. A
training differs by its seed, so its number is compared with its own history (harness/stats/control_charts).
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import ROOT
from harness.environment import Device
from harness.errors import Exit, UserError
from harness.jobs.context import Progress
from harness.jobs.job import Job, Measurement
from harness.jobs.kinds import KINDS, word
from harness.nightly.config import Nightly
from harness.plan import cost as costs
from harness.plan.planner import Plan, PlannedCell, Planner
from harness.recipes.profile import Profile
from harness.scheduler import run as runner
from harness.scheduler.transport import Event, Transport
from harness.stats.control_charts import Chart, alarms, suspects
from harness.store.nights import Change, History, NightRecord, charts, locate, night
from harness.store.store import Result, Store
from harness.table import recipes
from harness.table.load import load_all

_FIRST_REPETITION = 1000  # of nights, above those of runs
_REPETITIONS_A_DAY = 2  # a cell that looks worse is measured a second time in the same night


@dataclass
class Check:
    """The outcome of one check. `measured`: how many numbers it is based on; `regressions` and `failed` in lines."""

    name: str
    measured: int = 0
    regressions: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass
class Night:
    """The checks of one night. `device`: where a profile's jobs run; `transport` makes what runs them there for a store;
    `processes`: how many a training has."""

    config: Nightly
    store: Store
    data_dir: Path | None
    device: Callable[[Profile], Device]
    transport: Callable[[Store, Device], Transport]
    processes: int = 1
    today: datetime.date = field(default_factory=datetime.date.today)

    def run(self) -> tuple[list[Check], Exit]:
        """All checks; FAILED on a regression or a job that failed, NOTHING when nothing was measured, else OK."""
        checks = [self.golden(), self.checkpoints(), self.slice()]
        if any(check.regressions for check in checks):
            return checks, Exit.FAILED
        if not sum(check.measured for check in checks):
            return checks, Exit.NOTHING
        return checks, Exit.FAILED if any(check.failed for check in checks) else Exit.OK

    # -------------------------------------------------------------------------------------------------- golden curves

    def golden(self) -> Check:
        """Golden curves: the tests that compare them, exactly where the machine is that of the curves."""
        check = Check("golden curves")
        for test in self.config.golden.tests:
            command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-rf", "-p", "no:cacheprovider", test]
            process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            tail = [line for line in process.stdout.splitlines() if line.strip()][-1:] or [
                process.stderr.strip()[-200:]
            ]
            check.lines.append(f"{test}: {tail[0]}")
            if process.returncode == 0:
                check.measured += 1
            elif process.returncode == 1:
                check.measured += 1
                failures = [line for line in process.stdout.splitlines() if line.startswith("FAILED")]
                check.regressions += failures or [f"{test} failed"]
            else:
                check.failed.append(f"{test} did not run (pytest's exit code {process.returncode})")
        return check

    # ------------------------------------------------------------------------------------------------ kept checkpoints

    def checkpoints(self) -> Check:
        """Kept checkpoints under today's code: the same numbers as when they were trained, but for rounding."""
        check, config = Check("kept checkpoints"), self.config.checkpoints
        plan = self._plan(config.tables, config.profile, 0)
        again = Store(self.store.root / "nightly/again" / self.today.isoformat())
        again.prepare()
        references: dict[str, tuple[str, Result]] = {}
        wanted = Plan(plan.profile, plan.repetitions)
        for cell in plan.cells_to_measure():
            for job in cell.jobs:
                pair = self._kept_checkpoint(plan, job)
                if pair is None:
                    continue
                training, reference = pair
                references[job.key] = cell.name, reference
                link = again.folder(plan.jobs[job.needs[0]])
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(training.folder.resolve(), target_is_directory=True)
                wanted.cells.append(PlannedCell(cell.cell, (job,)))
                wanted.jobs |= {key: plan.jobs[key] for key in (*job.needs, job.key)}
        self._measure(wanted, again, check)
        for key, (name, reference) in references.items():
            result = again.result(wanted.jobs[key])
            before, now = _headline(reference), _headline(result)
            if before is None or now is None:
                continue
            check.measured += 1
            text = f"{name}: {before.value:.3f} → {now.value:.3f}"
            if abs(now.value - before.value) > config.tolerance:
                check.regressions.append(f"{text}, more than ± {config.tolerance}")
            check.lines.append(text)
        return check

    def _kept_checkpoint(self, plan: Plan, job: Job) -> tuple[Result, Result] | None:
        """(training, its evaluation) of an evaluation's configuration, of whatever code: the newest that has both."""
        if job.kind != "evaluate" or not job.needs:
            return None
        train = plan.jobs[job.needs[0]]
        evaluations = [result for result in self.store.versions(job) if result.job.needs]
        for training in reversed(self.store.versions(train)):
            own = [result for result in evaluations if result.job.needs[0] == training.job.key]
            if own:
                return training, own[0]
        return None

    # ------------------------------------------------------------------------------------------------- full trainings

    def slice(self) -> Check:
        """Full trainings of the cells that were longest not measured, within the budget, compared with their history."""
        check, config, limits = Check("full trainings"), self.config.slice, self.config.limits
        history, date = History(self.store.root), self.today.isoformat()
        records = history.nights()
        # without this night and later ones: a night that is started again is judged as it was before
        known = {cell: [n for n in nights if n.date < date] for cell, nights in records.items()}
        cells = self._select(self._plan(config.tables, config.profile, 0), known, check)
        expected = charts(known, config.accepted, limits)
        tonight = self._train(cells, 0, check)
        doubtful = suspects(expected, {c: v for c, (v, _) in tonight.items()}, limits)
        again = self._train([cell for cell in cells if cell.name in doubtful], 1, check)
        values = {c: v for c, (v, _) in tonight.items()}
        drops = alarms(expected, values, {c: v for c, (v, _) in again.items()}, limits)
        root = self.store.root
        additions = [night(date, c, r, v, root=root, alarm=c in drops) for c, (v, r) in tonight.items()]
        additions += [night(date, c, r, v, root=root, alarm=True) for c, (v, r) in again.items() if c in drops]
        present = {(n.date, n.folder) for nights in records.values() for n in nights}
        history.add([n for n in additions if (n.date, n.folder) not in present])
        check.measured = len(tonight)
        for cell, (value, _) in sorted(tonight.items()):
            check.lines.append(_summary(cell, value, again.get(cell), expected.get(cell), cell in drops))
        for cell, drop in drops.items():
            change = locate([*known[cell], *(n for n in additions if n.cell == cell)], root)
            check.regressions += _regression(cell, drop, change)
        return check

    def _select(self, plan: Plan, known: Mapping[str, Sequence[NightRecord]], check: Check) -> list[PlannedCell]:
        """Cells in the order of their last night, until the budget is used; one of unknown cost at most."""
        cells = [
            c for c in plan.cells_to_measure() if c.jobs and c.jobs[0].kind == "evaluate" and not self._blocked(plan, c)
        ]
        cells.sort(key=lambda c: known[c.name][-1].date if known.get(c.name) else "")
        selection, hours, unknown = [], 0.0, 0
        jobs = [list({k: plan.jobs[k] for j in c.jobs for k in (*j.needs, j.key)}.values()) for c in cells]
        card = self.device(plan.profile).card
        estimates = costs.costs(plan, jobs, self.store, device=card, gpus_per_job=self.processes)
        for cell, cost in zip(cells, estimates):
            if cost.unknown_jobs:
                unknown += 1
                if unknown > 1:
                    continue
            if hours + cost.hours > self.config.slice.gpu_hours:
                continue
            selection.append(cell)
            hours += cost.hours
        check.lines.append(
            f"{len(selection)} of {len(cells)} cells tonight, {hours:.2f} of {self.config.slice.gpu_hours:g} GPU-hours"
        )
        return selection

    @staticmethod
    def _blocked(plan: Plan, cell: PlannedCell) -> bool:
        return any(plan.reason(job) is not None for job in cell.jobs)

    def _train(self, cells: Sequence[PlannedCell], turn: int, check: Check) -> dict[str, tuple[float, Result]]:
        """{cell: (its task's headline metric, result)} of a new repetition of each: that of this day and turn (0 or 1)."""
        if not cells:
            return {}
        repetition = _FIRST_REPETITION + _REPETITIONS_A_DAY * self.today.toordinal() + turn
        plan = self._plan(self.config.slice.tables, self.config.slice.profile, repetition)
        names = {cell.name for cell in cells}
        plan.cells = [cell for cell in plan.cells if cell.name in names]
        self._measure(plan, self.store, check)
        scores = {}
        for cell in plan.cells:
            result = self.store.result(cell.jobs[0])
            measured = _headline(result)
            if result is not None and measured is not None:
                scores[cell.name] = measured.value, result
        return scores

    # ------------------------------------------------------------------------------------------------- plan and measure

    def _plan(self, tables: Sequence[str], profile: str, repetition: int) -> Plan:
        near = Path(tables[0]).parent if tables else None
        found = recipes.profile(profile, near=near)
        planner = Planner(
            found, (repetition,), data_dir=self.data_dir, cache=self.store.cache, device=self.device(found)
        )
        return planner.plan(load_all(tables))

    def _measure(self, plan: Plan, store: Store, check: Check) -> None:
        if not plan.cells:
            return
        try:
            transport = self.transport(store, self.device(plan.profile))
            outcome = runner.run(plan, store, transport, NullListener(), retry_failed=True)
        except UserError as error:  # the other checks still have a result to report
            check.failed.append(str(error))
            return
        check.failed += [
            f"{word(plan.jobs[key].kind)} {key[:12]}: {f.cause}: {f.message}" for key, f in outcome.failed.items()
        ]


class NullListener:
    """A listener that shows nothing."""

    def event(self, event: Event) -> None:
        pass

    def progress(self, running: Mapping[str, Progress | None]) -> None:
        pass

    def stopping(self) -> None:
        pass


def _headline(result: Result | None) -> Measurement | None:
    """The measurement that stands for an evaluation."""
    task = KINDS[result.job.kind].task if result is not None else None
    return result.value(task.headline) if result is not None and task is not None else None


def _summary(cell: str, value: float, again: tuple[float, Result] | None, chart: Chart | None, alarm: bool) -> str:
    text = f"{cell}: {value:.2f}"
    if again is not None:
        text += f", measured again: {again[0]:.2f}"
    if chart is not None and chart.nights > 1:
        text += f" (expected {chart.mean:.2f} ± {chart.spread:.2f} from {chart.nights} nights)"
    return text + (" **dropped**" if alarm else "")


def _regression(cell: str, drop: float, change: Change | None) -> list[str]:
    lines = [f"{cell}: {drop:.2f} points lower than its history"]
    if change is not None:
        lines.append(f"  since {change.bad.date} (good until {change.good.date}); commits {change.commits}")
        lines += [f"  {line}" for line in change.differences]
    return lines
