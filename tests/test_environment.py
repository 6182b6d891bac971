"""Where jobs run: never on a GPU by accident, and never on one that torch cannot use."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from harness import ROOT, environment
from harness.environment import Device
from harness.errors import MissingError
from harness.jobs.job import Job
from harness.plan.request import PlanRequest
from harness.scheduler.gpu_check import compute, ensure_usable
from harness.scheduler.local import Local
from harness.store.store import Store
from tests.scheduler.test_local import job

TABLE = str(ROOT / "tables" / "camvid.yaml")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that lists two, as nvidia-smi would."""
    monkeypatch.setattr(environment, "_cards", lambda: (("NVIDIA H200", "580.65.06"),) * 2)
    monkeypatch.setattr(environment, "gpus", lambda: ("NVIDIA H200",) * 2)


def test_the_tests_themselves_run_on_cpus_also_beside_a_gpu(two_gpus: None):
    assert environment.device().kind == "cpu"
    assert environment.device("cuda") == Device("cuda", "NVIDIA H200", 2)


@pytest.mark.parametrize(
    ("asked", "variable", "profile", "kind"),
    [
        ("auto", None, "paper", "cuda"),
        ("auto", "cpu", "paper", "cpu"),
        ("auto", None, "smoke", "cpu"),  # "on a CPU", it says
        ("auto", "cuda", "smoke", "cuda"),
        ("cuda", "cpu", "smoke", "cuda"),
        ("cpu", "cuda", "paper", "cpu"),
    ],
)
def test_who_says_where_jobs_run(
    asked: str, variable: str | None, profile: str, kind: str, two_gpus: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HARNESS_DEVICE")
    if variable:
        monkeypatch.setenv("HARNESS_DEVICE", variable)
    assert PlanRequest((TABLE,), profile=profile, device=asked).resolve_device().kind == kind


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that torch can use")
def test_a_gpu_that_torch_cannot_use_is_said_once_before_the_first_job(tmp_path: Path, two_gpus: None):
    store = Store(tmp_path)
    store.prepare()
    jobs = [job("good", name=str(i)) for i in range(3)]
    transport = Local(store, data_dir=None, device=environment.device("cuda"))
    with pytest.raises(MissingError) as error:
        transport.start(jobs, {j.key: j for j in jobs})
    assert f"NVIDIA H200 (driver 580.65.06), but torch {torch.__version__} cannot compute on it" in str(error.value)
    assert "--device cpu" in str(error.value)
    assert not transport.active()
    assert not any(store.folder(j).exists() for j in jobs)


class Server:
    """Runs the process that looks at the GPU here, as if on one of this compute capability."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
        ones = torch.ones
        monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    def start(self, function, arguments, environ) -> int:
        return compute(*arguments)

    def wait(self, numbers, timeout) -> None: ...

    def exit_code(self, number) -> int:
        return 0


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (10, 0)])
@pytest.mark.parametrize("config", [{"recipe": {"precision": "bf16"}}, {"protocol": {"precision": "bf16"}}], ids=str)
def test_bfloat16_is_refused_before_the_first_job_on_a_gpu_without_it(
    config, capability, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server, device = Server(monkeypatch, capability), Device("cuda", "NVIDIA TITAN RTX", 1)
    others = [Job("train", {"recipe": {"precision": "fp16"}}, "a", "a", {}), job("good")]
    ensure_usable(device, server, tmp_path, others)
    expected = pytest.raises(MissingError, match=r"bf16 needs .* NVIDIA TITAN RTX has 7\.5\. Take a profile")
    with expected if capability < (8, 0) else contextlib.nullcontext():
        ensure_usable(device, server, tmp_path, [*others, Job("train", config, "b", "b", {})])
