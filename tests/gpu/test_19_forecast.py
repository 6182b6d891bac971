"""The planner's first estimate against this card: its rate within a factor of two of a step's, by number format."""

import pytest
import torch

from benchmarks.gpu_throughput import config, measure, step_flops
from harness.plan.forecast import Forecast, tflop_per_image
from tests.support.gpu_cases import DEVICE

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("method", ["fcn", "idrnet"])
@pytest.mark.cuda
def test_the_rate_of_the_card(method, precision):
    rate = Forecast(f"cuda: {torch.cuda.get_device_name()}", [])._rate(precision)
    if rate is None:
        pytest.skip(f"the peak of {torch.cuda.get_device_name()} is not listed in harness/plan/forecast.py")
    job = config(method, precision, "nhwc", False, batch=16, side=512)
    measured = measure(job, DEVICE, 10)["images_per_s"] * step_flops(job) / 1e12
    assert 0.5 <= measured / rate <= 2, f"{measured:.1f} TFLOP/s measured, {rate:.1f} assumed"


@pytest.mark.parametrize("method", ["fcn", "idrnet"])
def test_the_counted_flops_are_those_of_the_step(method):
    job = config(method, "fp32", "nchw", False, batch=16, side=512)
    assert tflop_per_image(job) == pytest.approx(step_flops(job) / 1e12, rel=0.1)
