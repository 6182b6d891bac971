"""Work that has stopped half-way: what is said of it follows from what it left, whatever that is."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.files import write_json
from harness.jobs.context import Progress
from harness.jobs.job import Job
from harness.jobs.kinds import word
from harness.store.interruption import READING, interruption, saved_iterations
from harness.tasks.segmentation import train
from harness.training import checkpoint


def job(kind: str = "train") -> Job:
    return Job(kind, {}, "k" * 64, "i" * 64, {})


def left(folder: Path, *, progress: object = None, lock: bool = True, saved: tuple[int, ...] = ()) -> Path:
    """What a process leaves that is gone."""
    folder.mkdir(exist_ok=True)
    if lock:
        (folder / "lock").touch()
    if progress is not None:
        (folder / "progress.json").write_text(json.dumps(progress))
    for iteration in saved:
        (folder / f"checkpoint-{iteration:08d}-{iteration:064x}.pt").touch()
    return folder


SIX = {"done": 6, "total": 40, "rate": 3.0, "text": "loss 1.92", "left": 68.0, "time": 1.0}


@pytest.mark.parametrize(
    ("kind", "about", "text"),
    [
        ("train", {"progress": SIX, "saved": (5,)}, "at 6/40 iterations; resumes from 5; about 1 min 10 s left"),
        ("train", {"progress": SIX, "saved": (5, 3)}, "at 6/40 iterations; resumes from 5; about 1 min 10 s left"),
        ("train", {"progress": SIX}, "at 6/40 iterations; starts over; about 1 min 20 s left"),
        ("train", {"progress": SIX, "lock": False}, "at 6/40 iterations; starts over; about 1 min 20 s left"),
        ("train", {"progress": {"done": 40, "total": 40}, "saved": (5,)}, "at 40/40 iterations; resumes from 5"),
        ("train", {"progress": {"done": 3, "total": 367, "text": READING}}, f"while {READING} (3/367); starts over"),
        ("train", {"saved": (5,)}, "before it said how far it was; resumes from 5"),
        ("train", {}, "before it said how far it was; starts over"),
        ("train", {"progress": [1]}, "before it said how far it was; starts over"),
        ("train", {"progress": {"done": "x", "total": 40}}, "at ?/40 iterations; starts over"),
        (
            "evaluate",
            {"progress": {"done": 4, "total": 20, "rate": 2.0}},
            "at 4/20 images; starts over; about 10.0 s left",
        ),
        ("complexity", {"progress": {"done": 0, "total": 1}}, "at 0/1; starts over"),
    ],
)
def test_it_says_how_far_it_came_and_what_a_run_goes_on_from(tmp_path: Path, kind: str, about: dict, text: str):
    assert str(interruption(job(kind), left(tmp_path / "job", **about))) == f"{word(kind)} stopped {text}"


def test_what_never_began_has_not_stopped(tmp_path: Path):
    assert interruption(job(), tmp_path / "nowhere") is None
    write_json(tmp_path / "job/job.json", {})  # with Slurm, and taken back before it started
    assert interruption(job(), tmp_path / "job") is None


def test_what_runs_has_not_stopped(tmp_path: Path):
    with (left(tmp_path / "job", progress=SIX, saved=(5,)) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert interruption(job(), tmp_path / "job") is None
    assert interruption(job(), tmp_path / "job") is not None


def test_it_knows_the_checkpoints_that_a_training_goes_on_from(tmp_path: Path):
    assert saved_iterations(tmp_path) is None
    for iteration in (2, 4, 6):
        checkpoint.save(tmp_path, {"model": {"w": torch.zeros(1)}}, iteration)
        assert saved_iterations(tmp_path) == checkpoint.listing(tmp_path)[-1].iteration == iteration
    (tmp_path / "checkpoint-00000009.pt").touch()
    checkpoint.save_final(tmp_path, {"model": {"w": torch.zeros(1)}}, 7)
    assert saved_iterations(tmp_path) is None


def test_it_knows_the_words_of_a_training_that_reads_its_data(tmp_path: Path):
    said: list[Progress] = []
    train._say_reading(SimpleNamespace(progress=said.append), 3, 367)
    assert said[0].text == READING


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=3
)


@given(record=st.dictionaries(st.sampled_from(["done", "total", "rate", "left", "text"]), ANYTHING))
def test_any_progress_is_survived(tmp_path_factory, record: dict):
    folder = left(tmp_path_factory.mktemp("any") / "job", progress=record)
    assert str(interruption(job(), folder)).startswith("train stopped ")
