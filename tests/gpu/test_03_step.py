"""A training step waits for nothing, and each precision computes as precisely as it says."""

import pytest
import torch
import torch.nn.functional as F

from harness.recipes.common import Optimizer
from harness.training.precision import Precision
from tests.support.gpu_cases import DEVICE, job, pinned, relative_error, training

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("method", ["fcn", "idrnet", "ocrnet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"] if DEVICE == "cuda" else ["fp32", "bf16"])
def test_no_host_wait(tmp_path, method, precision):
    run = training(job(method, precision=precision, optimizer=Optimizer(clip_norm=10.0)), tmp_path / "job")
    run.model.train()
    batches = [pinned(batch) for batch in run.batches(0, 6)]
    for batch in batches[:3]:
        run._step(batch, 1.0)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        terms = [run._step(batch, 1.0) for batch in batches[3:]]
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert all(loss.isfinite() for losses in terms for loss in losses.values())


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16"])
def test_float32_products_are_as_precise_as_they_say(name):
    """Outside autocast: 1e-6 (ieee) or 1e-3 (tf32), of a matrix product and a dilated convolution; every getter answers."""
    torch.manual_seed(0)
    a = torch.randn(2048, 2048, dtype=torch.float64, device=DEVICE)
    image, kernel = (torch.randn(n, 64, s, s, dtype=torch.float64, device=DEVICE) for n, s in ((2, 64), (64, 3)))
    Precision(name, DEVICE).apply()
    errors = (
        relative_error(a.float() @ a.float(), a @ a),
        relative_error(F.conv2d(image.float(), kernel.float(), dilation=2), F.conv2d(image, kernel, dilation=2)),
    )
    capable = torch.cuda.get_device_capability() >= (8, 0)
    low, high = (1e-5, 5e-3) if name == "tf32" and capable else (0, 5e-6)
    assert all(low <= error <= high for error in errors), errors
    expected = name == "tf32"
    assert torch.backends.cuda.matmul.allow_tf32 is expected
    assert torch.backends.cudnn.allow_tf32 is expected
    assert torch.get_float32_matmul_precision() in ("high", "highest")


@pytest.mark.cuda
def test_cudnn_tries_algorithms_and_optimisers_take_one_kernel(tmp_path):
    run = training(job(), tmp_path / "job")
    assert torch.backends.cudnn.benchmark
    assert run.optimizer.defaults["fused"]
    training(job(deterministic=True), tmp_path / "other")
    assert not torch.backends.cudnn.benchmark
