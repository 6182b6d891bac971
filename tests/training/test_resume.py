"""Interrupted or killed at any instant and started again, a training ends as if nothing had happened, bit for bit."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Exit, Interrupted
from harness.jobs.job import Job
from harness.scheduler import worker
from harness.store import curve
from harness.store.store import Store
from harness.tasks.segmentation import train as train_job
from harness.tasks.segmentation.train import train
from harness.training import checkpoint
from tests.support import tiny_training
from tests.support.waiting import PATIENCE, until
from tests.tasks.segmentation.test_train import config, context, numbers

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
    tiny_training.training(folder, ITERATIONS).run()
    result = outcome(folder)
    assert [record["iteration"] for record in result["curve"]] == list(range(1, ITERATIONS + 1))
    return result


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(stops=st.lists(st.integers(1, ITERATIONS), min_size=1, max_size=4))
def test_interrupted_and_resumed(undisturbed, tmp_path_factory, stops):
    folder = tmp_path_factory.mktemp("stopped")
    for stop in stops:
        asked = iter(range(1, ITERATIONS + 1))
        training = tiny_training.training(
            folder, ITERATIONS, seed=stop
        )  # another seed: all of the state comes from the file
        if not checkpoint.listing(folder):
            training = tiny_training.training(folder, ITERATIONS)
        try:
            training.run(should_stop=lambda asked=asked, stop=stop: next(asked) == stop)
        except Interrupted:
            newest = checkpoint.load(folder)
            assert newest["tally"]["iteration"] == len(curve.read(folder))
    tiny_training.training(folder, ITERATIONS, seed=99).run()
    assert_same(outcome(folder), undisturbed)


def test_a_finished_training_is_not_run_again(undisturbed, tmp_path):
    tiny_training.training(tmp_path, ITERATIONS).run()
    before = (tmp_path / curve.FILE).read_bytes()

    def no_batches(start, stop):
        raise AssertionError("asked for a batch")

    again = tiny_training.training(tmp_path, ITERATIONS, seed=5, batches=no_batches)
    assert again.run().iteration == ITERATIONS
    assert (tmp_path / curve.FILE).read_bytes() == before
    assert again.model.measurements()["drawn"] == undisturbed["weights"]["drawn"].tolist()


FORK = multiprocessing.get_context("fork")
"""A fresh interpreter would load torch for seconds before each kill."""


def run_in_child(folder: Path, event: int | None) -> int:
    """Trains in a forked process, which kills itself at `event`; gives its exit status (negative: the signal, 1: an error,
    which it prints)."""

    def work() -> None:
        if event is not None:
            tiny_training.kill_at(event)
        tiny_training.training(folder, ITERATIONS).run()

    return ended(started(work))


def started(work: Callable[[], None]) -> BaseProcess:
    child = FORK.Process(target=work)
    child.start()
    return child


def ended(child: BaseProcess) -> int:
    child.join(PATIENCE)
    assert child.exitcode is not None, "it hangs"
    assert child.exitcode in (0, -signal.SIGKILL), f"exit code {child.exitcode}; what it said stands above"
    return child.exitcode


@pytest.mark.slow
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
    command = [sys.executable, tiny_training.__file__, str(tmp_path), str(ITERATIONS)]
    process = subprocess.Popen(command)
    until(lambda: process.poll() is not None or len(curve.read(tmp_path)) >= 5, "five steps")
    process.kill()
    process.wait()
    subprocess.run(command, check=True, timeout=PATIENCE)
    assert_same(outcome(tmp_path), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fcn", "idrnet"])
def test_real_trainings_killed_at_twenty_random_instants(tmp_path, method):
    """kill -9 from outside, each time after a random part of the time that the whole takes, then to the end: final weights
    and every measurement that is not a time are those of the undisturbed training, and so is its curve."""
    options = {"fcn": {"channels": 16}, "idrnet": {"channels": 16, "attention_channels": 8, "auxiliary_channels": 8}}
    job = config(method, options=options[method], iterations=ITERATIONS, checkpoint_every=2, evaluate_every=5)
    cache = tmp_path / "cache"

    def training(folder: Path) -> BaseProcess:
        def work() -> None:
            found = numbers(train(job, context(folder, cache)))
            (folder / "measured.json").write_text(json.dumps(found), encoding="utf-8")

        return started(work)

    def result(folder: Path) -> tuple[dict, dict]:
        return outcome(folder), json.loads((folder / "measured.json").read_text(encoding="utf-8"))

    assert ended(training(tmp_path / "first")) == 0  # draws the scenes, so that the next one is timed without
    began = time.perf_counter()
    assert ended(training(tmp_path / "whole")) == 0
    lasts = time.perf_counter() - began
    expected, measured = result(tmp_path / "whole")
    assert ("deletions/sky" in measured) == (method == "idrnet")
    draw, killed, finished = random.Random(11), 0, 0
    while True:
        folder = tmp_path / str(finished)
        child = training(folder)
        if killed < 20:
            child.join(draw.uniform(0, lasts))
            child.kill()
        if ended(child) != 0:
            killed += 1
            continue
        weights, found = result(folder)
        assert_same(weights, expected)
        assert found == measured
        if killed == 20:
            return
        finished += 1  # it was quicker than its killer: another one


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_saves_and_leaves_with_the_code_that_says_run_it_again(tmp_path, number):
    """The worker as a scheduler stops it: the checkpoint is of the last iteration in the curve."""
    endless = config(iterations=100_000, checkpoint_every=50_000).model_dump(mode="json")
    job = Job("train", endless, "k" * 64, "i" * 64, {})
    folder = Store(tmp_path).folder(job)
    worker.Request(job, str(tmp_path), None, "cpu", 1).write(folder)
    child = started(lambda: sys.exit(worker.main([str(folder)])))
    until(lambda: not child.is_alive() or curve.read(folder), "a step")
    os.kill(child.pid, number)
    child.join(PATIENCE)
    assert child.exitcode == Exit.RESUMABLE
    (saved,) = checkpoint.listing(folder)
    assert saved.iteration == len(curve.read(folder)) > 0


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_saves_also_with_data_workers(tmp_path, monkeypatch):
    """A scheduler may signal every process of a job: the data workers go on until the training has saved, then end too."""
    monkeypatch.setattr(train_job, "data_workers", lambda context: 2)
    endless = config(iterations=100_000, checkpoint_every=50_000).model_dump(mode="json")
    job = Job("train", endless, "k" * 64, "i" * 64, {})
    folder = Store(tmp_path).folder(job)
    worker.Request(job, str(tmp_path), None, "cpu", 1).write(folder)

    def work() -> None:
        os.setpgrp()
        sys.exit(worker.main([str(folder)]))

    child = started(work)
    until(lambda: not child.is_alive() or curve.read(folder), "a step")
    os.killpg(child.pid, signal.SIGTERM)
    child.join(PATIENCE)
    assert child.exitcode == Exit.RESUMABLE
    (saved,) = checkpoint.listing(folder)
    assert saved.iteration == len(curve.read(folder)) > 0
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
