"""Slurm's tasks as the ranks of one job, without a command of Slurm's."""

import os

import pytest

from harness.scheduler.slurm import entry
from harness.scheduler.slurm.ranks import first_node, torchrun_variables

TASK = {"SLURM_PROCID": "5", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1234567"}
PORT = str(20000 + 1234567 % 20000)


def test_ranks_of_a_job_on_several_nodes_need_no_scontrol(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")  # as in a container
    nodes = {"SLURM_JOB_NODELIST": "gpu[007-010,12]", "SLURM_JOB_NUM_NODES": "5"}
    assert torchrun_variables({**TASK, **nodes}) == {
        "RANK": "5",
        "WORLD_SIZE": "16",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu007",
        "MASTER_PORT": PORT,
    }


def test_where_the_ranks_meet():
    def meeting(**environment: str) -> tuple[str, str]:
        variables = torchrun_variables({**TASK, **environment})
        return variables["MASTER_ADDR"], variables["MASTER_PORT"]

    assert meeting(MASTER_ADDR="10.0.0.7", MASTER_PORT="4000") == ("10.0.0.7", "4000")
    assert meeting(SLURM_JOB_NODELIST="n3", SLURM_JOB_NUM_NODES="1") == ("127.0.0.1", PORT)
    assert meeting(SLURM_JOB_ID="8") != meeting()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n3", "n3"),
        ("n[3,7]", "n3"),
        ("gpu[007-010,12],login1", "gpu007"),
        ("login1,gpu[007-010]", "login1"),
        ("rack[2-3]node[08-11]", "rack2node08"),
        ("a[1-2]-ib,b", "a1-ib"),
        ("node-a.example.org,node-b.example.org", "node-a.example.org"),
    ],
)
def test_first_node(nodes: str, first: str):
    assert first_node(nodes) == first


def test_a_further_task_takes_part_as_a_rank(monkeypatch: pytest.MonkeyPatch):
    """What the front end's own shell says of ranks does not count."""
    for name, value in {**TASK, "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
    ranks = []
    monkeypatch.setattr(entry, "run_other_rank", lambda folder: ranks.append(os.environ["RANK"]) or 0)
    with pytest.raises(SystemExit) as end:
        entry.run("folder", "note", 10, 0)
    assert (end.value.code, ranks, os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"]) == (0, ["5"], "16", "1")
