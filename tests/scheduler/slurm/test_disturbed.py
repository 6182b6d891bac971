"""One run in which everything happens that happens on clusters; at its end every number is what it would have been."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness.errors import Exit
from harness.files import read_json
from tests.support.slurm_machine import Cluster, SlurmBench, until
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture
def tables(bench: SlurmBench) -> list[object]:
    counts = bench.counts(
        hungry=("hungry", {"mib": 1700}),
        endless=("endless", {"marks": str(bench.marks)}),
        broken=("raises", {}),
        cuda=("cuda", {}),
        good=("good", {}),
    )
    return [bench.trainings(iterations=40), counts, "--profile", "scenes", "--seeds", 4, "--no-figures"]


def running(bench: SlurmBench, kind: str = "train") -> list[dict]:
    """Reports of trainings that are some steps under way, each with its progress."""
    folders = {}
    for file in bench.results.glob(f"jobs/{kind}/*/*/progress.json"):
        folders[file.parent] = read_json(file)
    assert folders is not None
    return [f for f in folders.values() if f and f["done"] >= 5]


def job_of(note: dict) -> str:
    """The request of a job, as text."""
    return (Path(note["folder"]) / "job.json").read_text()


def test_every_number_is_that_of_the_undisturbed_run(bench: SlurmBench, cluster: Cluster, tables: list[object]):
    file = bench.file("retries: {killed: 1}\n")
    front = bench.start("run", *tables, "--on", file)
    until(lambda: len(running(bench)) == 4 or front.poll() is not None, "four trainings under way")
    assert front.poll() is None, front.stdout.read()
    trains = bench.jobs("train")
    killed, preempted, lost, cancelled = sorted(trains)
    until(lambda: (bench.marks / "endless").exists(), "the endless one under way")
    endless = next(task for task, note in bench.jobs("complexity").items() if "endless" in job_of(note))

    cluster("scontrol", "update", f"jobid={endless}", "timelimit=1")
    os.kill(trains[killed]["pid"], signal.SIGKILL)
    cluster("scontrol", "update", f"nodename={trains[lost]['node']}", "state=down", "reason=pulled out")
    cluster("scancel", cancelled)
    until(lambda: "killed" in bench.outcomes() and "cancelled" in bench.outcomes(), "two attempts called over")
    front.kill()
    front.wait()
    cluster.restart_controller()
    again = bench.start("run", *tables, "--on", file)
    node = trains[preempted]["node"]
    cluster("sbatch", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--wrap", "true", "--output=/dev/null")
    until(
        lambda: any(n.get("requeued") for n in bench.notes("ended")), "a preempted training saved and requeued itself"
    )
    bench.gate.open()
    undisturbed = bench.folder / "undisturbed"
    local = bench.start("run", *tables, results=undisturbed)  # while the endless one reaches its time limit
    out, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == Exit.FAILED, out

    causes = bench.outcomes()
    assert {"killed", "cancelled", "out of memory", "timeout", "exception"} <= set(causes), causes
    status = bench("status", *tables[:-1], code=Exit.FAILED)
    assert "failed (cancelled: " in status  # one of four repetitions
    assert "the widths do not fit" in status
    assert "out of memory: CUDA out of memory" in status
    assert bench.outcomes("CUDA") == ["out of memory"]  # more memory of the host would not help: not repeated
    bench("run", *tables, "--on", file, "--retry-failed", code=Exit.FAILED)  # the broken one stays broken

    out, _ = local.communicate(timeout=PATIENCE)
    assert local.returncode == Exit.FAILED, out
    assert bench.numbers() == bench.numbers(undisturbed)
    assert len({key for key, _ in bench.numbers()}) == 4 + 4 + 3
