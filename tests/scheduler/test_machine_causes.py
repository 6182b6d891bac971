"""What ended a job that lies with the machine: named, with advice, and repeated where that helps."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from harness.errors import Exit
from harness.scheduler.machine_causes import REPEATED_AS, machine_cause
from harness.scheduler.slurm.causes import Retries
from harness.scheduler.worker import explain
from harness.training.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("message", "cause", "advice", "retried"),
    [
        ("DataLoader worker (pid 4711) is killed by signal: Killed. ", "data worker killed", "host's memory", True),
        ("DataLoader worker (pid(s) 4711, 4712) exited unexpectedly", "data worker killed", "host's memory", True),
        (
            "DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
            "shared memory. Please try to raise your shared memory limit.",
            "shared memory",
            "docker run --shm-size",
            False,
        ),
        (
            "unable to write to file </torch_4711_123_0>: No space left on device (28)",
            "shared memory",
            "/dev/shm",
            False,
        ),
        (
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: Success (0)",
            "shared memory",
            "/dev/shm",
            False,
        ),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "out of memory",
            "accumulate",
            False,
        ),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "out of memory", "accumulate", False),
        ("CUDA error: uncorrectable ECC error encountered", "GPU failure", "nvidia-smi -q", True),
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "GPU failure", "nvidia-smi", True),
        ("NCCL error in: ProcessGroupNCCL.cpp:77, remote process exited", "lost connection", "NCCL_DEBUG=INFO", True),
        ("[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)", "lost connection", "log", True),
        (
            "[../gloo/transport/tcp/pair.cc:589] Connection closed by peer [10.0.0.7]:4000",
            "lost connection",
            "log",
            True,
        ),
    ],
)
def test_what_torch_says_of_the_machine_becomes_a_cause(message: str, cause: str, advice: str, retried: bool):
    failure = explain(RuntimeError(message), log="log.txt")
    assert (failure.cause, failure.exit) == (cause, Exit.FAILED)
    assert advice in failure.message
    assert message.strip() in failure.message
    assert Retries().can_retry(REPEATED_AS.get(cause, ""), {}) == retried


@pytest.mark.parametrize("error", [ValueError("NCCL is not what I wanted"), RuntimeError("the widths do not fit")])
def test_a_jobs_own_error_stays_its_own(error: Exception):
    assert explain(error, log="").cause == "exception"


def test_memory_that_cublas_does_not_get_is_a_lack_of_memory_like_any():
    """So that the batch that fits is looked for and said."""
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))


class _Killed(torch.utils.data.Dataset):
    """Its items are never made: the kernel kills the worker that tries."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)


def test_a_data_worker_that_the_kernel_kills_says_what_the_pattern_expects():
    with pytest.raises(RuntimeError) as error:
        next(iter(DataLoader(_Killed(), num_workers=1, multiprocessing_context="fork")))
    found = machine_cause(str(error.value))
    assert found is not None
    assert found.cause == "data worker killed"
