"""Parameters and FLOPs of ECENet and SegViT: the digits of ECENet's Tables 1, 2, 4 and 7, under `fvcore`."""

from __future__ import annotations

import math

import pytest
import torch

from harness import ROOT
from harness.table.load import load
from harness.tasks.complexity import fvcore_trace
from methods import registry
from methods.backbones import build_backbone
from tests.support import fvcore_rules

# row: (method and options, backbone, output stride, classes, side, exact parameters, exact FLOPs, printed M, printed G)
ROWS = {
    "table 1, R-101": ({"name": "ecenet"}, "resnet101_v1c", 8, 150, 512, 60_227_980, 293_108_823_040, "60.2", "293.1"),
    "table 1, Swin-B": ({"name": "ecenet"}, "swin_base", None, 150, 640, 96_768_804, 243_322_232_160, "96.7", "243.3"),
    "table 1, Swin-L": ({"name": "ecenet"}, "swin_large", None, 150, 640, 208_390_432, 425_778_831_712, "208.3", "425.7"),
    "table 2, Swin-L": (
        {"name": "ecenet", "alpha": math.sqrt(2)}, "swin_large", None, 59, 480, 208_271_210, 241_978_478_995, None, "241.9",
    ),
    "table 4, without FR": (
        {"name": "ecenet", "reconstruction": False}, "swin_base", None, 150, 640, 94_314_404, 240_731_573_600, None, "240.7",
    ),
    "table 7, gated": (
        {"name": "segvit", "gated_updating": True}, "vit_base", None, 150, 512, 110_868_631, 121_255_730_688, None, "121.2",
    ),
}  # fmt: skip


def truncated(value: float) -> str:
    return f"{math.floor(value * 10) / 10:.1f}"


def build(method, backbone, stride, classes):
    options = {k: v for k, v in method.items() if k != "name"}
    with torch.device("meta"):
        return registry.build(method["name"], build_backbone(backbone, output_stride=stride), classes, **options)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_row_prints_the_published_digits_cut_to_one_decimal(row):
    method, backbone, stride, classes, side, exact_parameters, exact_flops, printed_m, printed_g = ROWS[row]
    model = build(method, backbone, stride, classes)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    flops = fvcore_rules.count(model, torch.empty(1, 3, side, side, device="meta"))
    assert (parameters, flops) == (exact_parameters, exact_flops)
    assert truncated(flops / 1e9) == printed_g
    assert printed_m is None or truncated(parameters / 1e6) == printed_m


def test_segvit_prints_its_own_paper_s_digits_rounded():
    flops = fvcore_rules.count(
        build({"name": "segvit"}, "vit_base", None, 150), torch.empty(1, 3, 512, 512, device="meta")
    )
    assert flops == 120_881_215_488
    assert f"{flops / 1e9:.1f}" == "120.9"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "backbone", "classes", "side", "printed"),
    [
        ("pspnet", "resnet101_v1c", 150, 512, "257"),  # Table 1
        ("upernet", "resnet101_v1c", 150, 512, "258"),
        ("pspnet", "resnet50_v1c", 59, 480, "157"),  # Table 2, where it stands under ResNet-101
        ("pspnet", "resnet101_v1c", 59, 480, "225"),
    ],
)
def test_what_the_quoted_rows_count(method, backbone, classes, side, printed):
    """Table 2's 157 G of PSPNet on ResNet-101 is not reproduced because it is ResNet-50's; its note says so."""
    model = build({"name": method}, backbone, 8 if method == "pspnet" else 32, classes)
    model.auxiliary = None
    assert f"{fvcore_rules.count(model, torch.empty(1, 3, side, side, device='meta')) / 1e9:.0f}" == printed
    if (method, side) == ("pspnet", 512):  # Table 1 prints its parameters without the auxiliary head
        assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}" == "65.7"
    made = load(ROOT / "tables" / "ecenet_table2.yaml")
    assert "157 GFLOPs is PSPNet with ResNet-50 (157.11; ResNet-101 has 225.48" in made.notes[-1]
    assert made.cell("pspnet_r50", "gflops").comparable == made.cell("pspnet", "gflops").published


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ecenet", "segvit"])
@pytest.mark.parametrize("backbone", ["resnet18", "timm/vit_tiny_patch16_224"])
def test_the_rules_are_fvcore_s(method, backbone):
    stride = 8 if backbone == "resnet18" else None
    options = {} if stride is None else {"output_stride": stride}
    model = registry.build(method, build_backbone(backbone, **options), 7, channels=32)
    image = torch.randn(1, 3, 224, 224)
    assert fvcore_rules.count(model, image) == fvcore_trace.count(model, (image,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "printed"),
    [
        ({"preset": "release"}, ("60.2", "293.1")),
        ({"updater": "plus"}, ("59.2", "292.9")),
        ({"channels": 192}, ("57.0", "260.5")),
    ],
)
def test_what_a_choice_costs(change, printed):
    """The presets differ in nothing that counts; another updater or width misses the published digits."""
    model = build({"name": "ecenet", **change}, "resnet101_v1c", 8, 150)
    flops = fvcore_rules.count(model, torch.empty(1, 3, 512, 512, device="meta"))
    parameters = sum(p.numel() for p in model.parameters())
    assert (truncated(parameters / 1e6), truncated(flops / 1e9)) == printed
