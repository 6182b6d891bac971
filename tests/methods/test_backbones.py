"""Backbones: shapes, the V1c stem, dilations, weights from files, and their errors."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
import timm
import torch

from harness import ROOT
from harness.conformance import backbone as conformance
from harness.conformance.clause import findings
from harness.errors import MissingError, UserError
from methods import backbones, pretrained
from methods.backbones import build_backbone, names
from methods.weights import read, write


def shapes(name, size, **options):
    with torch.device("meta"):
        backbone = build_backbone(name, **options).eval()
        return backbone, [tuple(x.shape[1:]) for x in backbone(torch.empty(2, 3, *size))]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_maps_have_the_announced_channels_and_sides(name):
    """The clauses of `python -m harness test` that ask for shapes alone."""
    subject = conformance.BackboneSubject(name, device="meta")
    conformance.it_says_what_it_gives(subject)
    conformance.maps_have_the_announced_channels_and_sides(subject)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_declared_output_strides_are_those_that_are_built(name):
    conformance.every_declared_output_stride_is_built(conformance.BackboneSubject(name, device="meta"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "timm/convnext_atto"])
def test_a_backbone_holds_every_clause(name):
    assert [
        f.line() for f in findings(conformance.CLAUSES, conformance.BackboneSubject(name)) if f.holds is False
    ] == []


@pytest.mark.parametrize(("stride", "strides"), [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16)), (32, (4, 8, 16, 32))])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_output_stride(name, stride, strides):
    backbone, found = shapes(name, (128, 64), output_stride=stride)
    assert backbone.strides == strides
    assert [f[1] for f in found] == [128 // s for s in strides]


def test_resnet50_is_v1c_with_contracted_dilation():
    body = build_backbone("resnet50", output_stride=8).body
    stem = [layer.out_channels for layer in body.conv1 if isinstance(layer, torch.nn.Conv2d)]
    assert stem == [32, 32, 64]
    assert [block.conv2.dilation[0] for block in body.layer3] == [1, 2, 2, 2, 2, 2]
    assert [block.conv2.dilation[0] for block in body.layer4] == [2, 4, 4]
    assert body.layer2[0].conv2.stride == (2, 2)  # the stride is on the 3×3 convolution
    assert body.layer2[0].conv1.stride == (1, 1)


@pytest.mark.slow
def test_known_sizes():
    """Trainable parameters without a classifier; HRNet's as the field reports it, Swin-L with a norm per level."""
    found = {}
    for name in ("resnet18", "resnet50", "resnet101", "hrnet_w48", "swin_base", "swin_large", "vit_base"):
        backbone, _ = shapes(name, (64, 64))
        found[name] = sum(p.numel() for p in backbone.parameters())
    assert found["resnet18"] == 11_689_512 - 513_000
    assert found["resnet50"] == 23_527_264
    assert found["resnet101"] == found["resnet50"] + 17 * (1024 * 256 * 2 + 256 * 256 * 9 + 2 * (256 + 256 + 1024))
    assert 65.2e6 < found["hrnet_w48"] < 65.9e6
    with torch.device("meta"):
        classifier = timm.create_model("swin_base_patch4_window12_384", num_classes=0)
    last_norm, norms = 2 * 1024, 2 * (128 + 256 + 512 + 1024)
    assert found["swin_base"] == sum(p.numel() for p in classifier.parameters()) - last_norm + norms
    assert found["swin_large"] == 195_201_204
    assert (
        found["vit_base"] == 86_087_424
    )  # 12 blocks, patch embedding, 24² positions; neither class token nor last norm


def test_vit_has_tokens_of_the_image_alone():
    """Three blocks' maps at stride 16, sides rounded up; the position of the class token is gone."""
    backbone, found = shapes("vit_base", (50, 71))
    assert (backbone.channels, backbone.strides) == ((768,) * 3, (16,) * 3)
    assert found == [(768, 4, 5)] * 3
    assert backbone.body.model.pos_embed.shape == (1, 24 * 24, 768)


@pytest.mark.slow
def test_hrnet_joins_its_resolutions():
    backbone, found = shapes("hrnet_w48", (65, 97))
    assert backbone.channels == (48 + 96 + 192 + 384,)
    assert found == [(720, 17, 25)]


@pytest.mark.slow
def test_hrnet_mixes_its_resolutions_bilinearly():
    """A module of two branches against its definition: the coarse branch comes up smoothly, not by repeating cells."""
    torch.manual_seed(0)
    module = build_backbone("hrnet_w48").body.stage2[0].eval()
    fine, coarse = torch.randn(1, 48, 8, 12), torch.randn(1, 96, 4, 6)
    with torch.no_grad():
        x, y = module.branches[0](fine), module.branches[1](coarse)
        convolved = module.fuse_layers[0][1][1](module.fuse_layers[0][1][0](y))
        up = torch.nn.functional.interpolate(convolved, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(module([fine, coarse])[0], (x + up).relu())


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    source = timm.create_model("resnet18", num_classes=10)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "weights.pth")
    backbone = build_backbone("resnet18", output_stride=32, pretrained=str(tmp_path / "weights.pth")).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1], source.eval().forward_features(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "timm_name"),
    [
        ("timm/swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224"),
        ("timm/convnext_atto", "convnext_atto"),
        ("timm/vit_tiny_patch16_224", "vit_tiny_patch16_224"),
    ],
)
def test_weights_of_transformers_from_a_file_of_the_classifier(name, timm_name, tmp_path):
    """timm's feature pyramids have other names than the classifiers whose weights people keep."""
    torch.manual_seed(0)
    source = timm.create_model(timm_name)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    body = build_backbone(name, pretrained=str(tmp_path / "weights.pth")).body.eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = source.eval().forward_intermediates(x, indices=[-1], intermediates_only=True, norm=False)[-1]
        found = body(x)[-1]
        torch.testing.assert_close(found if found.shape == expected.shape else found.permute(0, 3, 1, 2), expected)


def test_weights_that_do_not_fit_are_all_listed_and_none_is_loaded(tmp_path):
    state = timm.create_model("resnet18", num_classes=10).state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["bn1.weight"]
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError) as caught:
        build_backbone("resnet18", pretrained=str(tmp_path / "weights.pth"))
    message = str(caught.value)
    assert "missing bn1.weight" in message
    assert "unexpected extra.weight" in message
    assert "conv1.weight is (64, 3, 3, 3), should be (64, 3, 7, 7)" in message


def test_absent_and_damaged_weights(tmp_path):
    with pytest.raises(MissingError, match=r"no weights at .*nowhere\.pth.*Put a file .*resnet18\.safetensors"):
        build_backbone("resnet18", pretrained=str(tmp_path / "nowhere.pth"))
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"bad\.pth is not a file of weights"):
        build_backbone("resnet18", pretrained=str(tmp_path / "bad.pth"))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"model": 3}, {"conv1.weight": 3}])
def test_a_file_of_anything_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(
        UserError, match=r"other\.pth is not a file of weights \(it holds no mapping from names to tensors"
    ):
        build_backbone("resnet18", pretrained=str(tmp_path / "other.pth"))


@pytest.mark.slow
def test_a_file_under_open_mmlabs_names(tmp_path):
    """resnet50_v1c-2cccc1ad.pth, what both IDRNet's and mmsegmentation's trainings start from, calls the stem's layers
    stem.0 to stem.7; an activation without weights follows each norm."""
    torch.manual_seed(0)
    state = timm.create_model("resnet50c", num_classes=10).state_dict()
    theirs = {re.sub(r"^bn1\.", "stem.7.", re.sub(r"^conv1\.", "stem.", name)): value for name, value in state.items()}
    stem = {name.rpartition(".")[0] for name in theirs if name.startswith("stem.")}
    assert stem == {f"stem.{i}" for i in (0, 1, 3, 4, 6, 7)}
    torch.save({"state_dict": theirs, "meta": {"epoch": 100}}, tmp_path / "resnet50_v1c-2cccc1ad.pth")
    backbone = build_backbone("resnet50_v1c", output_stride=8, pretrained=str(tmp_path / "resnet50_v1c-2cccc1ad.pth"))
    loaded = backbone.body.state_dict()
    assert loaded.keys() == {name for name in state if not name.startswith("fc.")}
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


PINNED = {  # timm's model and tag; what 75 of the papers' trainings start from
    "convnext_large": "convnext_large.fb_in22k",
    "hfgd_resnet50": None,
    "hrnet_w48": "hrnet_w48.ms_in1k",
    "resnet101": "resnet101c.gluon_in1k",
    "resnet101_v1c": "resnet101c.gluon_in1k",
    "resnet18": "resnet18.tv_in1k",
    "resnet34": "resnet34.tv_in1k",
    "resnet50": "resnet50c.gluon_in1k",
    "resnet50_v1c": "resnet50c.gluon_in1k",
    "swin_base": "swin_base_patch4_window12_384.ms_in22k",
    "swin_large": "swin_large_patch4_window12_384.ms_in22k",
    "vit_base": "vit_base_patch16_384.augreg_in21k_ft_in1k",
}


def test_every_backbone_names_the_tag_of_its_weights():
    """A default of timm's moves from version to version, and with it what a training starts from."""
    assert {name: pretrained.timm_weights(name) for name in backbones.names()} == PINNED
    for weights in filter(None, PINNED.values()):
        known = timm.models.get_pretrained_cfg(weights)
        assert (f"{known.architecture}.{known.tag}", known.hf_hub_id) == (weights, f"timm/{weights}")
    assert pretrained.timm_weights("timm/convnext_tiny.fb_in1k") == "convnext_tiny.fb_in1k"
    assert pretrained.timm_weights("timm/convnext_tiny") is None


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "timm/test_resnet.r160_in1k"])
def test_timm_is_asked_for_the_pinned_weights(name, monkeypatch):
    def offline(model, **options):
        raise OSError(f"{model} {options['pretrained']}")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingError, match=f"OSError: {pretrained.timm_weights(name)} True"):
        build_backbone(name, pretrained=True)


def test_timms_weights_without_a_tag_are_refused():
    with pytest.raises(MissingError, match=r"does not say which of timm's weights.*timm/test_resnet\.safetensors"):
        build_backbone("timm/test_resnet", pretrained=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_folder_of_weights_comes_before_a_download(tmp_path, monkeypatch, suffix):
    torch.manual_seed(0)
    write(timm.create_model("resnet18", num_classes=10).state_dict(), tmp_path / f"resnet18{suffix}")
    monkeypatch.setenv(pretrained.VARIABLE, str(tmp_path))
    backbone = build_backbone("resnet18", pretrained=True)
    expected = read(tmp_path / f"resnet18{suffix}")["layer4.1.conv2.weight"]
    assert torch.equal(backbone.body.layer4[1].conv2.weight, expected)
    assert not torch.equal(build_backbone("resnet18").body.layer4[1].conv2.weight, expected)  # `false` is random
    assert pretrained.offline("resnet34") is None
    assert "resnet34.safetensors" in pretrained.advice("resnet34")


def test_pretrained_weights_without_a_network_say_where_to_put_them(monkeypatch):
    def offline(*arguments, **options):
        if options.get("pretrained"):
            raise OSError("no network")
        raise AssertionError("only the pretrained model is asked for")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingError, match=r"HF_HOME.*HARNESS_WEIGHTS/resnet18\.safetensors.*pretrained: false"):
        build_backbone("resnet18", pretrained=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, "Did you mean 'resnet50'"),
        ("timm/no_such_model", {}, "unknown backbone"),
        ("resnet18", {"output_stride": 4}, "not one of 8, 16, 32"),
        ("swin_large", {"output_stride": 8}, "no adjustable output stride"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(UserError, match=message):
        build_backbone(name, **options)


def test_names_are_found_without_importing_a_family():
    """`plan` asks for the module of every backbone, and must not load torch."""
    code = (
        "import sys; from methods.backbones import module_of, names; "
        "assert module_of('timm/convnext_tiny') == 'methods.backbones.timm_models', module_of('timm/x'); "
        "assert [module_of(name) for name in names()].count('methods.backbones.resnet') == 6; "
        "assert (module_of('timm/'), module_of('resnet'), module_of('')) == (module_of('timm/x'), None, None); "
        "sys.exit(bool({'torch', 'timm', 'methods.backbones.resnet'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


BUILD = "def build(name, *, output_stride=None, pretrained=False): ...\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(): pass\n", r"moon\.py declares no NAMES"),
        (
            f"NAMES = (one(),)\n{BUILD}",
            r"moon\.py:1: NAMES cannot be read .* literal tuple of texts.*stands \(one\(\),\)",
        ),
        (f"\nNAMES: tuple = names()\n{BUILD}", r"moon\.py:2: NAMES cannot be read .*stands names\(\)"),
        (f"NAMES = 'moon'\n{BUILD}", r"moon\.py:1: NAMES cannot be read .*literal tuple of texts"),
        (f"NAMES = ('moon', 3)\n{BUILD}", r"moon\.py:1: NAMES cannot be read"),
        ("NAMES = (\n", r"moon\.py:1: cannot be read as Python"),
        (f"NAMES = ('resnet18',)\n{BUILD}", "'resnet18' is declared twice: in .*moon and in .*resnet"),
        (
            f"NAMES = ('moon',)\nWEIGHTS = {{'moon': 3}}\n{BUILD}",
            r"moon\.py:2: WEIGHTS cannot be read .*mapping of texts",
        ),
        (f"NAMES = ('moon',)\nSTRIDES = 32\n{BUILD}", r"moon\.py:2: STRIDES cannot be read .*whole numbers"),
        ("NAMES = ('moon',)\n", r"moon\.py defines no build\(name, \*, output_stride=None, pretrained=False\)"),
        (
            "NAMES = ('moon',)\n\ndef build(name, *, pretrained=False): ...\n",
            r"moon\.py:3: 'build' takes no output_stride; its signature is build\(name",
        ),
    ],
)
def test_a_family_that_is_declared_wrongly(text, message, tmp_path, monkeypatch):
    (tmp_path / "moon.py").write_text(text)
    (tmp_path / "resnet.py").write_text(f"NAMES = ('resnet18',)\n{BUILD}")
    monkeypatch.setattr(backbones, "_FOLDER", tmp_path)
    with pytest.raises(UserError, match=message):
        backbones._families.__wrapped__()


def test_a_family_may_annotate_its_names_and_leave_its_strides_open(tmp_path, monkeypatch):
    text = "NAMES: tuple[str, ...] = ('moon', 'sun')\ndef build(name, **options): ...\n"
    (tmp_path / "moon.py").write_text(text)
    monkeypatch.setattr(backbones, "_FOLDER", tmp_path)
    families = backbones._families.__wrapped__()
    assert {name: family.strides for name, family in families.items()} == {"moon": None, "sun": None}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
@pytest.mark.parametrize("size", [(64, 96), (66, 65)])
def test_timms_own_swins_take_any_crop_and_give_maps_as_others_do(model, size):
    backbone, found = shapes(f"timm/{model}", size)
    expected = [
        (c, math.ceil(size[0] / s), math.ceil(size[1] / s)) for c, s in zip((96, 192, 384, 768), (4, 8, 16, 32))
    ]
    assert (found, backbone.norms) == (expected, None)


def test_any_timm_model_by_its_name():
    backbone, found = shapes("timm/mobilenetv2_100", (64, 64))
    assert [f[0] for f in found] == list(backbone.channels)
    assert backbone.strides == (4, 8, 16, 32)
