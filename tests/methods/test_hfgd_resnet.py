"""The ResNet-50 of HFGD's authors: its plan, its stem beside timm's, weights."""

from __future__ import annotations

import pytest
import timm
import torch

from harness.errors import MissingError, UserError
from methods import pretrained
from methods.backbones import build_backbone
from methods.hfgd.resnet import AuthorsResNet50, stage_plan
from methods.weights import write

NAME = "hfgd_resnet50"


@pytest.mark.parametrize(
    ("output_stride", "strides", "dilations"),
    [
        (32, [2, 2, 2], [[1] * 3, [1] * 4, [1] * 6, [1, 2, 4]]),
        (16, [2, 2, 1], [[1] * 3, [1] * 4, [1] * 5 + [2], [2, 4, 8]]),
        (8, [2, 1, 1], [[1] * 3, [1] * 3 + [2], [2] * 5 + [4], [4, 8, 16]]),
    ],
)
def test_strides_in_last_blocks_and_multi_grid(output_stride, strides, dilations):
    plan = stage_plan(output_stride)
    assert [stage[-1][0] for stage in plan] == [*strides, 1]
    assert all(stride == 1 for stage in plan for stride, _ in stage[:-1])
    assert [[dilation for _, dilation in stage] for stage in plan] == dilations


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(513, 65), (64, 96)])
def test_maps(output_stride, size):
    with torch.device("meta"):
        backbone = build_backbone(NAME, output_stride=output_stride).eval()
        maps = backbone(torch.empty(1, 3, *size))
    assert [x.shape[1] for x in maps] == list(backbone.channels)
    for x, stride in zip(maps, backbone.strides):
        assert tuple(x.shape[-2:]) == tuple(-(-n // stride) for n in size)
    assert backbone.strides[-1] == output_stride


def test_names_and_shapes_are_those_of_timms_resnet_with_this_stem():
    with torch.device("meta"):
        ours, theirs = AuthorsResNet50().state_dict(), timm.create_model("resnet50s").state_dict()
    theirs = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in ours.items()} == theirs


def test_stem_and_first_blocks_compute_what_timms_do():
    """C2 is taken before the first strided block, so that both have computed the same until there."""
    torch.manual_seed(0)
    theirs = timm.create_model("resnet50s").eval()
    ours = AuthorsResNet50().eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        x = theirs.maxpool(theirs.act1(theirs.bn1(theirs.conv1(images))))
        torch.testing.assert_close(ours(images)[0], theirs.layer1[:2](x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_weights_from_a_file_of_that_layout(tmp_path, monkeypatch):
    state = timm.create_model("resnet50s").state_dict()
    write(state, tmp_path / f"{NAME}.safetensors")
    monkeypatch.setenv(pretrained.VARIABLE, str(tmp_path))
    backbone = build_backbone(NAME, pretrained=True)
    assert torch.equal(backbone.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])


def test_there_is_nothing_to_download(monkeypatch):
    monkeypatch.delenv(pretrained.VARIABLE, raising=False)
    with pytest.raises(MissingError, match=r"no pretrained weights of 'hfgd_resnet50'.*resnet50s.*pretrained: false"):
        build_backbone(NAME, pretrained=True)


def test_an_impossible_stride():
    with pytest.raises(UserError, match="output stride 4 is not one of 8, 16, 32"):
        build_backbone(NAME, output_stride=4)
