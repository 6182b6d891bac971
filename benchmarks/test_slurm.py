"""What the harness itself costs on Slurm: milliseconds per job, questions to the controller, memory of the front end.

Jobs that end at once (slurm_stub.py) on a real Slurm of four nodes on this machine; and thousands of jobs in a Slurm in
memory. Peer: sbatch called once per job, which is how a grid is submitted by hand.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import ROOT
from tests.support.slurm_machine import SlurmBench, bench_in, raised

JOBS = 200
POLL = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with raised(tmp_path_factory.mktemp("slurm"), "--nodes", "4", "--cpus", "4", "--memory", "8000") as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, cluster) -> SlurmBench:
    return bench_in(tmp_path, cluster.environ)


def cpu() -> float:
    """CPU seconds of this process and of the commands it has waited for."""
    own, waited = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime


def test_overhead_per_job(bench: SlurmBench, cluster, monkeypatch: pytest.MonkeyPatch):
    """Submitting, following and collecting 200 jobs costs at most 50 ms each, and one question per 10 s."""
    from harness.environment import Device
    from harness.nightly.checks import NullListener
    from harness.plan.planner import Planner
    from harness.scheduler import run as runner
    from harness.scheduler.slurm.cluster_file import load
    from harness.scheduler.slurm.transport import Slurm
    from harness.table.load import load as load_table
    from harness.table.recipes import profile

    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    stub = bench.folder / "python"
    stub.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {shlex.quote(str(ROOT / "benchmarks/slurm_stub.py"))} "$@"\n'
    )
    stub.chmod(0o755)
    path = bench.counts(**{f"row{i}": ("good", {"name": str(i)}) for i in range(JOBS)})
    text = bench.file(f"python: {stub}\n").read_text()
    text = text.replace("memory: 1500", "memory: 200").replace("poll: 1", f"poll: {POLL:g}")
    (bench.folder / "fast.yaml").write_text(text)
    planner = Planner(profile("scenes", near=bench.folder), cache=bench.results / "cache", device=Device("cpu", "x", 4))
    plan = planner.plan([load_table(path)])
    made, _ = load(bench.folder / "fast.yaml")
    transport = Slurm(bench.store, made, data_dir=None)
    submitted: list[float] = []
    start = transport.start
    monkeypatch.setattr(transport, "start", lambda *a: (start(*a), submitted.append(time.monotonic() - began))[0])
    began, before = time.monotonic(), cpu()
    outcome = runner.run(plan, bench.store, transport, NullListener())
    wall, used = time.monotonic() - began, cpu() - before
    assert len(outcome.done) == JOBS, outcome

    single = time.monotonic()
    for _ in range(10):
        cluster("sbatch", "--wrap", "true", "--output=/dev/null", "--hold")
    single = (time.monotonic() - single) / 10
    cluster("scancel", "--user", str(os.getuid()))
    ahead = submitted[0] / JOBS
    print(f"\n{JOBS} jobs on a real Slurm: {wall:.1f} s in all (Slurm's own work included)")
    print(f"  submitted in {1e3 * ahead:.1f} ms a job (sbatch once per job: {1e3 * single:.1f} ms)")
    print(
        f"  submit + follow + collect: {1e3 * used / JOBS:.1f} ms of CPU a job, {transport.controller.questions} questions"
    )
    assert max(ahead, used / JOBS) <= 0.050
    assert transport.controller.questions <= 2 + wall / POLL  # two are asked once: MaxArraySize; whether there is sacct


SIMULATED = """
import json, os, sys, tempfile
os.fsync = lambda file: None  # memory is measured, not the disk
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.support.fake_slurm import SlurmFrontEnd, FakeSlurm, job
count = int(sys.argv[1])
slurm = FakeSlurm()
with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
    front = SlurmFrontEnd(Path(folder), slurm, array={{"size": 500}})
    jobs = [job(f"j{{i}}") for i in range(count)]
    front.start(*jobs)
    for made in jobs:
        slurm.begin(made)
    said = front.after(120)
    for made in jobs:
        slurm.finish(front.store, made)
    said += front.after(120)
    assert sum(state == "done" for _, state, _ in said) == count
# not ru_maxrss, which begins with the size of the process that started this one
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({{"peak": peak, "questions": slurm.questions}}))
"""


def test_memory_does_not_grow_with_the_number_of_jobs():
    """From 200 to 5000 jobs the front end's peak grows by a few KiB a job, and it asks no more questions."""
    found = {}
    for count in (200, 5000):
        command = [sys.executable, "-c", SIMULATED.format(root=str(ROOT)), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[count] = json.loads(done.stdout)
        peak, questions = found[count]["peak"] / 1024, found[count]["questions"]
        print(f"\n{count} simulated jobs: peak {peak:.0f} MiB, {questions} questions in 240 s", end="")
    print()
    each = (found[5000]["peak"] - found[200]["peak"]) / 4800
    print(f"{each:.1f} KiB a job, the plan and the Slurm in memory included")
    assert each <= 8
    assert found[5000]["questions"] <= 240 / POLL
