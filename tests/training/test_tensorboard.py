"""Curves in TensorBoard: what stands there is what the curve says, each point once, and only where it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import Exit, Interrupted, MissingError
from harness.store import curve
from harness.tasks.segmentation.train import build_training, train
from harness.training import loggers, tensorboard
from tests.tasks.segmentation.test_train import config, context


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setenv(loggers.TENSORBOARD_VARIABLE, "1")


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """{tag: [(iteration, value)]} as TensorBoard itself reads the files."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    (run,) = (folder / tensorboard.FOLDER).iterdir()
    assert run.name == "fcn-timm-test_resnet-camvid-smoke-3"
    events = reader.EventAccumulator(str(run)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in curve.read(folder):
        for tag, value in tensorboard.scalars(record).items():
            found.setdefault(tag, []).append((record["iteration"], pytest.approx(value)))  # events are float32
    return found


def test_events_are_the_curve(tmp_path, cache, asked):
    train(config(evaluate_every=2), context(tmp_path, cache))
    tags = {"loss/all", "loss/main", "loss/auxiliary", "train/lr", "train/images_per_s"}
    assert set(points(tmp_path)) == tags | {f"test/{name}" for name in ("miou", "aacc", "macc", "fwiou")}
    assert points(tmp_path) == expected(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_every", [2, 5])
def test_a_resumed_training_doubles_no_point(tmp_path, cache, asked, checkpoint_every):
    """Thrown back, as by a kill, after its third iteration: to the checkpoint of iteration 2, or to the start."""
    job = config(iterations=5, checkpoint_every=checkpoint_every)
    training = build_training(job, context(tmp_path, cache))
    real = training.batches

    def killed(start, stop):
        yield from real(start, 3)
        raise KeyboardInterrupt

    training.batches = killed
    with pytest.raises(KeyboardInterrupt):
        training.run()
    assert [step for step, _ in points(tmp_path)["loss/all"]] == [1, 2, 3]
    train(job, context(tmp_path, cache))
    assert [step for step, _ in points(tmp_path)["loss/all"]] == [1, 2, 3, 4, 5]
    assert points(tmp_path) == expected(tmp_path)


def test_a_package_that_is_not_there_is_said_before_anything_is_read(tmp_path, cache, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingError, match=r"not installed .*pip install -e '\.\[tensorboard\]'") as refused:
        train(config(), context(tmp_path / "job", tmp_path / "cache"))
    assert refused.value.exit == Exit.MISSING
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("value", ["", "0"])
def test_nothing_is_written_where_it_is_not_asked_for(tmp_path, cache, monkeypatch, value):
    monkeypatch.setenv(loggers.TENSORBOARD_VARIABLE, value)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(config(iterations=1), context(tmp_path, cache))
    assert not (tmp_path / tensorboard.FOLDER).exists()


def test_it_may_be_switched_on_for_a_training_that_goes_on(tmp_path, cache, monkeypatch):
    """It is no part of what a checkpoint must agree in."""
    with pytest.raises(Interrupted):
        train(config(), context(tmp_path, cache, should_stop=lambda: True))
    monkeypatch.setenv(loggers.TENSORBOARD_VARIABLE, "1")
    train(config(), context(tmp_path, cache))
    assert [step for step, _ in points(tmp_path)["loss/all"]] == [2, 3, 4]
