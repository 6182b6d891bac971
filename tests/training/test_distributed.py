"""Several processes train as one does on the same batches (gloo, CPU)."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.training import checkpoint, curve

from .test_run import config

SPREAD = Path(__file__).with_name("spread.py")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(command: list[str], processes: int, **environment: str) -> list[subprocess.CompletedProcess]:
    """Runs `command` once per rank, as torchrun does, and waits for all."""
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**shared, "WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    results = []
    for process in started:
        out, error = process.communicate(timeout=300)
        results.append(subprocess.CompletedProcess(command, process.returncode, out, error))
    return results


def trained(tmp_path: Path, job, processes: int, dtype: str) -> Path:
    (tmp_path / "job.json").write_text(job.model_dump_json())
    folder = tmp_path / f"on{processes}"
    for result in launch(
        [str(SPREAD), str(tmp_path / "job.json"), str(folder), str(tmp_path / "cache"), dtype], processes
    ):
        assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("method", "dtype"), [("fcn", "float32"), ("fcn", "float64"), ("idrnet", "float64")])
def test_two_processes_of_four_equal_one_of_eight(tmp_path, method, dtype):
    """20 steps of batch 8, normalisation synchronised: the same weights and losses to 1e-6.

    IDRNet takes the most likely class of every pixel and draws classes by them; in float32 the order of a sum tips one of
    them after some steps, and the two trainings part, as any two that differ by rounding.
    """
    options = {
        "fcn": {"channels": 16},
        "idrnet": {"channels": 16, "attention_channels": 8, "dropout": 0.0, "reduction": "exact"},
    }
    data = config().data.model_copy(
        update={"synthetic": config().data.synthetic.model_copy(update={"train_images": 16})}
    )
    job = config(method, options=options[method], batch_size=8, iterations=20).model_copy(update={"data": data})
    one, two = trained(tmp_path, job, 1, dtype), trained(tmp_path, job, 2, dtype)
    for a, b in zip(curve.read(one), curve.read(two)):
        assert a["iteration"] == b["iteration"]
        assert a["lr"] == b["lr"]
        assert a["terms"] == pytest.approx(b["terms"], abs=1e-6)
    assert len(curve.read(two)) == 20
    weights = checkpoint.load_weights(two)
    for name, weight in checkpoint.load_weights(one).items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-6, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
