"""What is known of a training before its first step: parameters that no loss reaches, operations that CUDA cannot repeat."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.jobs.kinds import TrainConfig
from harness.recipes.segmentation import Loss
from harness.store import curve
from harness.tasks.segmentation import step_checks
from harness.tasks.segmentation.step_checks import has_idle_parameters
from harness.tasks.segmentation.train import train
from methods.backbones import swin
from tests.support.ranks import run_ranks
from tests.tasks.segmentation.test_train import config, context

SMALL = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 1, 1)}


def on(backbone: str, method: str = "fcn", options: dict | None = None, **recipe) -> TrainConfig:
    job = config(method, options=options or {"channels": 16}, **recipe)
    return job.model_copy(update={"model": job.model.model_copy(update={"backbone": backbone})})


@pytest.fixture
def small_swin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swin, "_OPTIONS", {**swin._OPTIONS, **SMALL})


def _train(job: TrainConfig, folder: Path, cache: Path) -> None:
    train(job, context(folder, cache))


@pytest.mark.slow
def test_a_swin_of_whose_maps_two_are_read_trains_on_several_processes(tmp_path: Path, small_swin: None):
    """FCN reads the last map, its auxiliary head the one before; the norms of the others get no gradient."""
    run_ranks(_train, 2, on("swin_base", iterations=3), tmp_path / "job", tmp_path / "cache")
    assert len(curve.read(tmp_path / "job")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "idle"), [("swin_base", True), ("timm/test_resnet", False)])
def test_idle_parameters_are_known_where_processes_must_know_them(
    backbone: str, idle: bool, tmp_path: Path, small_swin: None, monkeypatch: pytest.MonkeyPatch
):
    assert not has_idle_parameters(on(backbone), context(tmp_path, tmp_path))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert has_idle_parameters(on(backbone), context(tmp_path, tmp_path)) == idle
    assert has_idle_parameters(on(backbone, loss=Loss(name="lovasz")), context(tmp_path, tmp_path))  # reads values


POOLING = "adaptive average pooling"
REFUSED = {  # method, options: what CUDA cannot repeat; README.md of tasks/segmentation and docs say which methods
    ("fcn", ()): None,
    ("nonlocal", ()): None,
    ("ocrnet", ()): None,
    ("ccnet", ()): None,
    ("dnlnet", ()): None,
    ("deeplabv3", ()): None,
    ("idrnet", ()): None,
    ("pspnet", ()): POOLING,
    ("upernet", ()): POOLING,
    ("ann", ()): POOLING,
    ("idrnet", ("context", "ppm")): POOLING,
}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "option"), REFUSED)
def test_deterministic_names_what_cuda_cannot_repeat(method: str, option: tuple, tmp_path: Path):
    job = on("resnet18", method, {"channels": 16, **dict([option] if option else [])}, deterministic=True)
    gpu = context(tmp_path, tmp_path).__class__(tmp_path, tmp_path, None, "cuda", 1)
    reason = REFUSED[method, option]
    if reason is None:
        assert not has_idle_parameters(job, gpu)
        return
    with pytest.raises(UserError, match=f"deterministic: method '{method}' on 'resnet18' cannot.*CUDA has {reason}"):
        train(job, gpu)  # before anything is read, or the GPU is touched
    assert not has_idle_parameters(job, context(tmp_path, tmp_path)), "a CPU repeats everything"


def test_operations_that_are_refused_have_torchs_names():
    import torch

    for name in step_checks.UNREPEATABLE:
        namespace, _, operation = name.rpartition("::")
        assert namespace or hasattr(torch.ops.aten, operation), name
