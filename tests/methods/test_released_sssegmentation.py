"""Released weights under our names: every name has its place, and what does not fit is listed in full."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock

from harness import ROOT
from harness.environment import Device
from harness.errors import UserError
from harness.jobs.kinds import Model
from harness.plan.planner import Planner
from harness.table import recipes
from harness.table.load import load
from methods.backbones import build_backbone
from methods.backbones._padded_swin import PaddedSwinBlock
from methods.build import build_model
from methods.released import sssegmentation
from methods.weights import misfits
from tests.support import released_names as released


def model(name: str, options: dict, backbone: str = "resnet50_v1c", stride: int | None = 8) -> Model:
    return Model(name=name, options=options, num_classes=7, backbone=backbone, output_stride=stride)


@functools.cache
def in_tables() -> dict[str, Model]:
    """{name of a released configuration: the model that a row of the tables tests its checkpoint with}"""
    with tempfile.TemporaryDirectory() as cache:
        planner = Planner(recipes.profile("paper"), cache=Path(cache), device=Device("cpu", "test", 1))
        plan = planner.plan([load(ROOT / "tables" / f"{name}.yaml") for name in ("idrnet_released", "idrnet_table7")])
    jobs = [(cell, job.config) for cell in plan.cells_to_measure() for job in cell.jobs]
    found = {Path(c["checkpoint"]).stem: c["model"] for _, c in jobs if c["checkpoint"]}
    (wide,) = [c["model"] for cell, c in jobs if cell.row == "ocrnet_hrnet" and cell.column == "ade20k"]
    for name, described in list(
        found.items()
    ):  # of the larger backbones the paper prints no number of these checkpoints
        if name.endswith("resnet50os8_ade20k") and not name.startswith("idrnet"):
            found[name.replace("resnet50", "resnet101")] = described | {"backbone": "resnet101_v1c"}
    found["ocrnet_hrnetv2w48_ade20k"] = wide
    return {name: Model.model_validate(described | {"pretrained": False}) for name, described in found.items()}


def test_every_released_configuration_has_its_row():
    assert sorted(in_tables()) == sorted(released.CONFIGURATIONS)
    assert sum(name.startswith("idrnet_") for name in released.CONFIGURATIONS) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", released.CONFIGURATIONS)
def test_every_released_name_has_exactly_one_place(name: str):
    """Nothing of ours is missing, nothing of theirs is left, every shape fits, and no two names fall together."""
    described = in_tables()[name]
    theirs = released.empty(released.checkpoint(name))
    assert sssegmentation.num_classes(theirs) == described.num_classes
    ours, left = sssegmentation.convert(described, theirs)
    with torch.device("meta"):
        built = build_model(described)
    assert left == []
    assert misfits(built, ours) == []
    added = {"head.row_updates"} if described.name == "idrnet" else set()  # follows from the counter of deletions
    follow = {n for n in theirs if n.endswith("relative_position_index")}  # from the size of a window
    assert len(ours) == len(theirs) + len(added) - len(follow)
    assert ours.keys() == built.state_dict().keys()


@pytest.mark.parametrize(
    ("method", "theirs", "ours"),
    [
        ("fcn", "backbone_net.stem.6.weight", "backbone.body.conv1.6.weight"),
        ("fcn", "backbone_net.stem.7.running_var", "backbone.body.bn1.running_var"),
        ("fcn", "backbone_net.layer3.5.bn3.bias", "backbone.body.layer3.5.bn3.bias"),
        ("pspnet", "auxiliary_decoder.4.bias", "auxiliary.classifier.1.bias"),
        ("ocrnet", "auxiliary_decoder.4.bias", "context.coarse.classifier.1.bias"),
        ("nonlocal", "nl_block.theta.0.weight", "context.block.query.weight"),
        ("nonlocal", "nl_block.phi.0.weight", "context.block.key.weight"),
        ("nonlocal", "nl_block.g.0.weight", "context.block.value.weight"),
        ("dnlnet", "dnl_block.conv_mask.bias", "context.block.saliency.bias"),
        ("upernet", "decoder.4.weight", "classifier.1.weight"),
        ("deeplabv3", "aspp_net.global_branch.2.weight", "context.image.1.1.weight"),
        ("idrnet", "class_relations_var", "head.relations.variance"),
    ],
)
def test_places_that_shapes_do_not_decide(method: str, theirs: str, ours: str):
    value = torch.ones(3)
    assert list(sssegmentation.convert(model(method, {}), {theirs: value})[0]) == [ours]


def test_names_of_nothing_of_ours_are_left():
    _, left = sssegmentation.convert(model("fcn", {}), {"decoder.9.weight": torch.ones(1), "sampler.x": torch.ones(1)})
    assert left == ["decoder.9.weight", "sampler.x"]


def test_a_method_without_released_names_is_refused():
    with pytest.raises(UserError, match=r"no released names are known for method 'hfgd'\..*idrnet"):
        sssegmentation.convert(model("hfgd", {}), {})


def test_a_backbone_without_released_names_is_refused():
    with pytest.raises(UserError, match=r"no released names are known for backbone 'timm/beit.*hrnet, resnet, swin"):
        sssegmentation.convert(model("fcn", {}, "timm/beit_base_patch16_224", None), {})


def test_criss_cross_scale_becomes_a_vector():
    ours, _ = sssegmentation.convert(model("ccnet", {}), {"cca.gamma.scale": torch.tensor(0.5)})
    assert torch.equal(ours["context.block.gamma"], torch.tensor([0.5]))


def test_merged_patches_come_in_another_order():
    """Their merging unfolds [B, C, H, W], ours takes slices of [B, H, W, C]; both give the same after conversion."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 6, 8), torch.randn(5, 12)
    theirs = F.unfold(x, 2, stride=2).transpose(1, 2) @ weight.T  # [B, 3·4, 5]
    name = "backbone_net.stages.0.downsample.reduction.weight"
    ours, _ = sssegmentation.convert(model("fcn", {}, "swin_large", None), {name: weight})
    (converted,) = ours.values()
    y = x.permute(0, 2, 3, 1)
    slices = torch.cat([y[:, 0::2, 0::2], y[:, 1::2, 0::2], y[:, 0::2, 1::2], y[:, 1::2, 1::2]], dim=-1)
    torch.testing.assert_close(slices.flatten(1, 2) @ converted.T, theirs)


# ------------------------------------------------------------------------------------------------ what Swin computes


def test_swin_pads_before_it_shifts():
    """On a map that is no multiple of the window: as the block on the map padded by hand, and not as timm's own."""
    torch.manual_seed(0)
    options = {"dim": 8, "input_resolution": (12, 12), "num_heads": 2, "window_size": 4, "shift_size": 2}
    block = PaddedSwinBlock(**options, dynamic_mask=True, always_partition=True).eval()
    own = SwinTransformerBlock(**options, dynamic_mask=True, always_partition=True).eval()
    own.load_state_dict(block.state_dict())
    x = torch.randn(1, 6, 9, 8)
    with torch.no_grad():
        padded = own._attn(F.pad(x, (0, 0, 0, 3, 0, 2)))[:, :6, :9]
        torch.testing.assert_close(block._attn(x), padded)
        assert (block._attn(x) - own._attn(x)).abs().max() > 1e-4


def test_swin_shifts_in_every_stage():
    with torch.device("meta"):
        body = build_backbone("swin_large").body
    blocks = [m for m in body.modules() if isinstance(m, SwinTransformerBlock)]
    assert len(blocks) == 24
    assert all(type(m) is PaddedSwinBlock for m in blocks)
    assert [m.shift_size for m in blocks] == [(0, 0), (6, 6)] * 12
