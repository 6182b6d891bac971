"""mmsegmentation's largest models under a profile that makes them small, and where their pretrained weights are looked for."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import pytest
import torch

from harness.errors import MissingError, Problems
from harness.jobs.kinds import Model
from harness.table import recipes
from methods.adapters.mmsegmentation import limit_depth
from methods.build import build_model
from methods.segmentor import IGNORE
from tests.plan.test_planner import planned, table

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mmseg") is None, reason="the extra mmseg is not installed")

SEGFORMER = "segformer_mit-b5_8xb2-160k_ade20k-640x640"
ROW = f"a: {{method: {{name: adapters/mmsegmentation, config: {SEGFORMER}}}}}"
BEIT = {
    "type": "EncoderDecoder",
    "backbone": {"type": "BEiT", "img_size": (64, 64), "patch_size": 16, "embed_dims": 16, "num_layers": 2,
                 "num_heads": 2, "mlp_ratio": 2, "out_indices": (0, 1), "qv_bias": True, "init_values": 0.1},
    "decode_head": {"type": "FCNHead", "in_channels": 16, "in_index": 1, "channels": 8, "num_convs": 1, "num_classes": 5,
                    "dropout_ratio": 0, "loss_decode": {"type": "CrossEntropyLoss", "avg_non_ignore": True}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("backbone", "limited"),
    [
        ({"num_layers": [3, 6, 40, 3]}, {"num_layers": [2, 2, 2, 2]}),
        ({"depths": (2, 2, 18, 1)}, {"depths": [2, 2, 2, 1]}),
        ({"num_layers": 24, "out_indices": (9, 14, 19, 23)}, {"num_layers": 8, "out_indices": (1, 3, 5, 7)}),
        ({"num_layers": 24}, {"num_layers": 2}),
        ({"type": "ResNetV1c", "depth": 101}, {"type": "ResNetV1c", "depth": 50}),
        (
            {"extra": {"stage4": {"num_modules": 3, "num_blocks": (4, 4)}}},
            {"extra": {"stage4": {"num_modules": 2, "num_blocks": (2, 2)}}},
        ),
    ],
)
def test_depth_leaves_so_many_blocks_in_a_stage(backbone: dict, limited: dict):
    limit_depth(backbone, 2)
    assert backbone == limited


def test_the_smoke_profile_makes_a_model_small_and_the_paper_profile_leaves_it_whole():
    for profile, given in (("smoke", {"depth": 1, "image_size": 64}), ("paper", {})):
        plan = planned(table(ROW), profile=profile)
        train = next(job for job in plan.jobs.values() if job.kind == "train")
        assert train.config["model"]["options"] == {"config": SEGFORMER, **given}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "{adapters/mmsegmentatio: {depth: 1}}",
            r"profiles/own.yaml:3: options.adapters/mmsegmentatio: unknown method",
        ),
        ("{adapters/mmsegmentation: {dept: 1}}", "options.adapters/mmsegmentation.dept: .* has no option 'dept'"),
        ("{adapters/mmsegmentation: {depth: 0}}", "option 'depth' takes a whole number above 0"),
    ],
)
def test_options_that_a_profile_cannot_give_are_said(options: str, message: str, tmp_path: Path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "own.yaml").write_text(f"name: own\nabout: mine\noptions: {options}\n")
    with pytest.raises(Problems, match=message):
        recipes.profile("own", near=tmp_path)


def test_a_backbone_of_one_size_takes_other_sizes():
    """Smaller: padded below and to the right, with pixels that count in no loss. Larger: windows of its size."""
    torch.manual_seed(0)
    model = build_model(
        Model(name="adapters/mmsegmentation", options={"config": BEIT}, num_classes=5, backbone="own")
    ).eval()
    images, targets = torch.randn(2, 3, 48, 40), torch.randint(5, (2, 48, 40))
    assert model(images).shape == (2, 5, 48, 40)
    whole, labels = torch.zeros(2, 3, 64, 64), torch.full((2, 64, 64), IGNORE)
    whole[:, :, :48, :40], labels[:, :48, :40] = images, targets
    torch.testing.assert_close(model(images), model(whole)[:, :, :48, :40])
    larger = torch.randn(1, 3, 64, 106)
    logits = model(larger)
    assert logits.shape == (1, 5, 64, 106)
    torch.testing.assert_close(logits[..., :42], model(larger[..., :64])[..., :42])
    torch.testing.assert_close(logits[..., 64:], model(larger[..., 42:])[..., 22:])
    for name, loss in model.losses(whole, labels).items():
        torch.testing.assert_close(model.losses(images, targets)[name], loss)


def test_a_model_is_built_without_values_where_only_its_size_counts():
    with torch.device("meta"):
        model = build_model(
            Model(name="adapters/mmsegmentation", options={"config": BEIT}, num_classes=5, backbone="own")
        )
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5, 64, 64)
    assert all(p.is_meta for p in model.parameters())


def test_weights_of_a_configuration_are_looked_for_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    plan = planned(table(ROW), profile="paper")
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    file = tmp_path / "adapters" / "mmsegmentation" / f"{SEGFORMER}.pth"
    assert f"the backbone of 'adapters/mmsegmentation/{SEGFORMER}' are not here" in plan.blocked[train.key]
    assert str(file.with_suffix(".safetensors")) in plan.blocked[train.key]
    model = Model.model_validate(train.config["model"])
    with pytest.raises(MissingError, match="are not here"):
        build_model(model)
    file.parent.mkdir(parents=True)
    options = {**model.options, "depth": 1}
    built = build_model(model.model_copy(update={"options": options, "pretrained": False}))
    torch.save(built.backbone.state_dict(), file)
    plan = planned(table(ROW), profile="paper")
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    assert train.parts["weights"] == {"file": hashlib.sha256(file.read_bytes()).hexdigest()}
    loaded = build_model(model.model_copy(update={"options": options}))
    for name, value in built.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[name], value), name
