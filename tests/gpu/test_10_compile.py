"""`compile: true` and `stages` in each precision: it runs, with the losses of an eager step, and compiles nothing later."""

import pytest
import torch

from harness.store import curve
from tests.support.gpu_cases import DEVICE, job, training

pytestmark = [pytest.mark.gpu, pytest.mark.cuda]


@pytest.mark.parametrize("method", ["fcn", "upernet", "idrnet"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("how", [True, "stages"])
def test_equals_eager(tmp_path, method, precision, how):
    from torch._dynamo.utils import counters

    losses = {}
    for compiled in (False, how):
        torch._dynamo.reset()
        counters.clear()
        config = job(method, precision=precision, compile=compiled, iterations=4, deterministic=False)
        run = training(config, tmp_path / str(compiled))
        run.run()
        losses[compiled] = [record["loss"] for record in curve.losses(tmp_path / str(compiled))]
    assert losses[how][0] == pytest.approx(losses[False][0], rel=1e-3 if precision == "fp32" else 2e-2)
    frames = counters["frames"]["ok"]
    run._step(next(iter(run.batches(0, 1))), 0.0)
    assert counters["frames"]["ok"] == frames, "compiled again after the last step"
    heads = {"fcn": 2, "upernet": 2, "idrnet": 3}[method]
    breaks = 2 * heads if how is True else 0
    assert sum(counters["graph_break"].values()) <= breaks, dict(counters["graph_break"])
    assert DEVICE == "cuda"
