"""On a real Slurm: detached runs, code that changes meanwhile, cancelling, the doctor, GPUs, several processes, preemption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import Exit
from harness.files import read_json
from harness.scheduler.worker import Request
from harness.store.store import Store
from tests.support.checkout import copy_of_checkout
from tests.support.slurm_machine import Cluster, SlurmBench, bench_in, raised, until
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_what_is_edited_meanwhile_does_not_reach_queued_jobs(tmp_path: Path, cluster: Cluster):
    """A checkout of its own submits and is then broken; names that a shell would trip over are on every path."""
    bench = bench_in(tmp_path / 'it\'s $HOME; `x` "q"', cluster.environ)
    checkout = copy_of_checkout(bench.folder / "checkout")
    waiting = ("waits", {"marks": str(bench.marks)})
    table = bench.counts(one=waiting, other=("waits", {"marks": str(bench.marks), "name": "it's $(touch x)\n"}))
    arguments = [table, "--profile", "scenes"]
    file = bench.file('gpus: 1\ndevice: cpu\nenvironment: {ODD: "a\'b $HOME"}\n')
    out = bench("run", *arguments, "--on", file, "--detach", root=checkout)
    assert "2 jobs with Slurm" in out
    (checkout / "harness/tasks/complexity/measure.py").write_text("raise SystemError('edited')\n")
    until(lambda: len(bench.notes("started")) == 2, "both under way")
    assert "2 running" in bench("status", *arguments, code=Exit.FAILED)
    bench.gate.open()
    assert "2 of 2 cells measured" in bench("run", *arguments, "--on", file)
    assert len(list(bench.results.glob("slurm/h*"))) == 1  # followed, not submitted again
    assert all(note["gpus"] in ("0", "1") for note in bench.notes("started"))
    local = bench.folder / "local"
    bench("run", *arguments, results=local)
    assert bench.numbers() == bench.numbers(local)


def test_cancel_takes_back_its_own_and_nothing_else(bench: SlurmBench, cluster: Cluster):
    foreign = cluster("sbatch", "--parsable", "--hold", "--wrap", "true", "--output=/dev/null").strip()
    table = bench.counts(
        one=("waits", {"marks": str(bench.marks)}), other=("waits", {"marks": str(bench.marks), "name": "b"})
    )
    arguments = [table, "--profile", "scenes"]
    bench("run", *arguments, "--rows", "one", "--on", bench.file(), "--detach")
    bench("run", *arguments, "--rows", "other", "--on", bench.file(), "--detach")
    assert "1 job cancelled" in bench("cancel", *arguments, "--rows", "one")
    assert "nothing of this plan" in bench("cancel", *arguments, "--rows", "one")
    states = dict(
        line.split() for line in cluster("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
    )
    mine = {json.loads(f.read_text())["id"] for f in bench.results.glob("slurm/h*/arrays/*.json")}
    assert sorted(states[number] in ("CANCELLED", "COMPLETING") for number in mine) == [False, True]
    assert states[foreign] == "PENDING"
    assert "cancelled" in bench.outcomes()
    bench("cancel", *arguments)
    cluster("scancel", foreign)


def test_the_doctor_sends_a_job(bench: SlurmBench):
    """And asks for GPUs by their kind, which the partition has; one that it has not is said before anything is submitted."""
    stage = f"stage: {{folder: '{bench.folder}/$SLURMD_NODENAME/data'}}\n"
    table = bench("doctor", "--on", bench.file(f"gres: gpu:fake:2\ndevice: cpu\n{stage}"))
    assert re.search(r"stage: .*/n\d/data has .* free for copies of datasets", table)
    assert "sees the results folder" in table
    assert "the same versions as here" in table
    assert "Slurm gives 1 GPU" in table
    other = bench("doctor", "--on", bench.file("gres: gpu:h100:1\ndevice: cpu\n"), code=Exit.INPUT)
    assert "gres: gpu:h100:1, but the GPUs of partition 'main' are fake (2 on a node)" in other
    assert re.search("(sacct tells|no accounting: squeue and the results folder tell) what becomes of jobs", table)


def test_a_training_on_two_nodes_is_that_of_two_processes(bench: SlurmBench, cluster: Cluster):
    """Data parallel over Slurm's tasks: the same curve as torchrun's, measured once. Beside it one whose second process
    runs out of memory: that is told as the cause, not what srun then does to the first; and it is final."""
    bench.gate.open()
    table = bench.trainings(iterations=6, methods=("slow", "uneven"))
    file = bench.file("nodes: 2\nenvironment: {MASTER_ADDR: 127.0.0.1}\n")
    told = bench("run", table, "--profile", "scenes", "--on", file, "--no-figures", code=Exit.FAILED)
    assert "out of memory: a batch of 2 crops of 32 × 32 in 1 part does not fit into memory on 2 processes" in told
    assert [cause for cause in bench.outcomes() if cause != "waiting"] == ["out of memory"]
    (result,) = bench.store.results("train")
    assert {p.name for p in result.folder.glob("curve*")}
    elsewhere = Store(bench.folder / "elsewhere")
    beside = elsewhere.folder(result.job)
    Request(result.job, str(elsewhere.root), None, "cpu", 1).write(beside)
    port = ["--master-port", str(20000 + os.getpid() % 20000)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *port]
    what = ["-m", "harness.scheduler.worker", str(beside)]
    done = subprocess.run([*torchrun, *what], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert losses(result.folder) == losses(beside)
    assert len(losses(beside)) == 6


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "curve.jsonl").read_text().splitlines()]


def test_preemption_that_cancels(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    """Where a preempted job does not come back by itself, it is submitted again and goes on from its checkpoint."""
    with raised(tmp_path_factory.mktemp("cancels"), "--nodes", "1", "--cpus", "2", "--preempt", "cancel") as cluster:
        bench = bench_in(tmp_path, cluster.environ)
        arguments = [bench.trainings(iterations=30), "--profile", "scenes"]
        front = bench.start("run", *arguments, "--on", bench.file())
        until(lambda: any((read_json(p) or {}).get("done", 0) >= 3 for p in progress(bench)), "a training under way")
        cluster("sbatch", "--partition=urgent", "--exclusive", "--wrap", "true", "--output=/dev/null")
        until(lambda: bench.notes("ended"), "the preempted training saved")
        bench.gate.open()
        out, _ = front.communicate(timeout=PATIENCE)
        assert front.returncode == Exit.OK, out
        assert "preempted" in out
        (result,) = bench.store.results("train")
        assert len(losses(result.folder)) == 30


def progress(bench: SlurmBench) -> list[Path]:
    return list(bench.results.glob("jobs/train/*/*/progress.json"))


def test_ctrl_c_leaves_the_queue_alone(bench: SlurmBench, cluster: Cluster):
    table = bench.counts(one=("waits", {"marks": str(bench.marks), "name": "c"}))
    front = bench.start("run", table, "--profile", "scenes", "--on", bench.file())
    until(lambda: bench.notes("started"), "the job under way")
    front.send_signal(signal.SIGINT)
    out, _ = front.communicate(timeout=PATIENCE)
    assert front.returncode == Exit.INTERRUPTED, out
    bench.gate.open()
    bench("run", table, "--profile", "scenes", "--on", bench.file())
    assert len(bench.notes("started")) == 1
