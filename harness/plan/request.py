"""What is asked of a plan, as one value, and the plan that answers it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness import environment
from harness.environment import Device
from harness.errors import UserError
from harness.plan.equivalence import equivalence
from harness.plan.planner import Plan, Planner, Selection
from harness.plan.settings import Settings
from harness.plan.shares import block_uneven
from harness.recipes.profile import Profile
from harness.store.store import Store
from harness.table import recipes
from harness.table.load import load_all
from harness.text import plural


def local_device(prefer: str, *, otherwise: str = "auto") -> Device:
    """The device of this machine; UserError where the one asked for by name is not there. `otherwise`: what auto means."""
    device, asked = environment.device(prefer, otherwise=otherwise), asked_device(prefer, otherwise)
    if asked not in ("auto", device.kind):
        raise UserError(
            f"--device {asked}: this machine has no NVIDIA GPU that a process may use (nvidia-smi lists none, or "
            "CUDA_VISIBLE_DEVICES hides them); say --device cpu, or --on CLUSTER (python -m harness doctor)"
        )
    return device


def asked_device(prefer: str, otherwise: str = "auto") -> str:
    """The device that is asked for by name: --device, else HARNESS_DEVICE, else the profile's; auto where none is."""
    return prefer if prefer != "auto" else os.environ.get(environment.DEVICE_VARIABLE) or otherwise


class Target(Protocol):
    """What a plan needs to know of a cluster that is to run it."""

    def device(self, prefer: str) -> Device:
        """The device of its nodes; UserError where they lack the preferred one."""
        ...

    @property
    def processes(self) -> int:
        """Of a training, each with a GPU where there are any."""
        ...

    def block(self, plan: Plan) -> None:
        """Marks the jobs of the plan that it cannot run."""
        ...


@dataclass(frozen=True)
class PlanRequest:
    """Which cells to measure, how often, from what data, and where.

    `tables`: table files; `rows`, `columns`: globs, of which a name must match one, and empty means all;
    `repetitions`: how often each training is repeated, each time with another seed; `data`: the folder of the datasets;
    `results`: the folder of the store; `device`: `auto`, `cpu` or `cuda`; `cluster`: None is this machine; `gpus_per_job`: of
    a training or test on this machine, None is one; `settings`: what is set instead of the files, as `recipe.iterations=100`
    (harness.plan.settings).
    """

    tables: tuple[str, ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    profile: str = "paper"
    repetitions: int = 1
    data: Path | None = None
    results: Path = Path("results")
    device: str = "auto"
    cluster: Target | None = None
    gpus_per_job: int | None = None
    settings: tuple[str, ...] = ()

    @property
    def processes(self) -> int:
        """Of each training and test."""
        return self.cluster.processes if self.cluster is not None else self.gpus_per_job or 1

    def slots(self, jobs: int | None) -> int:
        """How many jobs run at once, of which the user may have said `jobs`.

        UserError where the GPUs do not suffice, or where --gpus-per-job is not for here.
        """
        device, each = self.resolve_device(), self.gpus_per_job
        if each is None:
            return jobs or device.slots
        if self.cluster is not None:
            raise UserError("--gpus-per-job is for this machine; on a cluster the key 'gpus' of its file says how many")
        if device.kind == "cuda":
            if each > 1 and each * (jobs or 1) > device.slots:
                many = f"{plural(jobs or 1, 'job')} at once with {plural(each, 'GPU')} each"
                raise UserError(
                    f"--gpus-per-job {each}: {many}, but a process may use {plural(device.slots, 'GPU')} of this machine "
                    "(CUDA_VISIBLE_DEVICES may hide some); ask for fewer, or use a cluster: --on CLUSTER"
                )
        elif each > 1 and self.asked_device == "auto":
            raise UserError(
                f"--gpus-per-job {each}: this machine has no NVIDIA GPU that a process may use (python -m harness doctor); "
                "--device cpu shares each training among so many processes on its CPUs"
            )
        return jobs or max(1, device.slots // each)

    def resolve_device(self) -> Device:
        """The device of this machine or of the cluster's nodes; UserError where the one asked for is not there."""
        if self.cluster is not None:
            return self.cluster.device(self.device)
        return local_device(self.device, otherwise=self.resolve_profile().device)

    @property
    def asked_device(self) -> str:
        """The device that is asked for by name, or auto."""
        return asked_device(self.device, self.resolve_profile().device)

    def resolve_profile(self) -> Profile:
        """The profile, from beside the tables or from those shipped; UserError where there is none of that name."""
        return recipes.profile(self.profile, near=Path(self.tables[0]).parent if self.tables else None)


def plan_of(request: PlanRequest, *, cache: Path | None = None) -> tuple[Plan, Store]:
    """The plan of the request, and its store; Problems with the errors of all its tables at once.

    `cache`: where digests of code and data are kept, instead of below the results folder.
    """
    tables = load_all(request.tables)
    store, device = Store(request.results), request.resolve_device()

    def planner_of(profile: Profile, repetitions: Sequence[int]) -> Planner:
        return Planner(profile, tuple(repetitions), data_dir=request.data, cache=cache or store.cache, device=device)

    profile = request.resolve_profile()
    if profile.gate is not None:
        shown = equivalence(profile, planner_of, store, device.kind)
        profile = profile.model_copy(update={"comparable": shown.passed, "about": f"{profile.about}; {shown.line()}"})
    planner = planner_of(profile, range(request.repetitions))
    planner.settings = Settings.parse(request.settings)
    plan = planner.plan(tables, Selection(request.rows, request.columns))
    if request.cluster is not None:
        request.cluster.block(plan)
    block_uneven(plan, request.processes)
    return plan, store
