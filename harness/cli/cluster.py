"""Commands on this machine or a cluster: what runs the jobs, what a plan costs there, and whether the cluster works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Exit
from harness.jobs.job import Job
from harness.plan import cost as costs
from harness.plan.planner import Plan
from harness.plan.request import PlanRequest
from harness.scheduler.slurm.ledger import Ledger
from harness.scheduler.slurm.remote import ClusterTarget
from harness.scheduler.slurm.transport import Slurm
from harness.store.store import Store
from harness.text import plural

if TYPE_CHECKING:
    from harness.scheduler.local import Local


def transport(request: PlanRequest, store: Store, slots: int | None) -> Local | Slurm:
    """What runs the request's jobs: this machine with so many slots (None: its own number), or its cluster."""
    target = _target(request)
    if target is None:
        from harness.scheduler.local import Local  # its server of jobs, which `plan` does not need

        device, each = request.resolve_device(), request.processes
        return Local(store, data_dir=request.data, device=device, slots=slots, gpus_per_job=each)
    target.check()
    return Slurm(store, target.cluster, data_dir=request.data, controller=target.controller)


def cost(
    request: PlanRequest, plan: Plan, jobs: Sequence[Job], store: Store, slots: int, budget: float | None
) -> list[str]:
    """The cost of a plan in lines, where a budget is set or GPUs are used; UserError where it is over the budget."""
    target, device = _target(request), request.resolve_device()
    if target is None and device.kind == "cpu" and budget is None:
        return []
    total = costs.cost(plan, jobs, store, device=device.card, gpus_per_job=request.processes, slots=slots)
    costs.check_budget(total, budget)
    return costs.lines(total, () if target is None else Ledger(store).waits())


def _target(request: PlanRequest) -> ClusterTarget | None:
    assert request.cluster is None or isinstance(request.cluster, ClusterTarget)
    return request.cluster


def detach(transport: Slurm, jobs: Sequence[Job], among: Mapping[str, Job]) -> Exit:
    """Submits and leaves; RESUMABLE where Slurm did not take all."""
    transport.start(jobs, among)
    if transport.held_count:
        print(
            f"{len(jobs) - transport.held_count} of {plural(len(jobs), 'job')} with Slurm, which takes no more just now:"
        )
        print(f"  {transport.refusal}")
        print("repeat the command for the others; python -m harness status shows how all stand")
        return Exit.RESUMABLE
    print(f"{plural(len(jobs), 'job')} with Slurm; see python -m harness status, or run again to follow")
    return Exit.OK


def doctor(target: ClusterTarget, results: Path, data_dir: Path | None) -> Exit:
    """Checks a cluster with one small job, and prints what works and what does not."""
    from harness.scheduler.slurm.probe import examine

    target.check()
    print(f" ✓ {target.document.file} asks for nothing that partition '{target.cluster.partition}' lacks")
    checks = examine(target.cluster, target.controller, Store(results), data_dir)
    for check in checks:
        print(f" {'✓' if check.ok else '✗' if check.ok is False else '–'} {check.text}")
    return Exit.OK if all(check.ok is not False for check in checks) else Exit.MISSING
