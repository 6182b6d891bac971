"""How much memory the trainings of a plan need, and so on how many GPUs each is cheapest: counted, not measured."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.cli.progress import names
from harness.errors import OutputError, UserError
from harness.files import read_json, write_json
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.jobs.kinds import TrainConfig
from harness.plan.planner import Plan
from harness.store.store import Store
from harness.text import plural

USABLE = 0.92
"""Share of a GPU's memory that a training may take: the rest is CUDA's own, and what lies between its pieces."""


def lines(plan: Plan, jobs: Sequence[Job], store: Store, gib: float) -> list[str]:
    """On how many GPUs of `gib` GiB each training fits with its whole batch; the fewest are the cheapest.

    Fewer processes compute the same numbers with fewer collectives: one normalises over the batch by itself. Where nothing is
    to be trained, a line says so.
    """
    trainings = [job for job in jobs if job.kind == "train"]
    if not trainings:
        return ["memory: no training is to run, so there is nothing to count"]
    cache_file = store.cache / "memory.json"
    cache: dict[str, Any] = read_json(cache_file, cache=True) or {}
    labels, found, unknown = names(plan), [], []
    for job in trainings:
        label = labels.get(job.key, job.key[:8])
        try:
            found.append((label, *fewest_gpus(job, gib, cache)))
        except UserError as error:
            unknown.append(f"  {label}: {error}")
    with contextlib.suppress(OutputError):  # only a cache, for which no results folder is created
        if store.root.is_dir():
            write_json(cache_file, cache, durable=False)
    if not found:
        return ["memory: no training could be counted", *unknown]
    single = sum(count == 1 for _, count, _ in found)
    head = (
        f"memory: {single} of {plural(len(found), 'training')} fit one GPU of {gib:g} GiB with the whole batch, the cheapest "
        "shape (counted in float32; half precision takes less)"
    )
    return [head, *(f"  {label}: {_shape(count, need)}" for label, count, need in found), *unknown]


def _shape(count: int | None, need: float) -> str:
    if count is None:
        return f"does not fit: one image of its batch takes {need:.1f} GiB; recipe.accumulate or a smaller crop helps"
    return f"{need:.1f} GiB on {'one GPU' if count == 1 else f'each of {count} GPUs'}"


def fewest_gpus(job: Job, gib: float, cache: dict[str, Any]) -> tuple[int | None, float]:
    """(the smallest number of GPUs among which the batch divides and on which its part fits, GiB on each of them)

    (None, GiB) where not even one image per GPU fits. `cache`: {digest: GiB} of earlier counts, added to. UserError where
    a step cannot be counted: the method reads values, which nothing has that is not computed.
    """
    recipe = TrainConfig.model_validate(job.config).recipe
    largest = recipe.batch_size // recipe.accumulate
    need = 0.0
    for count in (n for n in range(1, largest + 1) if largest % n == 0):
        need = _gib(job, largest // count, several=count > 1, cache=cache)
        if need <= USABLE * gib:
            return count, need
    return None, need


def _gib(job: Job, images: int, *, several: bool, cache: dict[str, Any]) -> float:
    """GiB that a step of so many images in one piece takes; of several processes, with the copy of the gradients that
    travels between them."""
    parts: Mapping[str, Any] = {"config": {**job.config, "seed": 0}, "code": job.parts.get("code")}
    name = digest({**parts, "images": images, "several": several})
    if name not in cache:
        from harness.tasks.segmentation.step_count import count_step

        config = TrainConfig.model_validate(job.config)
        whole = config.recipe.model_copy(update={"accumulate": 1})
        try:
            step = count_step(config.model_copy(update={"recipe": whole}), images)
        except RuntimeError as error:  # torch's own, also NotImplementedError, where a value is read on `meta`
            raise UserError(f"not counted, since the method reads values while it trains ({error})") from None
        cache[name] = (step.peak_bytes + several * 4 * step.parameters) / 2**30
    return float(cache[name])
