"""On a real Slurm: what nodes cannot see or write, what a cluster file asks in vain, and who is blamed among processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import Exit
from tests.support.slurm_machine import Cluster, SlurmBench, until
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus: 5\ndevice: cpu\n", "gpus: 5 GPUs on a node, but partition 'main' has at most 2"),
        ("minutes_limit: 20000\n", "minutes_limit: 20000 minutes, but partition 'main' has at most 1440"),
        ("nodes: 9\ncpus: 64\n", "2 errors"),
    ],
)
def test_what_a_cluster_lacks_is_said_before_anything_is_submitted(bench: SlurmBench, text: str, said: str):
    told = bench(
        "run", bench.counts(one=("good", {})), "--profile", "scenes", "--on", bench.file(text), code=Exit.INPUT
    )
    assert said in told
    assert not (bench.results / "slurm").exists()


def test_an_unknown_partition_is_said_with_those_that_there_are(bench: SlurmBench):
    file = bench.file()
    file.write_text(file.read_text().replace("partition: main", "partition: mian"))
    told = bench("doctor", "--on", file, code=Exit.INPUT)
    assert "has no partition 'mian'. Did you mean 'main'? Partitions are: main, urgent" in told


def test_a_folder_that_nodes_do_not_see(bench: SlurmBench, cluster: Cluster):
    """The node's own mounts hide the results folder: the doctor says so, and a run fails with that as its cause."""
    bench.results.mkdir()
    cluster.blind("n4", bench.results)
    try:
        file = bench.file("options: {nodelist: n4}\nretries: {never_started: 0}\n")
        told = bench("doctor", "--on", file, code=Exit.MISSING)
        assert f"nodes do not see {bench.results}" in told
        table = bench.counts(one=("good", {}))
        told = bench("run", table, "--profile", "scenes", "--on", file, "--no-figures", code=Exit.FAILED)
        assert "is the folder of the results shared with the nodes?" in told
        assert bench.outcomes() == ["never started"]
    finally:
        cluster.see("n4")
    bench("run", table, "--profile", "scenes", "--on", file, "--retry-failed", "--no-figures")
    assert {job for job, _ in bench.numbers()}


@pytest.fixture
def small(bench: SlurmBench) -> Iterator[Path]:
    """A results folder of 12 MiB."""
    bench.results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", bench.results], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file systems here: {mounted.stderr.decode().strip()}")
    yield bench.results
    subprocess.run(["umount", "--lazy", bench.results], check=True)


def test_a_full_disk_loses_nothing(bench: SlurmBench, small: Path):
    """It fills up while a job runs: front end and job say so, what was measured stays, and with room it goes on."""
    table = bench.counts(one=("waits", {"marks": str(bench.marks)}), other=("good", {}))
    arguments = ["run", table, "--profile", "scenes", "--on", bench.file(), "--no-figures"]
    front = bench.start(*arguments)
    until(lambda: len(bench.notes("started")) == 2 and bench.numbers(), "one done, the other under way")
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**12))
    bench.gate.open()
    out, _ = front.communicate(timeout=PATIENCE)
    assert front.returncode == Exit.OUTPUT, out
    assert "the disk is full" in out
    assert "Traceback" not in out
    filler.unlink()
    told = bench(*arguments, code=Exit.OUTPUT)
    assert "it could not write its results: is the disk or a quota full?" in told
    assert len({job for job, _ in bench.numbers()}) == 1
    bench(*arguments, "--retry-failed")
    assert len({job for job, _ in bench.numbers()}) == 2


def test_a_job_that_never_went_on_after_it_was_suspended_is_ended(bench: SlurmBench, cluster: Cluster):
    """Slurm calls it running, and its process stands still: the daemon of its node was away when it was to be resumed."""
    table = bench.counts(one=("waits", {"marks": str(bench.marks)}))
    arguments = ["run", table, "--profile", "scenes", "--no-figures", "--on"]
    front = bench.start(*arguments, bench.file("stalled_after: 0.25\nretries: {stalled: 0}\n"))
    (note,) = until(lambda: bench.notes("started"), "started")
    cluster("scontrol", "suspend", note["task"])
    cluster("scontrol", "resume", note["task"])
    until(lambda: "RUNNING" in cluster("squeue", "--noheader", "--format=%T"), "resumed")
    os.kill(note["pid"], signal.SIGSTOP)
    out, _ = front.communicate(timeout=PATIENCE)
    assert front.returncode == Exit.FAILED, out
    assert "stalled: no progress for" in out
    assert "although Slurm says: running" in out
    assert bench.outcomes() == ["stalled"]
    bench.gate.open()
    bench(*arguments, bench.file(), "--retry-failed")
    assert {job for job, _ in bench.numbers()}
