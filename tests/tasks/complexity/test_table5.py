"""IDRNet, Table 5: the nine modules at [1, 2048, 128, 128], K = 150, under `mmcv-hooks`."""

from __future__ import annotations

import pytest
import torch

from harness.jobs import context, kinds
from harness.tasks.complexity import conventions, measure
from methods import registry

# row: (context, its own options, exact parameters, exact FLOPs, printed M, printed G)
ROWS = {
    "ocr": ("ocr", 15_124_118, 242_482_726_400, "15.12", "242.48"),
    "aspp": ("aspp", 42_211_328, 674_470_299_136, "42.21", "674.47"),
    "ppm": ("ppm", 23_073_792, 309_449_534_464, "23.07", "309.45"),
    "upernet": ("idrnet_table5/upernet", 34_747_136, 500_755_934_208, "34.75", "500.76"),
    "ann": ("idrnet_table5/ann", 22_422_016, 369_618_845_696, "22.42", "369.62"),
    "ccnet": ("ccnet", 23_924_353, 397_380_943_872, "23.92", "397.38"),
    "dnl": ("dnl", 24_122_625, 395_250_253_824, "24.12", "395.25"),
    "idrnet": ("idrnet_table5/idrnet", 10_794_902, 155_889_241_472, "10.79", "155.89"),
    "ppm_idrnet": ("idrnet_table5/ppm_idrnet", 23_645_078, 349_234_674_048, "23.65", "349.23"),
}


def build_meta(name: str, in_channels: list[int], **options: object) -> torch.nn.Module:
    known = registry.find(name, "context").options or {}
    if "num_classes" in known:
        options["num_classes"] = 150
    with torch.device("meta"):
        return registry.build(name, in_channels, kind="context", **options)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("row", ROWS)
def test_row_prints_the_published_digits(row):
    name, exact_parameters, exact_flops, printed_m, printed_g = ROWS[row]
    module = build_meta(name, [2048])
    convention = conventions.find("mmcv-hooks")
    flops = convention.count(module, ([torch.empty(1, 2048, 128, 128, device="meta")],))
    assert (parameters(module), flops) == (exact_parameters, exact_flops)
    assert f"{parameters(module) / 1e6:.2f}" == printed_m
    assert f"{flops / 1e9:.2f}" == printed_g


@pytest.mark.parametrize(
    ("name", "in_channels", "sides", "printed"),
    [
        ("ann", [1024, 2048], [128, 128], ("20.32", "335.24")),
        ("uper", [256, 512, 1024, 2048], [256, 128, 128, 128], ("40.51", "1181.7")),
    ],
)
def test_official_modules_on_real_feature_pyramids(name, in_channels, sides, printed):
    """The modules that the rows ANN and UPerNet do not measure: the official ones, given C2 to C5."""
    module = build_meta(name, in_channels)
    features = [torch.empty(1, c, side, side, device="meta") for c, side in zip(in_channels, sides)]
    flops = conventions.find("mmcv-hooks").count(module, (features,))
    assert (f"{parameters(module) / 1e6:.2f}", f"{flops / 1e9:.{len(printed[1].partition('.')[2])}f}") == printed


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ({"context": "none"}, ("13.01", "213.14")),
        ({"context": "none", "channels": 1024}, ("27.45", "449.83")),
        ({"context": "ppm", "coarse_attention": "after"}, ("26.78", "421.60")),
    ],
)
def test_the_released_head_is_not_the_module_of_the_table(options, printed, tmp_path):
    """What the released configurations count, classifier included and auxiliary head excluded: far from 10.79 / 155.89."""
    config = kinds.ComplexityConfig(
        model=kinds.Model(name="idrnet", options=options, num_classes=150),
        input=((1, 2048, 128, 128),),
        convention="mmcv-hooks",
    )
    here = context.Context(folder=tmp_path, cache=tmp_path, data_dir=None, device="cpu", threads=1)
    counted = {m.name: m.value for m in measure.count(config, here)}
    assert (f"{counted['parameters'] / 1e6:.2f}", f"{counted['flops'] / 1e9:.2f}") == printed
