"""`compile: stages`: the backbone's stages and the cross-entropy of an image, compiled by themselves, compute what they did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from harness.errors import MissingError
from harness.jobs.kinds import Model
from harness.store import curve
from methods import fusion
from methods.build import build_model
from methods.idrnet.pixel_losses import mean_and_pixel_losses
from methods.segmentor import IGNORE, cross_entropy_sum
from tests.support import gpu_cases


@pytest.fixture(autouse=True)
def _backend(monkeypatch: pytest.MonkeyPatch):
    """What captures and differentiates the graphs as Inductor does, and runs them as they are."""
    monkeypatch.setattr(fusion, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    fusion.fuse(False)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "backbone", "names"),
    [
        ("fcn", "resnet50_v1c", ["body.conv1", "body.layer1", "body.layer2", "body.layer3", "body.layer4"]),
        ("hfgd", "hfgd_resnet50", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("upernet", "swin_base", ["body.patch_embed", *(f"body.layers_{i}" for i in range(4))]),
    ],
)
def test_the_stages_of_a_backbone(method, backbone, names):
    with torch.device("meta"):
        model = build_model(Model(name=method, num_classes=11, backbone=backbone))
    before = [*model.state_dict()]
    assert fusion.compile_stages(model.backbone) == names
    assert [*model.state_dict()] == before


@pytest.mark.slow
def test_a_training_by_stages_has_the_losses_of_an_eager_one(tmp_path: Path):
    losses, runs = {}, {}
    for how in (False, "stages"):
        config = gpu_cases.job(compile=how, iterations=3, batch_size=2, channels_last=True)
        run = runs[how] = gpu_cases.training(config, tmp_path / str(how), device="cpu")
        run.run()
        losses[how] = [record["loss"] for record in curve.losses(tmp_path / str(how))]
    assert losses["stages"] == pytest.approx(losses[False], rel=1e-4)
    frames, broken = counters["frames"]["ok"], sum(counters["graph_break"].values())
    assert (frames, broken) == (4 + 2, 0), "four stages, and the cross-entropy of an image at two sizes of logits"

    run = runs["stages"]
    run._step(next(iter(run.batches(0, 1))), 1.0)
    run.model.eval()
    with torch.inference_mode():
        for side in (64, 80, 96):
            run.model(torch.zeros(1, 3, side, side))
    assert counters["frames"]["ok"] == frames, "nothing is compiled again, also for tests of any size"


def pixels():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 19, 9, 9, generator=generator, requires_grad=True)
    targets = torch.randint(0, 19, (2, 33, 33), generator=generator)
    targets[:, :5] = IGNORE
    return logits, targets


@pytest.mark.slow
def test_fused_cross_entropy_equals_the_eager_one():
    """As Inductor computes it: tests/gpu/test_10_compile.py."""
    logits, targets = pixels()

    def both() -> list[torch.Tensor]:
        total = cross_entropy_sum(logits, targets)
        mean, losses = mean_and_pixel_losses(logits, targets, torch.tensor(100.0))
        return [total, *torch.autograd.grad(total, logits), mean, losses, *torch.autograd.grad(mean, logits)]

    eager = both()
    fusion.fuse(True)
    fused = both()
    assert counters["stats"]["unique_graphs"] == 2
    torch.testing.assert_close(fused, eager)


def test_nothing_is_compiled_where_no_recipe_asks_for_it():
    logits, targets = pixels()
    cross_entropy_sum(logits, targets).backward()
    assert counters["frames"]["ok"] == 0


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fusion, "BACKEND", "inductor")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingError, match=r"recipe.compile: torch.compile needs a C compiler .* say compile: false"):
        fusion.compile_stages(torch.nn.Sequential())
