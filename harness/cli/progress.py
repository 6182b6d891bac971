"""Terminal output of a run: plan summary, live progress, outcome per job. Plain lines where the output is no terminal."""

from __future__ import annotations

import collections
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.data.completeness import gaps
from harness.jobs.context import Progress
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS, OWN_BACKBONE, word
from harness.jobs.outside_names import without_folder
from harness.plan import reasons
from harness.plan.durations import Estimate, durations
from harness.plan.planner import Plan
from harness.scheduler.run import Outcome, Queue
from harness.scheduler.transport import Event
from harness.store.interruption import interruption
from harness.store.store import Store
from harness.table.metrics import METRICS
from harness.text import duration, plural, printable

if TYPE_CHECKING:
    from rich.live import Live

SAVING = "saving, Ctrl-C again to drop"
_PLAIN_EVERY = 15.0  # seconds between progress lines of one job when not on a terminal


def progress_line(p: Progress, elapsed: float) -> str:
    """`14/20  38 img/s  loss 1.92 (main 1.71, auxiliary 0.21), …  eta 2.0 s` of a job that started `elapsed` seconds ago."""
    left = seconds_left(p, elapsed)
    rate = f"  {p.rate:.3g} img/s" if p.rate else ""
    return f"{p.done}/{p.total}{rate}  {p.text}  eta {duration(left)}"


def seconds_left(p: Progress, elapsed: float) -> float:
    """What a job that started `elapsed` seconds ago still takes: as it says, else at its pace so far."""
    return elapsed / max(p.done, 1) * (p.total - p.done) if p.left is None else p.left


class Overall:
    """How long all jobs of a run still take: at the stored durations of jobs like them, else at those of this run's own.

    `expected`: {key: seconds, None where no job like it has run} of the jobs to run.
    """

    def __init__(self, expected: Mapping[str, float | None]) -> None:
        self._expected = dict(expected)
        self._took: list[float] = []

    def end(self, key: str, seconds: float) -> None:
        """A job has ended, after so many seconds."""
        self._expected.pop(key, None)
        if seconds:
            self._took.append(seconds)

    def seconds(self, running: Mapping[str, float | None]) -> float | None:
        """Seconds until all have ended, as many at once as are running now; None where nothing tells."""
        usual = sum(self._took) / len(self._took) if self._took else None
        total = 0.0
        for key, expected in {**self._expected, **dict.fromkeys(running.keys() - self._expected.keys())}.items():
            own = running.get(key)
            known = own if own is not None else expected if expected is not None else usual
            if known is None:
                return None
            total += known
        return total / max(1, len(running))

    def line(self, done: int, total: int, running: Mapping[str, float | None], stopping: bool = False) -> str:
        """`12/64 jobs, 2 running, eta 3 min 12 s`; while a run stops, what that means."""
        if stopping:
            return f"   {SAVING}"
        seconds = self.seconds(running)
        eta = "not known yet" if seconds is None else duration(seconds)
        return f"   {done}/{total} jobs, {len(running)} running, eta {eta}"


def names(plan: Plan) -> dict[str, str]:
    """A short name for every job, by key: the first cell that shows it, and its kind: `fcn / ade20k · test`."""
    several = len(plan.tables) > 1
    job_names: dict[str, str] = {}
    for cell in plan.cells:
        for repetition, job in zip(plan.repetitions, cell.jobs):
            for key in (job.key, *job.needs):
                member = plan.jobs[key]
                column = cell.column if KINDS[member.kind].trains or member.kind == "peer" else ""
                where = " / ".join(w for w in (cell.table.id if several else "", cell.row, column) if w)
                which = f" · repetition {repetition + 1}" if len(plan.repetitions) > 1 and column else ""
                job_names.setdefault(key, f"{where} · {word(member.kind)}{which}")
    return job_names


def job_lines(plan: Plan, jobs: Sequence[Job], store: Store) -> list[str]:
    """A line per job; of one that has stopped half-way how far it came and what it goes on from."""
    job_names = names(plan)
    stopped = [(job, interruption(job, store.folder(job))) for job in jobs]
    return [f"   {job_names[job.key]}{f': {found}' if found is not None else ''}" for job, found in stopped]


def plan_lines(plan: Plan, todo: Queue, estimate: Estimate, slots: int) -> list[str]:
    """The plan in a few lines: its cells, its distinct jobs by kind (`69 of 104 trainings`: the others are shared), how
    many are measured, and how long the rest will take."""
    lines = []
    for table in plan.tables:
        cells = plan.of(table)
        rows, columns = {c.row for c in cells}, {c.column for c in cells}
        lines.append(f"{table.name}: {table.title} · {plural(len(rows), 'row')} × {plural(len(columns), 'column')}")
    wanted = plan.cells_to_measure()
    jobs = {j.key: j for cell in wanted for j in cell.jobs}
    jobs |= {k: plan.jobs[k] for j in list(jobs.values()) for k in j.needs}
    uses = [plan.jobs[key] for cell in wanted for job in cell.jobs for key in (*job.needs, job.key)]
    used, distinct = (collections.Counter(job.kind for job in some) for some in (uses, jobs.values()))
    kinds = [
        plural(distinct[name], kind.noun)
        if distinct[name] == used[name]
        else f"{distinct[name]} of {plural(used[name], kind.noun)}"
        for name, kind in KINDS.items()
        if distinct[name]
    ]
    pending = {job.key for job in todo.run} | set(todo.blocked) | set(todo.failed)
    measured = len(jobs) - len(pending & set(jobs))
    saved = f" instead of {len(uses)}" if len(uses) > len(jobs) else ""
    numbers = sum(len(cell.jobs) for cell in wanted)
    lines.append(
        f"{plural(len(wanted), 'cell')}, {plural(numbers, 'number')} → {plural(len(jobs), 'distinct job')}{saved}"
        f" ({', '.join(kinds) or 'none'}); {measured} already measured, {len(todo.run)} to run"
    )
    for state, text in (
        ("cited", "quoted from other papers"),
        ("awaits", "with nothing to run (the report says why)"),
        ("on request", ""),
    ):
        cells = [c for c in plan.cells if c.state == state]
        if cells:
            names = ", ".join(sorted({c.column for c in cells}))
            lines.append(f"{plural(len(cells), 'cell')} {text or f'only on request (--columns {names})'}")
    if not plan.profile.comparable or plan.profile.gate is not None:
        lines.append(f"profile {plan.profile.name}: {plan.profile.about}")
    lines += _replaced_backbones(plan)
    missing = dict.fromkeys(gap for job in jobs.values() for gap in gaps(job))
    lines += [f"warning: incomplete data, {gap}; its numbers are not comparable with the paper" for gap in missing]
    if todo.run:
        lines.append(_estimate_line(estimate, slots))
    lines += reasons.lines(plan.reasons(plan.jobs[key]) for key in todo.blocked)
    if todo.failed:
        lines.append(f"{plural(len(todo.failed), 'job')} failed before and will not be repeated; --retry-failed does")
    return lines


def _replaced_backbones(plan: Plan) -> list[str]:
    """What a profile builds in place of the rows' own backbones, in a line: `resnet18 in place of resnet50_v1c (8 rows)`."""
    rows: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for cell in plan.cells_to_measure():
        for job in cell.jobs:
            backbone, own = job.config["model"].get("backbone"), cell.cell.backbone
            if own is not None and backbone not in (None, OWN_BACKBONE, own):
                rows.setdefault((backbone, own), set()).add((cell.table.id, cell.row))
    texts = [
        f"{without_folder(new)} in place of {without_folder(own)} ({plural(len(where), 'row')})"
        for (new, own), where in sorted(rows.items())
    ]
    return [f"profile {plan.profile.name} builds {', '.join(texts)}"] if texts else []


def _estimate_line(estimate: Estimate, slots: int) -> str:
    if not estimate.known_jobs:
        return "estimated time: none yet, no job like these has been measured here"
    text = f"estimated time: {duration(estimate.wall(slots))} on {plural(slots, 'slot')}, from stored durations"
    return text + (
        f" (without {plural(estimate.unknown_jobs, 'job')} unlike any measured)" if estimate.unknown_jobs else ""
    )


class Counter:
    """A progress line: called with the name of the work, how much is done and how much there is.

    On a terminal the line is rewritten; elsewhere each work is printed once, when it is complete.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._last = 0.0

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        now, last, what = time.monotonic(), done >= total, printable(what)
        if self._terminal and (last or now - self._last > 0.1):
            self._last = now
            print(f"\r\x1b[K{what} {done}/{total}", end="", flush=True)
        elif last and not self._terminal:
            print(f"{what} {done}/{total}", flush=True)


class Console:
    """The listener of a run on the terminal. `plan` names the jobs; `store` holds the results of those that are done."""

    def __init__(self, plan: Plan, store: Store, todo: Queue) -> None:
        self._plan, self._store = plan, store
        self._names = names(plan)
        self._left = self._all = len(todo.run)
        self._overall = Overall(durations(todo.run, store))
        self._started: dict[str, float] = {}
        self._last_line: dict[str, float] = {}
        self._live: Live | None = None
        self._stopping = False
        self._terminal = sys.stdout.isatty()

    def __enter__(self) -> Console:
        if self._terminal:
            from rich.live import Live

            self._live = Live(refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, event: Event) -> None:
        key = event.job.key
        if event.state == "started":
            self._started[key] = time.monotonic()
            return
        if event.state != "retried":
            self._overall.end(key, time.monotonic() - self._started.get(key, time.monotonic()))
        name = self._names.get(key, word(event.job.kind))
        if event.state == "retried":
            assert event.failure is not None
            self._started.pop(key, None)
            self._print(f" ↻ {name:<40} {event.failure.cause}: {event.failure.message}; it goes on")
            return
        self._left -= 1
        took = duration(time.monotonic() - self._started.pop(key, time.monotonic()))
        if event.state == "done":
            self._print(self._two_columns("✓", name, f"{self._summary(event.job):<44} {took}"))
        elif event.state == "interrupted":
            self._print(f" ‖ {name:<40} stopped after saving; the same command resumes it")
        else:
            assert event.failure is not None
            log = f" (see {event.failure.log})" if event.failure.log else ""
            self._print(f" ✗ {name:<40} {event.failure.cause}: {event.failure.message}{log}")

    def progress(self, running: Mapping[str, Progress | None]) -> None:
        if self._live is not None:
            from rich.text import Text

            lines = [self._line(key, p) for key, p in running.items()]
            lines.append(
                self._overall.line(self._all - self._left, self._all, self._times_left(running), self._stopping)
            )
            self._live.update(Text(printable("\n".join(lines))))
            return
        now = time.monotonic()
        for key, p in running.items():
            if now - self._last_line.setdefault(key, now) >= _PLAIN_EVERY:
                self._last_line[key] = now
                self._print(self._line(key, p))

    def _times_left(self, running: Mapping[str, Progress | None]) -> dict[str, float | None]:
        """{key: seconds that a running job still takes; None where it has not said anything}"""
        left: dict[str, float | None] = {}
        for key, p in running.items():
            elapsed = time.monotonic() - self._started.get(key, time.monotonic())
            left[key] = None if p is None or not p.done else seconds_left(p, elapsed)
        return left

    def _line(self, key: str, p: Progress | None) -> str:
        name = self._names.get(key, "job")
        elapsed = time.monotonic() - self._started.get(key, time.monotonic())
        if p is None or not p.done:
            return self._two_columns("▸", name, f"starting, {duration(elapsed)}")
        return self._two_columns("▸", name, progress_line(p, elapsed))

    def _two_columns(self, mark: str, name: str, text: str) -> str:
        """`mark name text` on one line where that fits on the terminal, else the text wrapped below the name."""
        one = f" {mark} {name:<40} {text}".rstrip()
        if not self._terminal or len(one) <= (width := shutil.get_terminal_size().columns):
            return one
        below = textwrap.wrap(" ".join(text.split()), width, initial_indent="     ", subsequent_indent="     ")
        return "\n".join([f" {mark} {name}", *below])

    def stopping(self) -> None:
        self._stopping = True
        self._print(SAVING)

    def _summary(self, job: Job) -> str:
        result = self._store.result(job)
        if result is None:
            return ""
        formats = _headline(job.kind) | {"train_throughput": "{:.3g} images/s", "final_loss": "loss {:.3f}"}
        formats |= {"latency": "{:.0f} ms", "peak_memory": "{:.0f} MiB"}
        texts = [text.format(m.value) for name, text in formats.items() if (m := result.value(name)) is not None]
        for name, unit, scale in (("parameters", "M", 1e6), ("flops", "G", 1e9)):
            if (m := result.value(name)) is not None:
                texts.append(f"{m.value / scale:.2f} {unit} {name}")
        return " · ".join(texts)

    def _print(self, line: str) -> None:
        line = printable(line)
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)


def _headline(kind: str) -> dict[str, str]:
    """{name: format} of the metric that stands for a result of the kind's task."""
    task = KINDS[kind].task
    if task is None:
        return {}
    metric = METRICS[task.headline]
    return {metric.name: f"{metric.abbreviation or metric.title} {{:.{metric.decimals}f}} {metric.unit}"}


def closing(plan: Plan, store: Store, outcome: Outcome) -> list[str]:
    """The outcome of the run in one or two lines."""
    wanted = plan.cells_to_measure()
    measured = sum(all(store.result(job) is not None for job in cell.jobs) for cell in wanted)
    parts = [f"{measured} of {plural(len(wanted), 'cell')} measured in {duration(outcome.seconds)}"]
    if outcome.failed:
        parts.append(f"{plural(len(outcome.failed), 'job')} failed · repeat with --retry-failed")
    if outcome.blocked:
        parts.append(f"{plural(len(outcome.blocked), 'job')} could not run here")
    lines = [" · ".join(parts)]
    if outcome.stopped:
        lines.append("interrupted; the same command resumes")
    return lines
