"""A small job that reports the environment of a node; `doctor --on` compares it with the front end's."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.data.archives import size_text
from harness.files import read_json, write_json
from harness.scheduler.code_snapshot import snapshot
from harness.scheduler.slurm import sbatch
from harness.scheduler.slurm.cluster_file import Cluster
from harness.scheduler.slurm.controller import Controller, SubmissionRefused
from harness.scheduler.slurm.ledger import Ledger
from harness.scheduler.slurm.sbatch import Shape
from harness.store.store import Store

_MINUTES = 5  # time limit of the job
_PATIENCE = 120.0  # seconds to wait for it in the queue


def look(report: str, data_dir: str, stage: str) -> None:
    """Runs on the node: writes its environment and the visible devices."""
    import torch

    write_json(
        Path(report),
        {
            "node": os.environ.get("SLURMD_NODENAME", ""),
            "python": sys.version.split()[0],
            "packages": environment.packages(),
            "visible": [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v],
            "gpus": torch.cuda.device_count(),
            "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
            "stage": _room(stage) if stage else None,
            "data": os.path.isdir(os.path.expandvars(data_dir)) if data_dir else None,
        },
    )


def _room(folder: str) -> dict[str, Any]:
    """The folder of copies on the node, its free bytes, and why nothing can be written there, or ''."""
    path = Path(os.path.expanduser(os.path.expandvars(folder)))
    try:
        if "$" in str(path) or not path.is_absolute():
            raise ValueError("a variable in it is not set there")
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return {"folder": str(path), "free": shutil.disk_usage(path).free, "error": ""}
    except (OSError, ValueError) as error:
        return {"folder": str(path), "free": 0, "error": str(error)}


@dataclass(frozen=True)
class Check:
    """One line of `doctor`: passed, failed, or (None) information only."""

    ok: bool | None
    text: str


def examine(cluster: Cluster, controller: Controller, store: Store, data_dir: Path | None) -> list[Check]:
    """Submits the job, waits for it, and checks its report."""
    ledger = Ledger(Store(store.root.resolve()))
    folder = ledger.new()
    ledger.close(folder)  # no front end is to follow it
    report = folder / "notes" / "node.json"
    name = f"{folder.name}-0"
    shape = Shape(False, False, _MINUTES, cluster.memory)
    job_parameters = sbatch.parameters(cluster, shape, name, snapshot(ledger.code, compiled=True), None)
    stage = cluster.stage.folder if cluster.stage is not None else ""
    arguments = [[str(report)], [cluster.data or (str(data_dir.resolve()) if data_dir else "")], [stage]]
    began = time.monotonic()
    try:
        job = sbatch.hand_over(folder / "slurm", look, arguments, job_parameters, cluster)
    except SubmissionRefused as refusal:
        return [Check(False, f"Slurm does not take a job: {refusal}")]
    log = folder / "slurm" / f"{job}_0_log.err"
    state = None
    while time.monotonic() - began < _PATIENCE:
        record = read_json(report)
        if record is not None:
            return [*_verdict(record, cluster, time.monotonic() - began), _source(controller, job, name)]
        states = controller.states([job], {job: name})
        state = (states or {}).get(job)
        if state is not None and not state.live:
            time.sleep(1)  # the folder may be slower than Slurm
            if read_json(report) is None:
                return [
                    Check(
                        False,
                        f"job {job} ended on {state.node or 'its node'} without its report ({state.state}): {_why(log)}",
                    )
                ]
            continue
        time.sleep(min(2.0, cluster.poll))
    controller.cancel([job], name)
    waits = f"{state.state.lower()}: {state.reason}" if state is not None else "Slurm does not say why"
    return [
        Check(None, f"job {job} did not start within {_PATIENCE:.0f} s ({waits}); it is cancelled, the rest is unknown")
    ]


def _source(controller: Controller, job: str, name: str) -> Check:
    """The source of job states: accounting, or the queue alone."""
    if controller.states([job], {job: name}) is None:
        return Check(False, "neither sacct nor squeue tells what becomes of jobs")
    if controller.accounts:
        return Check(True, "sacct tells what becomes of jobs, also long after")
    return Check(None, "no accounting: squeue and the results folder tell what becomes of jobs")


def _why(log: Path) -> str:
    if not log.exists():
        return f"nodes do not see {log.parent}; put --results on a folder that they share"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else 'nothing was printed'} (see {log})"


def _verdict(record: dict[str, Any], cluster: Cluster, seconds: float):
    yield Check(True, f"a job ran on node {record['node']} after {seconds:.0f} s and sees the results folder")
    local_versions = {"python": sys.version.split()[0], **environment.packages()}
    node_versions = {"python": record["python"], **record["packages"]}
    differing = [
        f"{k} {node_versions.get(k, 'absent')} (here {v})"
        for k, v in local_versions.items()
        if node_versions.get(k) != v
    ]
    yield Check(not differing, f"versions differ: {', '.join(differing)}" if differing else "the same versions as here")
    if cluster.gpus:
        expected_gpus = min(cluster.gpus, 1)
        yield Check(
            len(record["visible"]) >= expected_gpus,
            f"Slurm gives {len(record['visible'])} GPU to a small job ({expected_gpus} asked)",
        )
    if cluster.on == "cuda":
        yield Check(record["gpus"] > 0, f"torch sees {record['gpus']} GPU {record['gpu']}".rstrip())
        if record["gpu"] and cluster.processor not in (None, record["gpu"]):
            yield Check(False, f"the cluster file calls its processor {cluster.processor}")
    if record["stage"] is not None:
        folder, error = record["stage"]["folder"], record["stage"]["error"]
        free = f"has {size_text(record['stage']['free'])} free for copies of datasets"
        yield Check(not error, f"stage: {folder} {f'cannot be used: {error}' if error else free}")
    if record["data"] is not None:
        yield Check(
            record["data"], "the data folder is " + ("there" if record["data"] else "not visible from the node")
        )
