"""A real Slurm on this machine for the tests here, raised once in a folder of its own and taken down at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_slurm import FakeSlurm, SlurmFrontEnd
from tests.support.slurm_machine import Cluster, SlurmBench, bench_in, raised


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes of two processors and two fake GPUs; SLURM_TESTS=accounting: with slurmdbd, so that sacct answers."""
    options = ["--nodes", "4", "--cpus", "2", "--memory", "8000", "--gpus", "2"]
    options += ["--accounting"] * (os.environ.get("SLURM_TESTS") == "accounting")
    with raised(tmp_path_factory.mktemp("slurm"), *options) as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, cluster: Cluster) -> Iterator[SlurmBench]:
    made = bench_in(tmp_path, cluster.environ)
    yield made
    made.close()


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


@pytest.fixture
def front(tmp_path: Path, slurm: FakeSlurm) -> SlurmFrontEnd:
    return SlurmFrontEnd(tmp_path, slurm)
