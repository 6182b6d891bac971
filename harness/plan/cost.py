"""Estimated cost of a plan: GPU-hours from stored durations, else from measured throughput, else from counted FLOPs; and the
check of a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.data import catalogue
from harness.environment import Device
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.kinds import KINDS, Data, TrainConfig
from harness.plan.durations import durations, processes_of
from harness.plan.forecast import Forecast
from harness.plan.planner import Plan
from harness.store.store import Result, Store
from harness.text import plural


@dataclass(frozen=True)
class Cost:
    """GPU-hours (without GPUs: hours of one process) of the known jobs, in all and of each table's own and shared jobs."""

    hours: float
    tables: Mapping[str, float]
    measured_jobs: int  # jobs known from stored durations
    inferred_jobs: int  # jobs known from the throughput of other trainings
    forecast_jobs: int  # jobs known from counted FLOPs alone
    unknown_jobs: int  # jobs unlike any measured one; not in the hours
    parallel: int  # GPUs (processes) at work at once
    gpus: bool

    @property
    def wall(self) -> float:
        """Hours until the end, without waiting for the cluster."""
        return self.hours / max(1, self.parallel)


def cost(plan: Plan, jobs: Sequence[Job], store: Store, *, device: str, gpus_per_job: int = 1, slots: int = 1) -> Cost:
    """The cost of `jobs` where each training and evaluation occupies `gpus_per_job` GPUs and `slots` jobs run at once.

    `device`: of what was measured, that on this kind (cpu, cuda) or card (cuda: NVIDIA H200) counts.
    """
    return costs(plan, [jobs], store, device=device, gpus_per_job=gpus_per_job, slots=slots)[0]


def costs(
    plan: Plan, groups: Sequence[Sequence[Job]], store: Store, *, device: str, gpus_per_job: int = 1, slots: int = 1
) -> list[Cost]:
    """The cost of each group of jobs by itself; what the store holds is read once."""
    every_job = list({job.key: job for jobs in groups for job in jobs}.values())
    measured = durations(every_job, store, device=device, processes=gpus_per_job)
    training_results = [r for r in store.results("train") if _on(r, device)]
    forecast = Forecast(device, training_results)
    hours: dict[str, float] = {}
    source_of: dict[str, str] = {}
    for job in every_job:
        seconds = measured[job.key]
        estimates = {
            "measured": None if seconds is None else seconds * (gpus_per_job if KINDS[job.kind].trains else 1),
            "inferred": by_throughput(job, training_results),
            "forecast": forecast.gpu_seconds(job, _images(job)),
        }
        source = next((name for name, value in estimates.items() if value is not None), None)
        if source is not None:
            hours[job.key], source_of[job.key] = (estimates[source] or 0.0) / 3600, source
    table_keys = {
        t.id: {k for cell in plan.of(t) for job in cell.jobs for k in (job.key, *job.needs)} for t in plan.tables
    }
    found = []
    for jobs in groups:
        known = {job.key: hours[job.key] for job in jobs if job.key in hours}
        sources = Counter(source_of[key] for key in known)
        tables = {name: sum(h for key, h in known.items() if key in keys) for name, keys in table_keys.items()}
        counts = sources["measured"], sources["inferred"], sources["forecast"], len(jobs) - len(known)
        found.append(Cost(sum(known.values()), tables, *counts, slots * gpus_per_job, device.startswith("cuda")))
    return found


def _on(result: Result, device: str) -> bool:
    return str(result.environment.get("device", "")).startswith(device)


def by_throughput(job: Job, training_results: Iterable[Result]) -> float | None:
    """Seconds × GPUs of a training from the images per second of others of its method on its backbone, scaled by crop area.

    None where nothing comparable was trained. An estimate: it ignores start-up and checkpoints.
    """
    if job.kind != "train":
        return None
    config = TrainConfig.model_validate(job.config)
    images = _images(job)
    if images is None:
        return None
    recipe = config.recipe
    steps = max(1, round(recipe.total_iterations(images) * (config.shorten or 1)))
    pixels = recipe.augmentation.crop[0] * recipe.augmentation.crop[1]
    rates = []
    for result in training_results:
        other: Any = result.job.config
        throughput = result.value("train_throughput")
        same = all(other["model"][name] == job.config["model"][name] for name in ("name", "backbone", "output_stride"))
        if throughput is None or not same or other["recipe"]["precision"] != recipe.precision:
            continue
        height, width = other["recipe"]["augmentation"]["crop"]
        rates.append(throughput.value * height * width / processes_of(result))
    return steps * recipe.batch_size * pixels / median(rates) if rates else None


PAPER_SCALE = 1e10
"""Pixels that a training sees above which it is one for a GPU: two CPU cores need most of a day for them."""


def pixels_of(job: Job) -> float:
    """Pixels that a training sees, in all; 0 of other jobs, and where the number of its images is not known."""
    if job.kind != "train":
        return 0.0
    config = TrainConfig.model_validate(job.config)
    images = _images(job)
    if images is None and config.recipe.iterations is None:
        return 0.0
    recipe = config.recipe
    steps = max(1, round(recipe.total_iterations(images or 0) * (config.shorten or 1)))
    return float(steps * recipe.batch_size * recipe.augmentation.crop[0] * recipe.augmentation.crop[1])


def unasked_cpu(jobs: Iterable[Job], prefer: str, device: Device) -> str:
    """What to say where trainings of a paper's length would run on a CPU without anybody having asked for it; else ''."""
    large = [job for job in jobs if pixels_of(job) > PAPER_SCALE] if prefer == "auto" and device.kind == "cpu" else []
    if not large:
        return ""
    return (
        f"{plural(len(large), 'training')} of a paper's length would run on this machine's CPU, which has no GPU: that takes "
        "days or weeks. Say --device cpu if that is meant, --on CLUSTER to use a cluster's GPUs, --profile short for a "
        "tenth, or --profile smoke to try everything in minutes"
    )


def _images(job: Job) -> int | None:
    """Images of the split that a job trains or tests on, as published or as they are made; None for a job without data."""
    if "data" not in job.config:
        return None
    data = Data.model_validate(job.config["data"])
    trains = job.kind == "train"
    scenes = data.scenes()
    if scenes is not None:
        return scenes.train_images if trains else scenes.test_images
    split = job.config["recipe"]["train_split"] if trains else job.config["protocol"]["split"]
    return catalogue.find(data.name).splits.get(split)


def lines(cost: Cost, waits: Sequence[float] = ()) -> list[str]:
    """The cost in a line or two; `waits`: seconds that earlier jobs waited for this cluster."""
    unit = "GPU-hours" if cost.gpus else "process-hours"
    if not cost.hours:
        return [f"cost: unknown, {_unlike(cost)}"] if cost.unknown_jobs else []
    per_table = ", ".join(f"{name} {hours:.3g}" for name, hours in cost.tables.items())
    several = f" ({per_table})" if len(cost.tables) > 1 else ""
    sources = [f"{plural(cost.measured_jobs, 'job')} from stored durations"] * bool(cost.measured_jobs)
    sources += [f"{cost.inferred_jobs} from throughput"] * bool(cost.inferred_jobs)
    sources += [f"{cost.forecast_jobs} from counted FLOPs (a first estimate, wrong by half at times)"] * bool(
        cost.forecast_jobs
    )
    sources += [f"{cost.unknown_jobs} unknown and not counted"] * bool(cost.unknown_jobs)
    first = [f"cost: {cost.hours:.3g} {unit}{several}; {', '.join(sources)}"]
    wait = f"; earlier jobs waited {median(waits) / 60:.1f} min in its queue (median of {len(waits)})" if waits else ""
    return [*first, f"      about {cost.wall:.3g} h with {cost.parallel} at once{wait}"]


def _unlike(cost: Cost) -> str:
    return f"{plural(cost.unknown_jobs, 'job')} unlike any measured on such a device"


def check_budget(cost: Cost, budget: float | None) -> None:
    """UserError where the plan costs more than the budget, or where that cannot be known."""
    if budget is None:
        return
    unit = "GPU-hours" if cost.gpus else "process-hours"
    if cost.hours > budget:
        raise UserError(
            f"the plan needs {cost.hours:.3g} {unit}, more than --budget {budget:g}; choose fewer rows or columns, or raise it"
        )
    if cost.unknown_jobs:
        raise UserError(
            f"--budget {budget:g} cannot be kept for sure: {_unlike(cost)}; "
            "measure one of each first, or leave --budget out"
        )
