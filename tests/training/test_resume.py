"""Interrupted or killed at any instant and started again, a training ends as if nothing had happened, bit for bit."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Interrupted
from harness.training import checkpoint, curve

from . import tiny

ITERATIONS = 12


def outcome(folder: Path) -> dict:
    """All that a training leaves which is not a time."""
    lines = [{k: v for k, v in record.items() if k != "images_per_s"} for record in curve.read(folder)]
    return {"curve": lines, "weights": checkpoint.load_weights(folder)}


def assert_same(a: dict, b: dict) -> None:
    assert a["curve"] == b["curve"]
    assert a["weights"].keys() == b["weights"].keys()
    for name, weight in a["weights"].items():
        assert torch.equal(weight, b["weights"][name]), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.training(folder, ITERATIONS).run()
    result = outcome(folder)
    assert [record["iteration"] for record in result["curve"]] == list(range(1, ITERATIONS + 1))
    return result


@settings(max_examples=15, deadline=None)
@given(stops=st.lists(st.integers(1, ITERATIONS), min_size=1, max_size=4))
def test_interrupted_and_resumed(undisturbed, tmp_path_factory, stops):
    folder = tmp_path_factory.mktemp("stopped")
    for stop in stops:
        asked = iter(range(1, ITERATIONS + 1))
        training = tiny.training(folder, ITERATIONS, seed=stop)  # another seed: all of the state comes from the file
        if not checkpoint.listing(folder):
            training = tiny.training(folder, ITERATIONS)
        try:
            training.run(should_stop=lambda asked=asked, stop=stop: next(asked) == stop)
        except Interrupted:
            newest = checkpoint.load(folder)
            assert newest["tally"]["iteration"] == len(curve.read(folder))
    tiny.training(folder, ITERATIONS, seed=99).run()
    assert_same(outcome(folder), undisturbed)


def test_a_finished_training_is_not_run_again(undisturbed, tmp_path):
    tiny.training(tmp_path, ITERATIONS).run()
    before = (tmp_path / curve.FILE).read_bytes()

    def no_batches(start, stop):
        raise AssertionError("asked for a batch")

    again = tiny.training(tmp_path, ITERATIONS, seed=5, batches=no_batches)
    assert again.run().iteration == ITERATIONS
    assert (tmp_path / curve.FILE).read_bytes() == before
    assert again.model.measurements()["drawn"] == undisturbed["weights"]["drawn"].tolist()


def run_in_child(folder: Path, event: int | None) -> int:
    """Trains in a forked process, which kills itself at `event`; gives its exit status (negative: the signal)."""
    child = os.fork()
    if child == 0:
        try:
            if event is not None:
                tiny.kill_at(event)
            tiny.training(folder, ITERATIONS).run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_twenty_random_instants(undisturbed, tmp_path):
    """kill -9 in a step, in the middle of writing a checkpoint, and around a rename, over and over, then to the end."""
    draw = random.Random(7)
    assert run_in_child(tmp_path / "whole", None) == 0
    assert_same(outcome(tmp_path / "whole"), undisturbed)
    killed = finished = 0
    folder = tmp_path / "0"
    while killed < 20:
        status = run_in_child(folder, draw.randrange(100))
        killed += status == -signal.SIGKILL
        if status == 0:
            assert_same(outcome(folder), undisturbed)
            finished += 1
            folder = tmp_path / str(finished)
    assert run_in_child(folder, None) == 0
    assert_same(outcome(folder), undisturbed)


@pytest.mark.slow
def test_killed_from_outside(undisturbed, tmp_path):
    """Another process kills it as soon as its curve has a given number of lines; a fresh interpreter goes on."""
    command = [sys.executable, tiny.__file__, str(tmp_path), str(ITERATIONS)]
    process = subprocess.Popen(command)
    while process.poll() is None:
        if len(curve.read(tmp_path)) >= 5:
            process.kill()
            break
    process.wait()
    subprocess.run(command, check=True)
    assert_same(outcome(tmp_path), undisturbed)
