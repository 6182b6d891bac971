"""What a plan costs before it is run: GPU-hours from stored durations, else from measured throughput; and a budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.data import catalogue
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS, TrainConfig
from harness.plan.durations import durations
from harness.plan.planner import Plan
from harness.store.store import Result, Store
from harness.text import plural


@dataclass(frozen=True)
class Cost:
    """GPU-hours (without GPUs: hours of one process) of the known jobs, in all and of each table's own and shared jobs."""

    hours: float
    tables: Mapping[str, float]
    measured: int  # jobs known from stored durations
    inferred: int  # jobs known from the throughput of other trainings
    unknown: int  # jobs that are like nothing measured; not in the hours
    parallel: int  # GPUs (processes) at work at once
    gpus: bool

    @property
    def wall(self) -> float:
        """Hours until the end, without waiting for the cluster."""
        return self.hours / max(1, self.parallel)


def cost(plan: Plan, jobs: Sequence[Job], store: Store, *, device: str, each: int = 1, slots: int = 1) -> Cost:
    """The cost of `jobs` where each training and evaluation occupies `each` GPUs and `slots` jobs run at once.

    Only what was measured on the same kind of `device` (cpu, cuda) counts.
    """
    known = durations(jobs, store, device=device)
    trained = [r for r in store.results("train") if _on(r, device)]
    inferred = {j.key: s for j in jobs if known[j.key] is None and (s := by_throughput(j, trained)) is not None}
    hours: dict[str, float] = {}
    for job in jobs:
        seconds = known[job.key] if known[job.key] is not None else inferred.get(job.key)
        if seconds is not None:
            hours[job.key] = seconds / 3600 * (each if KINDS[job.kind].trains else 1)
    tables = {}
    for table in plan.tables:
        own = {key for cell in plan.of(table) for job in cell.jobs for key in (job.key, *job.needs)}
        tables[table.id] = sum(h for key, h in hours.items() if key in own)
    measured = sum(seconds is not None for seconds in known.values())
    unknown = len(jobs) - len(hours)
    return Cost(sum(hours.values()), tables, measured, len(inferred), unknown, slots * each, device == "cuda")


def _on(result: Result, device: str) -> bool:
    return str(result.environment.get("device", "")).startswith(device)


def by_throughput(job: Job, trained: Iterable[Result]) -> float | None:
    """Seconds of a training from the images per second of others: of its method, else of its backbone; scaled by crop area.

    None where nothing comparable was trained. An estimate: it ignores start-up, checkpoints and the cost of larger heads.
    """
    if job.kind != "train":
        return None
    config = TrainConfig.model_validate(job.config)
    images = _images(config)
    if images is None:
        return None
    recipe = config.recipe
    steps = max(1, round(recipe.total_iterations(images) * (config.shorten or 1)))
    pixels = recipe.augmentation.crop[0] * recipe.augmentation.crop[1]
    for name in ("name", "backbone"):
        rates = []
        for result in trained:
            other: Any = result.job.config
            throughput = result.value("train_throughput")
            if throughput is None or other["model"][name] != job.config["model"][name]:
                continue
            height, width = other["recipe"]["augmentation"]["crop"]
            rates.append(throughput.value * height * width)
        if rates:
            return steps * recipe.batch_size * pixels / median(rates)
    return None


def _images(config: TrainConfig) -> int | None:
    """Images of the training split, as published or as they are made."""
    if config.data.synthetic is not None:
        return config.data.synthetic.train_images
    return catalogue.find(config.data.name).splits.get(config.recipe.train_split)


def lines(made: Cost, waits: Sequence[float] = ()) -> list[str]:
    """The cost in a line or two; `waits`: seconds that earlier jobs waited for this cluster."""
    unit = "GPU-hours" if made.gpus else "process-hours"
    if not made.hours:
        return [f"cost: unknown, {_unlike(made)}"] if made.unknown else []
    each = ", ".join(f"{name} {hours:.3g}" for name, hours in made.tables.items())
    several = f" ({each})" if len(made.tables) > 1 else ""
    sources = [f"{plural(made.measured, 'job')} from stored durations"] * bool(made.measured)
    sources += [f"{made.inferred} from throughput"] * bool(made.inferred)
    sources += [f"{made.unknown} unknown and not counted"] * bool(made.unknown)
    found = [f"cost: {made.hours:.3g} {unit}{several}; {', '.join(sources)}"]
    wait = f"; earlier jobs waited {median(waits) / 60:.1f} min in its queue (median of {len(waits)})" if waits else ""
    return [*found, f"      about {made.wall:.3g} h with {made.parallel} at once{wait}"]


def _unlike(made: Cost) -> str:
    return f"{plural(made.unknown, 'job')} unlike any measured on such a device"


def check_budget(made: Cost, budget: float | None) -> None:
    """UserError where the plan costs more than the budget, or where that cannot be known."""
    if budget is None:
        return
    unit = "GPU-hours" if made.gpus else "process-hours"
    if made.hours > budget:
        raise UserError(
            f"the plan needs {made.hours:.3g} {unit}, more than --budget {budget:g}; choose fewer rows or columns, or raise it"
        )
    if made.unknown:
        raise UserError(
            f"--budget {budget:g} cannot be kept for sure: {_unlike(made)}; "
            "measure one of each first, or leave --budget out"
        )
