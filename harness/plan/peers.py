"""Cells whose scores another toolbox measures, too: the control of this harness's own core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness import ROOT
from harness.data import catalogue
from harness.jobs.kinds import PeerConfig, load
from harness.plan.planner import Plan, PlannedCell, Planner
from harness.plan.request import PlanRequest
from harness.store.store import Store

SCORES = ("miou", "aacc", "macc")
"""Metrics that a peer measures."""


def peer_names() -> list[str]:
    """The toolboxes that can be asked, each a file of methods/peers."""
    files = (ROOT / "methods" / "peers").glob("[!_]*.py")
    return sorted(Path(file).stem for file in files)


def add_peers(plan: Plan, request: PlanRequest, store: Store, peer: str) -> tuple[list[PlannedCell], list[str]]:
    """(peer cells, why other cells have none); the plan is left with the cells that both measure, then the peer's."""
    planner = Planner(
        plan.profile, plan.repetitions, data_dir=request.data, cache=store.cache, device=request.resolve_device()
    )
    compared, peers, reasons = [], [], []
    for planned in plan.cells_to_measure():
        refusals = [*_refusals(plan, planned, peer)]
        if refusals:
            reasons.append(f"{planned.name}: {'; '.join(refusals)}")
        else:
            compared.append(planned)
            peers.append(planner.plan_peer(plan, planned, peer))
    plan.cells[:] = [*compared, *peers]
    return peers, reasons


def _refusals(plan: Plan, planned: PlannedCell, peer: str) -> Iterator[str]:
    """Why the peer cannot measure a cell."""
    if planned.metric.name not in SCORES:
        yield f"a peer measures {', '.join(SCORES)} alone"
        return
    (test, *_) = planned.jobs
    if not test.needs:
        yield "the cell tests given weights and trains nothing"
        return
    train = plan.jobs[test.needs[0]].config
    config = PeerConfig.model_validate(
        {name: train[name] for name in ("model", "data", "recipe", "profile", "seed")}
        | {"peer": peer, "protocol": test.config["protocol"]}
    )
    if test.config["data"] != train["data"]:
        yield "the cell is tested on another dataset than the one it is trained on"
    mirrors = bool(catalogue.find(config.data.name).mirror_pairs)
    yield from load(f"{config.module}:refusals")(
        config.model.name, config.recipe, config.protocol, mirrors_labels=mirrors
    )
