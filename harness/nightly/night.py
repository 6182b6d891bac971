"""The nightly: golden curves, kept checkpoints tested again, and a rotating slice of full trainings; then a verdict.

Each layer is cheaper and blunter than the next is dear and sharp. Curves must be equal. A checkpoint tested again may
differ by rounding. A training differs by its seed, so its number is held against its own history (nightly_statistics).
"""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from harness import ROOT, yamlfile
from harness.errors import Exit, Problems, UserError, nearest
from harness.jobs.context import Progress
from harness.jobs.job import Job, Measurement
from harness.jobs.kinds import KINDS
from harness.plan import cost as costs
from harness.plan.planner import Plan, PlannedCell, Planner
from harness.scheduler import run as runner
from harness.scheduler.transport import Event, Transport
from harness.spec import Spec
from harness.stats.control_charts import Chart, Limits, alarms, suspects
from harness.store.nights import Change, History, NightRecord, charts, locate, night
from harness.store.store import Result, Store
from harness.table import recipes
from harness.table.load import load as load_table
from harness.table.schema import Table
from harness.yamlfile import read

_FIRST = 1000  # repetitions of nights, apart from those of runs; the second measurement of a night is one further
_A_DAY = 2


class Golden(Spec):
    """Tests of golden curves, as pytest names them."""

    tests: tuple[str, ...] = ()


class Checkpoints(Spec):
    """Trainings whose weights are kept, tested again with today's code. `tolerance` in points."""

    tables: tuple[str, ...] = ()
    profile: str = "paper"
    tolerance: float = Field(0.02, ge=0)


class Slice(Spec):
    """Full trainings: as many cells as fit in a night's GPU-hours, longest unmeasured first."""

    tables: tuple[str, ...] = ()
    profile: str = "short"
    gpu_hours: float = Field(24, gt=0)
    accepted: dict[str, str] = {}  # {TABLE/ROW/COLUMN: date from which its new level is right}


class Nightly(Spec):
    """A nightly file. `notify`: a command, one argument per item, that gets the report on its standard input."""

    on: str | None = None  # cluster file; without it jobs run on this machine
    golden: Golden = Golden()
    checkpoints: Checkpoints = Checkpoints()
    slice: Slice = Slice()
    suspects: float = Field(Limits.suspects, gt=0)
    alarm: float = Field(Limits.alarm, gt=0, lt=1)
    notify: tuple[str, ...] = ()
    notify_always: bool = False

    @property
    def limits(self) -> Limits:
        return Limits(suspects=self.suspects, alarm=self.alarm)


def load(path: str | Path) -> Nightly:
    """A nightly file; Problems with everything wrong in it and in the tables that it names."""
    document = read(path)
    if not isinstance(document.data, dict):
        raise Problems([document.problem((), "a nightly file is a mapping; see slurm/nightly.yaml")])
    made: Nightly = yamlfile.validate(document, document.data, Nightly)
    problems, cells = [], set()
    for path in dict.fromkeys((*made.checkpoints.tables, *made.slice.tables)):
        try:
            table = load_table(path)
        except Problems as error:
            problems += error.problems
        else:
            cells |= {f"{table.id}/{row}/{column}" for row in table.rows for column in table.columns}
    for cell, date in made.slice.accepted.items():
        where = ("slice", "accepted", cell)
        if not problems and cell not in cells:
            problems.append(document.problem(where, f"none of the tables has this cell.{nearest(cell, cells)}"))
        try:
            check_date(date)
        except UserError as error:
            problems.append(document.problem(where, str(error)))
    if problems:
        raise Problems(problems)
    return made


@dataclass
class Check:
    """What one layer found. `measured`: how many numbers it is based on."""

    name: str
    measured: int = 0
    regressions: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


@dataclass
class Night:
    """One night's work. `transport` makes what runs jobs for a store; `hours` gives what jobs cost."""

    config: Nightly
    store: Store
    data_dir: Path | None
    device: object
    transport: Callable[[Store], Transport]
    each: int = 1
    today: datetime.date = field(default_factory=datetime.date.today)

    def run(self) -> tuple[list[Check], Exit]:
        """All layers; FAILED on a regression, NOTHING when nothing was measured, else OK."""
        layers = [self.golden(), self.checkpoints(), self.slice()]
        if any(layer.regressions for layer in layers):
            return layers, Exit.FAILED
        if not sum(layer.measured for layer in layers):
            return layers, Exit.NOTHING
        return layers, Exit.FAILED if any(layer.failed for layer in layers) else Exit.OK

    # ----------------------------------------------------------------------------------------------------- layer one

    def golden(self) -> Check:
        """Golden curves: the tests that compare them, exactly where the machine is that of the curves."""
        layer = Check("golden curves")
        for test in self.config.golden.tests:
            command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-rf", "-p", "no:cacheprovider", test]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            tail = [line for line in done.stdout.splitlines() if line.strip()][-1:] or [done.stderr.strip()[-200:]]
            layer.lines.append(f"{test}: {tail[0]}")
            if done.returncode == 0:
                layer.measured += 1
            elif done.returncode == 1:
                layer.measured += 1
                named = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
                layer.regressions += named or [f"{test} failed"]
            else:
                layer.failed.append(f"{test} did not run (pytest's exit code {done.returncode})")
        return layer

    # ----------------------------------------------------------------------------------------------------- layer two

    def checkpoints(self) -> Check:
        """Kept checkpoints under today's code: the same numbers as when they were trained, but for rounding."""
        layer, config = Check("kept checkpoints"), self.config.checkpoints
        plan = self._plan(config.tables, config.profile, 0)
        again = Store(self.store.root / "nightly/again" / self.today.isoformat())
        again.prepare()
        references: dict[str, tuple[str, Result]] = {}
        wanted = Plan(plan.profile, plan.repetitions)
        for cell in plan.wanted():
            for job in cell.jobs:
                kept = self._kept(plan, job)
                if kept is None:
                    continue
                trained, reference = kept
                references[job.key] = cell.name, reference
                link = again.folder(plan.jobs[job.needs[0]])
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(trained.folder.resolve(), target_is_directory=True)
                wanted.cells.append(PlannedCell(cell.cell, (job,)))
                wanted.jobs |= {key: plan.jobs[key] for key in (*job.needs, job.key)}
        self._measure(wanted, again, layer)
        for key, (name, reference) in references.items():
            result = again.result(wanted.jobs[key])
            before, now = _headline(reference), _headline(result)
            if before is None or now is None:
                continue
            layer.measured += 1
            text = f"{name}: {before.value:.3f} → {now.value:.3f}"
            if abs(now.value - before.value) > config.tolerance:
                layer.regressions.append(f"{text}, more than ± {config.tolerance}")
            layer.lines.append(text)
        return layer

    def _kept(self, plan: Plan, job: Job) -> tuple[Result, Result] | None:
        """(training, its evaluation) of an evaluation's configuration, of whatever code: the newest that has both."""
        if job.kind != "evaluate" or not job.needs:
            return None
        train = plan.jobs[job.needs[0]]
        tested = [r for r in self.store.versions(job) if r.job.needs]
        for trained in reversed(self.store.versions(train)):
            first = [r for r in tested if r.job.needs[0] == trained.job.key]
            if first:
                return trained, first[0]
        return None

    # --------------------------------------------------------------------------------------------------- layer three

    def slice(self) -> Check:
        """Full trainings of the cells that were longest not measured, within the budget, held against their history."""
        layer, config, limits = Check("full trainings"), self.config.slice, self.config.limits
        history, date = History(self.store.root), self.today.isoformat()
        written = history.nights()
        # of this night as little as of later ones, so that it can be started again
        known = {cell: [n for n in nights if n.date < date] for cell, nights in written.items()}
        first = self._chosen(self._plan(config.tables, config.profile, 0), known, layer)
        expected = charts(known, config.accepted, limits)
        tonight = self._trained(first, 0, layer)
        doubted = suspects(expected, {c: v for c, (v, _) in tonight.items()}, limits)
        again = self._trained([cell for cell in first if cell.name in doubted], 1, layer)
        values = {c: v for c, (v, _) in tonight.items()}
        found = alarms(expected, values, {c: v for c, (v, _) in again.items()}, limits)
        root = self.store.root
        made = [night(date, c, r, v, root=root, alarm=c in found) for c, (v, r) in tonight.items()]
        made += [night(date, c, r, v, root=root, alarm=True) for c, (v, r) in again.items() if c in found]
        seen = {(n.date, n.folder) for nights in written.values() for n in nights}
        history.add([n for n in made if (n.date, n.folder) not in seen])
        layer.measured = len(tonight)
        for cell, (value, _) in sorted(tonight.items()):
            layer.lines.append(_summary(cell, value, again.get(cell), expected.get(cell), cell in found))
        for cell, drop in found.items():
            change = locate([*known[cell], *(n for n in made if n.cell == cell)], root)
            layer.regressions += _regression(cell, drop, change)
        return layer

    def _chosen(self, plan: Plan, known: Mapping[str, Sequence[NightRecord]], layer: Check) -> list[PlannedCell]:
        """Cells in the order of their last night, until the budget is used; one of unknown cost at most."""
        cells = [c for c in plan.wanted() if c.jobs and c.jobs[0].kind == "evaluate" and not self._blocked(plan, c)]
        cells.sort(key=lambda c: known[c.name][-1].date if known.get(c.name) else "")
        chosen, hours, unknown = [], 0.0, 0
        for cell in cells:
            jobs = list({k: plan.jobs[k] for j in cell.jobs for k in (*j.needs, j.key)}.values())
            made = costs.cost(plan, jobs, self.store, device=self.device.kind, each=self.each)
            if made.unknown:
                unknown += 1
                if unknown > 1:
                    continue
            if hours + made.hours > self.config.slice.gpu_hours:
                continue
            chosen.append(cell)
            hours += made.hours
        layer.lines.append(
            f"{len(chosen)} of {len(cells)} cells tonight, {hours:.2f} of {self.config.slice.gpu_hours:g} GPU-hours"
        )
        return chosen

    @staticmethod
    def _blocked(plan: Plan, cell: PlannedCell) -> bool:
        return any(plan.reason(job) is not None for job in cell.jobs)

    def _trained(self, cells: Sequence[PlannedCell], turn: int, layer: Check) -> dict[str, tuple[float, Result]]:
        """{cell: (its task's headline metric, result)} of a fresh seed of each: that of this day and turn."""
        if not cells:
            return {}
        repetition = _FIRST + _A_DAY * self.today.toordinal() + turn
        plan = self._plan(self.config.slice.tables, self.config.slice.profile, repetition)
        names = {cell.name for cell in cells}
        plan.cells = [cell for cell in plan.cells if cell.name in names]
        self._measure(plan, self.store, layer)
        found = {}
        for cell in plan.cells:
            result = self.store.result(cell.jobs[0])
            measured = _headline(result)
            if result is not None and measured is not None:
                found[cell.name] = measured.value, result
        return found

    # ---------------------------------------------------------------------------------------------------------- both

    def _plan(self, tables: Sequence[str], profile: str, repetition: int) -> Plan:
        loaded: list[Table] = [load_table(path) for path in tables]
        near = Path(tables[0]).parent if tables else None
        planner = Planner(
            recipes.profile(profile, near=near),
            (repetition,),
            data_dir=self.data_dir,
            cache=self.store.cache,
            device=self.device,
        )
        return planner.plan(loaded)

    def _measure(self, plan: Plan, store: Store, layer: Check) -> None:
        if not plan.cells:
            return
        try:
            outcome = runner.run(plan, store, self.transport(store), NullListener(), retry_failed=True)
        except UserError as error:  # what the other layers found is still to be told
            layer.failed.append(str(error))
            return
        layer.failed += [
            f"{plan.jobs[key].kind} {key[:12]}: {f.cause}: {f.message}" for key, f in outcome.failed.items()
        ]


class NullListener:
    """Nobody watches at night."""

    def event(self, event: Event) -> None:
        pass

    def progress(self, running: Mapping[str, Progress | None]) -> None:
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


# ------------------------------------------------------------------------------------------------------------- report


def markdown(layers: Sequence[Check], verdict: Exit, date: datetime.date) -> str:
    """The night as a page."""
    regressions = [line for layer in layers for line in layer.regressions]
    failed = [line for layer in layers for line in layer.failed]
    told = {Exit.OK: "all well", Exit.NOTHING: "nothing was measured"}.get(verdict, "look at this")
    lines = [f"# Nightly of {date.isoformat()}: {told}", ""]
    for title, found in (("Worse than it should be", regressions), ("Did not run", failed)):
        if found:
            lines += [f"## {title}", "", *(f"{'' if line.startswith(' ') else '- '}{line}" for line in found), ""]
    for layer in layers:
        lines += [f"## {layer.name[0].upper()}{layer.name[1:]}: {layer.measured} measured", ""]
        lines += [f"- {line}" for line in layer.lines] + [""]
    return "\n".join(lines)


def notify(config: Nightly, page: str, verdict: Exit) -> str | None:
    """Hands the page to the command of the nightly file; gives what went wrong with that."""
    if not config.notify or (verdict == Exit.OK and not config.notify_always):
        return None
    try:
        done = subprocess.run(config.notify, input=page, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the notification was not sent: {error}"
    return f"the notification was not sent: {done.stderr.strip()}" if done.returncode else None


def check_date(text: str) -> datetime.date:
    """A date on the command line."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"'{text}' is not a date; write YYYY-MM-DD") from None
