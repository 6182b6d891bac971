"""What the machine is: torch sees the GPU, runs a kernel of every number format, and records its name."""

import shutil
from pathlib import Path

import pytest
import torch

from harness import environment
from tests.support.gpu_cases import DEVICE, relative_error

pytestmark = pytest.mark.gpu
FORMATS = {torch.float64: 1e-12, torch.float32: 2e-3, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_a_kernel_of_every_number_format(dtype):
    """The wheel holds code for this GPU's architecture: a product and a convolution come out right."""
    torch.manual_seed(0)
    a, image = torch.randn(128, 128, dtype=torch.float64), torch.randn(1, 8, 16, 16, dtype=torch.float64)
    kernel = torch.randn(8, 8, 3, 3, dtype=torch.float64)
    product = a.to(DEVICE, dtype) @ a.to(DEVICE, dtype)
    assert relative_error(product, a @ a) < FORMATS[dtype]
    convolved = torch.nn.functional.conv2d(image.to(DEVICE, dtype), kernel.to(DEVICE, dtype))
    assert relative_error(convolved, torch.nn.functional.conv2d(image, kernel)) < FORMATS[dtype]


@pytest.mark.cuda
def test_the_recorded_name_is_torchs():
    found = environment.device("cuda")
    assert (found.kind, found.slots) == ("cuda", torch.cuda.device_count())
    assert found.name == torch.cuda.get_device_name(0)
    assert environment.describe("cuda", 1)["driver"].startswith("NVIDIA")


@pytest.mark.cuda
def test_memory_is_free():
    free, total = torch.cuda.mem_get_info()
    assert free / total > 0.8, "another program holds this GPU's memory"


def test_shared_memory_for_data_workers():
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm")
    assert shutil.disk_usage("/dev/shm").total >= 2**30, "start the container with --shm-size 1g or more, or --ipc host"
