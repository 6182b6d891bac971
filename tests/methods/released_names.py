"""Names and shapes in the released checkpoints (SegmentationBLWX/sssegmentation at eb1878c1), written down from its
modules, as empty tensors: what a checkpoint of each segmentor holds, without any weights."""

from __future__ import annotations

import torch
from torch import Tensor

C, T, K = 16, 8, 7  # channels of a head, of its attention, classes
LEVELS = (256, 512, 1024, 2048)
Shapes = dict[str, tuple[int, ...]]


def conv(name: str, inputs: int, outputs: int, kernel: int = 1, *, bias: bool = False) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), **({f"{name}.bias": (outputs,)} if bias else {})}


def norm(name: str, channels: int) -> Shapes:
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def cbr(name: str, inputs: int, outputs: int, kernel: int = 1, first: int = 0) -> Shapes:
    """Convolution, norm and ReLU as the layers first, first + 1, first + 2 of a Sequential."""
    return conv(f"{name}.{first}", inputs, outputs, kernel) | norm(f"{name}.{first + 1}", outputs)


def join(*parts: Shapes) -> Shapes:
    whole: Shapes = {}
    for part in parts:
        assert not whole.keys() & part.keys()
        whole |= part
    return whole


def resnet50() -> Shapes:
    net = "backbone_net"
    found = join(
        *(cbr(f"{net}.stem", i, o, 3, first) for first, (i, o) in {0: (3, 32), 3: (32, 32), 6: (32, 64)}.items())
    )
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        planes = 64 * 2**stage
        for block in range(blocks):
            at = f"{net}.layer{stage + 1}.{block}"
            sizes = ((width, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1))
            for i, (a, b, kernel) in enumerate(sizes, start=1):
                found |= conv(f"{at}.conv{i}", a, b, kernel) | norm(f"{at}.bn{i}", b)
            if block == 0:
                found |= cbr(f"{at}.downsample", width, 4 * planes)
            width = 4 * planes
    return found


def auxiliary(inputs: int = LEVELS[2], width: int = LEVELS[2] // 2) -> Shapes:
    return cbr("auxiliary_decoder", inputs, width, 3) | conv("auxiliary_decoder.4", width, K, bias=True)


def pooling(name: str, inputs: int, width: int = C) -> Shapes:
    levels = join(*(cbr(f"{name}.branches.{i}", inputs, width, 1, first=1) for i in range(4)))
    return levels | cbr(f"{name}.bottleneck", inputs + 4 * width, width, 3)


def atrous(name: str, inputs: int, width: int = C) -> Shapes:
    branches = join(*(cbr(f"{name}.parallel_branches.{i}", inputs, width, 3 if i else 1) for i in range(4)))
    whole = cbr(f"{name}.global_branch", inputs, width, 1, first=1)
    return join(branches, whole, cbr(f"{name}.bottleneck", 5 * width, width, 3))


def attention(name: str, query: int, key: int, out: int, *, layers: int = 2, value_norm: bool = True) -> Shapes:
    found: Shapes = {}
    for part, inputs in (("query", query), ("key", key)):
        at = f"{name}.{part}_project"
        found |= cbr(at, inputs, T) if layers == 1 else cbr(f"{at}.0", inputs, T) | cbr(f"{at}.1", T, T)
    for part, (i, o) in {"value": (key, T), "out": (T, out)}.items():
        at = f"{name}.{part}_project"
        found |= cbr(at, i, o) if value_norm else conv(at, i, o)
    return found


def pyramid(width: int = C, levels: tuple[int, ...] = LEVELS) -> Shapes:
    sides = (
        cbr(f"lateral_convs.{i}", c, width) | cbr(f"fpn_convs.{i}", width, width, 3) for i, c in enumerate(levels[:3])
    )
    return join(*sides)


def fused(inputs: int) -> Shapes:
    return cbr("decoder", inputs, C, 3) | conv("decoder.4", C, K, bias=True)


def around(block: str, inside: Shapes) -> Shapes:
    last = LEVELS[3]
    return join(cbr(f"conv_before_{block}", last, C, 3), inside, cbr(f"conv_after_{block}", C, C, 3), fused(last + C))


def non_local(name: str) -> Shapes:
    inner = (conv(f"{name}.{part}.0", C, C // 2, bias=True) for part in ("g", "theta", "phi"))
    return join(*inner, cbr(f"{name}.conv_out", C // 2, C))


def idr(*, context: str = "none", top: str = "ppm", after: bool = False) -> Shapes:
    """IDRNet's head; `context` none, ppm, aspp or uper (whose top is `top`)."""
    state = {f"class_relations_{m}": (K, K) for m in ("mean", "var")}
    state |= {"selected_classes_counter": (K,), "dl_cls_representations": (K, C)}
    found = join(state, cbr("bottleneck", LEVELS[3], C, 3), attention("idcontext_refiner", 6 * C, 6 * C, C))
    kind = top if context == "uper" else context
    if kind != "none":
        found |= {"ppm": pooling, "aspp": atrous}[kind]("coarse_context_module", C)
    if after:
        found |= attention("coarsecontext_refiner_after", C, C, C)
    parts = {"none": 2, "ppm": 3, "aspp": 3, "uper": 2 + 4}[context]
    if context == "uper":
        found |= pyramid()
    for stage, inputs in ((1, C), (2, parts * C)):
        found |= cbr(f"decoder_stage{stage}", inputs, C) | conv(f"decoder_stage{stage}.4", C, K, bias=True)
    return found


_LAST, _BEFORE = LEVELS[3], LEVELS[2]
HEADS: dict[str, tuple[str, dict[str, object], Shapes]] = {
    # name: (method, its options, head without auxiliary)
    "fcn": (
        "fcn",
        {"channels": C, "convs": 2},
        join(cbr("decoder", _LAST, C, 3), cbr("decoder", C, C, 3, first=3), conv("decoder.7", C, K, bias=True)),
    ),
    "fcn, one convolution": (
        "fcn",
        {"channels": C},
        join(cbr("decoder", _LAST, C, 3), conv("decoder.4", C, K, bias=True)),
    ),
    "pspnet": ("pspnet", {"channels": C}, pooling("ppm_net", _LAST) | conv("decoder.1", C, K, bias=True)),
    "deeplabv3": ("deeplabv3", {"channels": C}, atrous("aspp_net", _LAST) | conv("decoder.1", C, K, bias=True)),
    "upernet": ("upernet", {"channels": C}, join(pooling("ppm_net", _LAST), pyramid(), fused(4 * C))),
    "ocrnet": (
        "ocrnet",
        {"channels": C, "inner": T},
        join(
            cbr("bottleneck", _LAST, C, 3),
            attention("object_context_block", C, C, C),
            cbr("object_context_block.bottleneck", 2 * C, C, 3),
            conv("decoder.1", C, K, bias=True),
        ),
    ),
    "ann": (
        "ann",
        {"channels": C, "inner": T},
        join(
            attention("afn_block.stages.0", _LAST, _BEFORE, _LAST, layers=1, value_norm=False),
            cbr("afn_block.bottleneck", 2 * _LAST, _LAST),
            cbr("bottleneck", _LAST, C, 3),
            attention("apn_block.stages.0", C, C, C, layers=1, value_norm=False),
            cbr("apn_block.bottleneck", 2 * C, C),
            conv("decoder.1", C, K, bias=True),
        ),
    ),
    "ccnet": (
        "ccnet",
        {"channels": C},
        around(
            "cca",
            join(
                *(conv(f"cca.{n}_conv", C, C // 8, bias=True) for n in ("query", "key")),
                conv("cca.value_conv", C, C, bias=True),
                {"cca.gamma.scale": ()},
            ),
        ),
    ),
    "dnlnet": (
        "dnlnet",
        {"channels": C},
        around("dnl", non_local("dnl_block") | conv("dnl_block.conv_mask", C, 1, bias=True)),
    ),
    "nonlocal": ("nonlocal", {"channels": C}, around("nl", non_local("nl_block"))),
    "idrnet": ("idrnet", {"channels": C, "attention_channels": T}, idr()),
    "idrnet, ppm, after": (
        "idrnet",
        {"channels": C, "attention_channels": T, "context": "ppm", "coarse_attention": "after"},
        idr(context="ppm", after=True),
    ),
    "idrnet, aspp": ("idrnet", {"channels": C, "attention_channels": T, "context": "aspp"}, idr(context="aspp")),
    "idrnet, uper of aspp, after": (
        "idrnet",
        {
            "channels": C,
            "attention_channels": T,
            "fpn_channels": C,
            "context": "uper",
            "uper_top": "aspp",
            "coarse_attention": "after",
        },
        idr(context="uper", top="aspp", after=True),
    ),
}


def checkpoint(name: str) -> Shapes:
    """Names and shapes of a whole checkpoint with a ResNet-50."""
    return join(resnet50(), HEADS[name][2], auxiliary())


def swin_block(stage: int, block: int, width: int, heads: int) -> Shapes:
    at = f"backbone_net.stages.{stage}.blocks.{block}"
    linear = {"attn.w_msa.qkv": (width, 3 * width), "attn.w_msa.proj": (width, width)}
    linear |= {"ffn.layers.0.0": (width, 4 * width), "ffn.layers.1": (4 * width, width)}
    found = {f"{at}.{n}.{part}": (width,) for n in ("norm1", "norm2") for part in ("weight", "bias")}
    for name, (i, o) in linear.items():
        found |= {f"{at}.{name}.weight": (o, i), f"{at}.{name}.bias": (o,)}
    table = {f"{at}.attn.w_msa.relative_position_bias_table": (23 * 23, heads)}
    return found | table | {f"{at}.attn.w_msa.relative_position_index": (144, 144)}


def swin_large() -> Shapes:
    net, width = "backbone_net", 192
    found = {f"{net}.patch_embed.projection.weight": (192, 3, 4, 4), f"{net}.patch_embed.projection.bias": (192,)}
    found |= {f"{net}.patch_embed.norm.{part}": (192,) for part in ("weight", "bias")}
    for stage, (depth, heads) in enumerate(zip((2, 2, 18, 2), (6, 12, 24, 48))):
        for block in range(depth):
            found |= swin_block(stage, block, width, heads)
        found |= {f"{net}.norm{stage}.{part}": (width,) for part in ("weight", "bias")}
        if stage < 3:
            at = f"{net}.stages.{stage}.downsample"
            found |= {f"{at}.norm.{part}": (4 * width,) for part in ("weight", "bias")}
            found |= {f"{at}.reduction.weight": (2 * width, 4 * width)}
        width *= 2
    return found


def empty(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
