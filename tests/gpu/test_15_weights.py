"""Backbones give on the device what they give on a CPU, from the weights that the papers start from where those are here."""

import os
from pathlib import Path

import pytest
import torch

from harness.jobs.kinds import Model
from methods import pretrained
from methods.build import build_model
from methods.weights import read, to_fit
from tests.support.gpu_cases import DEVICE, relative_error

pytestmark = pytest.mark.gpu
BACKBONES = ("resnet50_v1c", "hrnet_w48", "swin_base", "hfgd_resnet50")
OPEN_MMLAB = {"resnet50_v1c": "resnet50_v1c-2cccc1ad.pth", "resnet101_v1c": "resnet101_v1c-e67eebb6.pth"}
SIDE = 224 if DEVICE == "cuda" else 64


def backbone(name, weights=False):
    torch.manual_seed(0)
    method = "hfgd" if name.startswith("hfgd") else "fcn"
    return build_model(Model(name=method, num_classes=2, backbone=name, pretrained=weights)).backbone.eval()


@pytest.mark.parametrize("name", BACKBONES)
@torch.inference_mode()
def test_features_are_those_of_a_cpu(name):
    tag = pretrained.timm_weights(name)
    here = pretrained.offline(name) is not None or (tag is not None and pretrained.cached(tag) is not None)
    model = backbone(name, weights=here)
    image = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    expected = model(image)
    found = model.to(DEVICE)(image.to(DEVICE))
    assert [relative_error(a, b) < 1e-4 for a, b in zip(found, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize("name", OPEN_MMLAB)
def test_the_weights_of_gluon_and_of_open_mmlab(name):
    """The authors start from open-mmlab's file, `pretrained: true` from timm's: are they one training?"""
    file = Path(os.environ.get("HARNESS_WEIGHTS", "")) / OPEN_MMLAB[name]
    tag = pretrained.timm_weights(name)
    assert tag is not None
    gluon = pretrained.cached(tag)
    if not file.is_file() or gluon is None:
        pytest.skip(f"needs HARNESS_WEIGHTS/{OPEN_MMLAB[name]} and timm's {tag}")
    ours, theirs = backbone(name, str(file)).state_dict(), backbone(name, str(gluon)).state_dict()
    different = [key for key, value in ours.items() if not torch.equal(value, theirs[key])]
    assert not different, f"{len(different)} of {len(ours)} tensors differ, first {different[0]}"


def test_a_file_of_weights_fits_the_model_on_the_device(tmp_path):
    from safetensors.torch import save_file

    model = backbone("resnet18").to(DEVICE)
    save_file(
        {key: value.cpu().contiguous() for key, value in model.state_dict().items()}, tmp_path / "weights.safetensors"
    )
    state = to_fit(model, read(tmp_path / "weights.safetensors"), "weights.safetensors")
    model.load_state_dict(state)
    assert all(value.device.type == DEVICE for value in model.state_dict().values())
