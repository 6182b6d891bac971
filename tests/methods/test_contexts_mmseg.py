"""The context modules compute what mmsegmentation's heads compute with the same weights, up to the classifier."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path

import pytest
import torch

from methods import registry

mmseg = pytest.importorskip("mmseg")
pytestmark = pytest.mark.filterwarnings("ignore")

BLOCK = [("before.", "convs.0."), ("after.", "convs.1."), ("fuse.", "conv_cat."), ("block.out.", "{block}.conv_out.")]
PROJECTIONS = [("block.query.", "{block}.theta.conv."), ("block.key.", "{block}.phi.conv."),
               ("block.value.", "{block}.g.conv."), ("block.saliency.", "{block}.conv_mask.")]  # fmt: skip
CRISS_CROSS = [(f"block.{name}.", f"cca.{name}_conv.") for name in ("query", "key", "value")] + [
    ("block.gamma", "cca.gamma.scale")
]
FCN = [("reduce.0.", "convs.0.conv."), ("reduce.1.", "convs.0.bn."), ("reduce.3.", "convs.1.conv."),
       ("reduce.4.", "convs.1.bn.")]  # fmt: skip
ANN = [("fusion.attention.", "fusion.stages.0."), ("self_fusion.attention.", "context.stages.0."),
       ("fusion.fuse.", "fusion.bottleneck."), ("self_fusion.fuse.", "context.bottleneck."),
       ("reduce.", "bottleneck.")]  # fmt: skip
OCR = [("attention.", "object_context_block."), ("fuse.", "object_context_block.bottleneck."),
       ("reduce.", "bottleneck.")]  # fmt: skip
PPM = [("levels.", "psp_modules."), ("fuse.", "bottleneck.")]
UPER = [(f"top.{ours}", theirs) for ours, theirs in PPM] + [
    ("pyramid.laterals.", "lateral_convs."), ("pyramid.outputs.", "fpn_convs."), ("fuse.", "fpn_bottleneck."),
]  # fmt: skip
OCNET = [("context.far.out.", "global_relation.output_project."), ("context.near.out.", "local_relation.output_project."),
         ("context.far.", "global_relation."), ("context.near.", "local_relation."), ("reduce.", "in_conv."),
         ("fuse.", "out_conv.")]  # fmt: skip
# ours, its options, theirs, its options, [(prefix of ours, of theirs)]
HEADS = {
    "ppm": ({}, "PSPHead", {}, PPM),
    "aspp": ({"dilations": (1, 2, 3)}, "ASPPHead", {"dilations": (1, 2, 3)},
             [("branches.", "aspp_modules."), ("image.", "image_pool."), ("fuse.", "bottleneck.")]),
    "uper": ({}, "UPerHead", {}, UPER),
    "non_local": ({}, "NLHead", {}, [*BLOCK, *PROJECTIONS]),
    "dnl": ({}, "DNLHead", {}, [*BLOCK, *PROJECTIONS]),
    "ccnet": ({}, "CCHead", {}, [*BLOCK, *CRISS_CROSS]),
    "fcn": ({"convs": 2}, "FCNHead", {"num_convs": 2, "concat_input": False}, FCN),
    "ann": ({"inner": 4}, "ANNHead", {"project_channels": 4}, ANN),
    "ocnet": ({"inner": 4, "side": 4}, "ISAHead", {"isa_channels": 4, "down_factor": (4, 4)}, OCNET),
    "ocr": ({"inner": 4, "num_classes": 5, "fuse_kernel": 1}, "OCRHead", {"ocr_channels": 4}, OCR),
}  # fmt: skip


def their_name(ours: str, rules, block: str) -> str:
    """Our parameter's name in mmsegmentation: its prefix, its projections, and conv / bn for 0 / 1."""
    for mine, theirs in rules:
        if ours.startswith(mine):
            ours = theirs.format(block=block) + ours.removeprefix(mine)
            break
    ours = re.sub(r"\.(query|key|value|out)\.", r".\1_project.", ours)
    return re.sub(r"\.0\.(weight|bias)$", r".conv.\1", re.sub(r"\.1\.(\w+)$", r".bn.\1", ours))


def criss_cross() -> type:
    """mmcv's criss-cross attention. It is plain PyTorch; only the package around it wants compiled operators."""
    file = Path(importlib.util.find_spec("mmcv").origin).parent / "ops" / "cc_attention.py"
    spec = importlib.util.spec_from_file_location("criss_cross_of_mmcv", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CrissCrossAttention


def build_theirs(name: str, in_channels: list[int], options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmseg.models import decode_heads

        if name == "CCHead":
            decode_heads.cc_head.CrissCrossAttention = criss_cross()
        several = name in ("UPerHead", "ANNHead")
        given = {"in_channels": in_channels, "in_index": [0, 1]} if several else {"in_channels": in_channels[-1]}
        return getattr(decode_heads, name)(
            channels=8, num_classes=5, norm_cfg={"type": "BN"}, align_corners=False, **given, **options
        )


def give_weights(ours, theirs, rules) -> None:
    """Random weights and statistics for both; `ASPPHead` concatenates the image's branch first, ours last."""
    state, own = theirs.state_dict(), ours.state_dict()
    block = "dnl_block" if hasattr(theirs, "dnl_block") else "nl_block"
    given = set()
    for name, value in own.items():
        key = their_name(name, rules, block)
        if name.startswith("coarse.") or not value.is_floating_point():
            given.add(key)
            continue
        drawn = torch.rand_like(value) + 0.5 if name.endswith("running_var") else torch.randn_like(value) * 0.3
        if name.startswith("self_fusion.attention.key."):  # one projection, shared with the queries
            drawn = own[name.replace(".key.", ".query.")]
        own[name] = drawn
        if type(theirs).__name__ == "ASPPHead" and name == "fuse.0.weight":
            drawn = torch.cat([drawn[:, -8:], drawn[:, :-8]], dim=1)
        if key == "cca.gamma.scale":  # a number there, a vector of one here
            drawn = drawn[0]
        assert state[key].shape == drawn.shape
        state[key] = drawn
        given.add(key)
    for key in state.keys() - given:  # their value and output projections have a bias, those of the released code none
        assert key.startswith("conv_seg.") or re.search(r"stages\.0\.(value|out)_project\.bias$", key)
        state[key] = torch.zeros_like(state[key])
    ours.load_state_dict(own)
    theirs.load_state_dict(state)


@pytest.mark.parametrize("name", HEADS)
def test_same_output(name):
    torch.manual_seed(0)
    options, their_head, their_options, rules = HEADS[name]
    in_channels = [12, 16]
    ours = registry.build(name, in_channels, kind="context", channels=8, **options).double().eval()
    theirs = build_theirs(their_head, in_channels, their_options).double().eval()
    give_weights(ours, theirs, rules)
    seen = []
    theirs.conv_seg.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    features = [torch.randn(2, c, 9, 13, dtype=torch.float64) for c in in_channels]
    with torch.no_grad():
        if name == "ocr":
            coarse = ours.coarse_logits(features)
            theirs(features, coarse)
        else:
            theirs(features)
        torch.testing.assert_close(ours(features), seen[0], rtol=1e-9, atol=1e-9)
