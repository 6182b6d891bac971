"""Interrupted or killed at any instant and started again, a training ends as if nothing had happened, bit for bit."""

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


def run_script(folder: Path, *arguments: object) -> int:
    command = [sys.executable, tiny.__file__, str(folder), str(ITERATIONS), *map(str, arguments)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


@pytest.mark.slow
def test_killed_at_random_events(undisturbed, tmp_path):
    """kill -9 in a step, in the middle of writing a checkpoint, or around a rename; three kills, then to the end."""
    draw = random.Random(7)
    killed = 0
    for event in (draw.randrange(60) for _ in range(3)):
        killed += run_script(tmp_path, event) == -signal.SIGKILL
    assert killed > 0
    assert run_script(tmp_path) == 0
    assert_same(outcome(tmp_path), undisturbed)


@pytest.mark.slow
def test_killed_by_the_clock_of_its_own_curve(undisturbed, tmp_path):
    """Killed from outside as soon as its curve has a given number of lines."""
    process = subprocess.Popen([sys.executable, tiny.__file__, str(tmp_path), str(ITERATIONS)])
    while process.poll() is None:
        if len(curve.read(tmp_path)) >= 5:
            process.kill()
            break
    process.wait()
    tiny.training(tmp_path, ITERATIONS, seed=99).run()
    assert_same(outcome(tmp_path), undisturbed)
