"""Cluster files: every error at once, with its line; and what the files that are shipped say."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import pytest

from harness import ROOT
from harness.errors import MissingError, Problems
from harness.files import read_json
from harness.scheduler.slurm import probe
from harness.scheduler.slurm.cluster_file import Cluster, check, load, minutes_for
from harness.scheduler.slurm.controller import Controller, Partition, _minutes
from harness.scheduler.slurm.gres import gpu_kinds, with_gpus

SHIPPED = sorted((ROOT / "slurm/clusters").glob("*.yaml"))


class Told(Controller):
    """A cluster of two partitions."""

    def partitions(self) -> dict[str, Partition]:
        return {"gpu": Partition(1440, 8, 64, 500_000, 8), "debug": Partition(30, 1, 8, 32_000, 1)}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_right(path: Path):
    cluster, _ = load(path)
    assert cluster.title


def test_several_are_shipped():
    assert len(SHIPPED) >= 3


def test_every_error_at_once(write):
    path = write("c.yaml", 'title: x\npartition: "a b"\ngpuz: 1\ncpus: 0\noptions: {array: 0-3}\nsetup: ["a\\nb"]\n')
    with pytest.raises(Problems) as caught:
        load(path)
    lines = [(problem.line, problem.key) for problem in caught.value.problems]
    assert lines == [(2, "partition"), (3, "gpuz"), (4, "cpus"), (5, "options"), (6, "setup")]


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("minutes: 2000", "minutes", "minutes_limit"),
        ("device: cuda", "device", "gpus"),
        ("environment: {'A B': x}", "environment", "pattern"),
        ("retries: {killed: -1}", "retries", "greater"),
        ('options: {mail-user: "a\\nb"}', "options", "one line"),
        ('constraint: "a\\nb"', "constraint", "pattern"),
        ("poll: 0", "poll", "0.2"),
        ("stage: {folder: local/data}", "stage.folder", "pattern"),
        ("stage: {archives: /packed}", "stage.folder", "missing"),
        ("stage: {folder: /tmp/data}\ndata: /tmp/data", "data", "'stage' brings the data to the node"),
        ("gres: gpu:h100:four", "gres", "'gpu:h100:four': expected is NAME, NAME:COUNT or NAME:KIND:COUNT"),
        ("gres: gpu:0", "gres", "'gpu:0': expected is"),
        ("gres: gpu:a100:2,gpu:v100:2", "gres", "names gpu twice"),
        ("gres: gpu:2K", "gres", "so many GPUs are on no node"),
        ("gres: 'gpu h100'", "gres", "'gpu h100': expected is"),
        ("gres: 'gpu:h100:4,'", "gres", "'': expected is"),
        ("gres: '4'", "gres", "'4': expected is"),
        ('gres: "gpu:h100\\n"', "gres", "expected is"),
        ("gres: 4", "gres", "string"),
        ("gres: gpu:h100:4\ngpus: 2", "gpus", "2, but gres says 4; leave one of them out"),
        ("options: {gres: 'gpu:1'}", "options", "use the file's own keys"),
    ],
)
def test_what_a_file_may_not_say(write, text: str, key: str, said: str):
    with pytest.raises(Problems) as caught:
        load(write("c.yaml", f"title: x\npartition: gpu\n{text}\n"))
    (problem,) = caught.value.problems
    assert problem.key.startswith(key)
    assert said in problem.message


@pytest.mark.parametrize("text", ["", "- a", "just text"])
def test_what_is_no_cluster_file(write, text: str):
    with pytest.raises(Problems, match="mapping"):
        load(write("c.yaml", text))


def test_an_unknown_partition_names_the_nearest(write):
    made = load(write("c.yaml", "title: x\npartition: gpus\n"))
    with pytest.raises(Problems, match=r"c.yaml:2: partition: .*Did you mean 'gpu'\? Partitions are: debug, gpu"):
        check(*made, Told())


def test_more_than_a_node_has_is_said_all_at_once(write):
    text = "title: x\npartition: debug\ngpus: 2\ncpus: 6\nmemory: 40000\nnodes: 2\nminutes: 20\nminutes_limit: 60\n"
    with pytest.raises(Problems) as caught:
        check(*load(write("c.yaml", text)), Told())
    assert {p.key for p in caught.value.problems} == {"gpus", "cpus", "memory", "nodes", "minutes_limit"}


def test_what_fits_is_fine(write):
    check(*load(write("c.yaml", "title: x\npartition: gpu\ngpus: 8\ncpus: 8\nnodes: 8\n")), Told())


@pytest.mark.parametrize(
    ("text", "gpus", "single"),
    [
        ("gpu:h100:4", 4, "gpu:h100:1"),
        ("gpu:2", 2, "gpu:1"),
        ("gpu:3g.20gb", 1, "gpu:3g.20gb:1"),
        ("lscratch:100G,gpu:1080ti:8", 8, "lscratch:100G,gpu:1080ti:1"),
    ],
)
def test_gres_says_how_many_gpus_and_of_which_kind(write, text: str, gpus: int, single: str):
    cluster, _ = load(write("c.yaml", f"title: x\npartition: gpu\ngres: {text}\n"))
    assert (cluster.gpus, cluster.on) == (gpus, "cuda")
    assert with_gpus(text, 1) == single


def test_stage_is_in_every_job_s_request(write):
    cluster, _ = load(write("c.yaml", "title: x\npartition: gpu\nstage: {folder: $SLURM_TMPDIR/data}\n"))
    assert cluster.data_of_node == {"data_copied": False, "stage": {"folder": "$SLURM_TMPDIR/data", "archives": ""}}
    cluster, _ = load(write("c.yaml", "title: x\npartition: gpu\ndata: /local/data\n"))
    assert cluster.data_of_node == {"data_copied": True, "stage": None}


def test_doctor_says_what_room_a_node_has_for_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    cluster = Cluster.model_validate({"title": "x", "partition": "gpu", "stage": {"folder": "$NODE_DISK/data"}})
    monkeypatch.setattr(probe.shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(3 << 30))
    (tmp_path / "file").touch()
    said = {
        "$NODE_DISK/data": (True, f"stage: {tmp_path}/data has 3.0 GiB free for copies of datasets"),
        "$NODE_DISK/file/data": (False, f"stage: {tmp_path}/file/data cannot be used: "),
        "$NOT_SET/data": (False, "stage: $NOT_SET/data cannot be used: a variable in it is not set there"),
    }
    for folder, (ok, text) in said.items():
        report = tmp_path / "report.json"
        probe.look(str(report), "", folder)
        found = [c for c in probe._verdict(read_json(report), cluster, 1.0) if c.text.startswith("stage")]
        assert [c.ok for c in found] == [ok]
        assert found[0].text.startswith(text)


def test_kinds_that_a_partition_lacks_are_said_with_those_it_has(write):
    has = {"gpu": Partition(1440, 8, 64, 500_000, 12, {"A100": 8, "v100": 4})}
    controller = Told()
    controller.partitions = lambda: has  # type: ignore[method-assign]
    for text, said in (("gpu:h100:1", "gpu:h100:1, but"), ("gpu:v100:8", "A100 (8 on a node), v100 (4 on a node)")):
        with pytest.raises(Problems, match=re.escape(said)):
            check(*load(write("c.yaml", f"title: x\npartition: gpu\ngres: {text}\n")), controller)
    check(*load(write("c.yaml", "title: x\npartition: gpu\ngres: gpu:a100:8\n")), controller)
    has["gpu"] = Partition(1440, 8, 64, 500_000, 8)  # a sinfo that names no kinds
    check(*load(write("c.yaml", "title: x\npartition: gpu\ngres: gpu:h100:8\n")), controller)


def test_no_slurm_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="no sbatch"):
        Controller().require()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("infinite", 10**9),
        ("1-00:00:00", 1440),
        ("2:30:00", 150),
        ("30:00", 30),
        ("UNLIMITED", 10**9),
        ("7-12:30:00", 10830),
    ],
)
def test_limits_as_slurm_writes_them(text: str, minutes: int):
    assert _minutes(text) == minutes


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu:4", 4), ("gpu:a100:8(S:0-1)", 8), ("gpu:a:4,gpu:b:2", 6), ("(null)", 0), ("mps:100,gpu:1", 1)],
)
def test_gpus_as_slurm_writes_them(gres: str, count: int):
    assert sum(gpu_kinds(gres).values()) == count


@pytest.mark.parametrize(("seconds", "minutes"), [(None, 60), (0, 7), (60, 9), (3600, 127), (10**6, 240)])
def test_time_limits_follow_stored_durations(seconds: float | None, minutes: int):
    assert minutes_for(Cluster(title="x", partition="gpu", minutes_limit=240), seconds) == minutes
