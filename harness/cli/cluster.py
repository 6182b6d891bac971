"""What commands say about a cluster: what a plan would cost there, and whether it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.environment import Device
from harness.errors import Exit
from harness.jobs.job import Job
from harness.plan import cost as costs
from harness.plan.planner import Plan
from harness.scheduler.slurm.ledger import Ledger
from harness.scheduler.slurm.remote import ClusterTarget
from harness.scheduler.slurm.transport import Slurm
from harness.store.store import Store
from harness.text import plural


def cost(
    place: ClusterTarget | None,
    device: Device,
    plan: Plan,
    jobs: Sequence[Job],
    store: Store,
    slots: int,
    budget: float | None,
) -> list[str]:
    """The cost of a plan in lines, where one was asked for or GPUs are used; UserError where it is over the budget."""
    if place is None and device.kind == "cpu" and budget is None:
        return []
    each = place.cluster.processes if place is not None else 1
    made = costs.cost(plan, jobs, store, device=device.kind, each=each, slots=slots)
    costs.check_budget(made, budget)
    return costs.lines(made, Ledger(store).waits() if place is not None else ())


def detach(transport: Slurm, jobs: Sequence[Job], among: Mapping[str, Job]) -> Exit:
    """Submits and leaves; RESUMABLE where Slurm did not take all."""
    transport.start(jobs, among)
    if transport.held:
        print(f"{len(jobs) - transport.held} of {plural(len(jobs), 'job')} with Slurm, which takes no more just now:")
        print(f"  {transport.refusal}")
        print("repeat the command for the others; python -m harness status shows how all stand")
        return Exit.RESUMABLE
    print(f"{plural(len(jobs), 'job')} with Slurm; see python -m harness status, or run again to follow")
    return Exit.OK


def doctor(place: ClusterTarget, results: Path, data_dir: Path | None) -> Exit:
    """Checks a cluster with one small job, and says what it found."""
    from harness.scheduler.slurm.probe import examine

    place.check()
    print(f" ✓ {place.document.file} asks for nothing that partition '{place.cluster.partition}' lacks")
    checks = examine(place.cluster, place.controller, Store(results), data_dir)
    for check in checks:
        print(f" {'✓' if check.ok else '✗' if check.ok is False else '–'} {check.text}")
    return Exit.OK if all(check.ok is not False for check in checks) else Exit.MISSING
