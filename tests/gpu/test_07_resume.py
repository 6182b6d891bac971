"""Stopped and resumed: bit for bit with `deterministic`, to rounding without."""

import pytest
import torch

from harness.errors import Interrupted
from harness.store import curve
from harness.training import checkpoint
from tests.support.gpu_cases import DEVICE, job, training

pytestmark = pytest.mark.gpu
ITERATIONS, STOP = (20, 10) if DEVICE == "cuda" else (6, 3)


def losses(folder):
    return [record["loss"] for record in curve.losses(folder)]


@pytest.mark.parametrize("method", ["fcn", "ocrnet"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_stopped_and_resumed(tmp_path, method, deterministic):
    config = job(method, iterations=ITERATIONS, deterministic=deterministic)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    training(config, whole).run()
    asked = iter(range(1, ITERATIONS + 1))
    with pytest.raises(Interrupted):
        training(config, pieces).run(should_stop=lambda: next(asked) == STOP)
    assert checkpoint.listing(pieces)[-1].iteration == STOP
    training(config, pieces).run()
    if deterministic or DEVICE == "cpu":
        assert losses(pieces) == losses(whole)
        weights = checkpoint.load_weights(pieces)
        assert all(torch.equal(w, weights[name]) for name, w in checkpoint.load_weights(whole).items())
    else:
        assert losses(pieces) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["pspnet", "upernet"])
def test_what_cannot_repeat_is_refused_by_name(tmp_path, method):
    """Adaptive pooling has no repeatable backward pass on CUDA."""
    with pytest.raises(Exception, match=r"(?i)determinis"):
        training(job(method, deterministic=True), tmp_path / "job").run()
