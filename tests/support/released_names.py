"""Names and shapes in the released checkpoints (SegmentationBLWX/sssegmentation at eb1878c1), written down from its
modules and configurations, as empty tensors: what the file of each configuration holds, without any weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

C, T = 512, 256  # channels of a head and of its attention, where a configuration does not change them
RESNET, SWIN, HRNET = (256, 512, 1024, 2048), (192, 384, 768, 1536), (720, 720)
CLASSES = {"ade20k": 150, "cityscapes": 19, "cocostuff10k": 182, "lip": 20, "pascalcontext59": 59}
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


# ------------------------------------------------------------------------------------------------------------ backbones


def residual(name: str, inputs: int, planes: int, *, bottleneck: bool) -> Shapes:
    """A block of three convolutions or two; a 1x1 convolution beside it where the width changes."""
    out = 4 * planes if bottleneck else planes
    if bottleneck:
        sizes = ((inputs, planes, 1), (planes, planes, 3), (planes, out, 1))
    else:
        sizes = ((inputs, planes, 3), (planes, planes, 3))
    found: Shapes = {}
    for i, (a, b, kernel) in enumerate(sizes, start=1):
        found |= conv(f"{name}.conv{i}", a, b, kernel) | norm(f"{name}.bn{i}", b)
    return found | (cbr(f"{name}.downsample", inputs, out) if inputs != out else {})


def resnet(depth: int) -> Shapes:
    net = "backbone_net"
    stem = {0: (3, 32), 3: (32, 32), 6: (32, 64)}
    found = join(*(cbr(f"{net}.stem", i, o, 3, first) for first, (i, o) in stem.items()))
    width = 64
    for stage, blocks in enumerate({50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]):
        for block in range(blocks):
            found |= residual(f"{net}.layer{stage + 1}.{block}", width, 64 * 2**stage, bottleneck=True)
            width = 256 * 2**stage
    return found


def hrnet_w48() -> Shapes:
    net = "backbone_net"
    found = join(*(conv(f"{net}.conv{i}", c, 64, 3) | norm(f"{net}.bn{i}", 64) for i, c in ((1, 3), (2, 64))))
    for block in range(4):
        found |= residual(f"{net}.layer1.{block}", 256 if block else 64, 64, bottleneck=True)
    found |= cbr(f"{net}.transition1.0", 256, 48, 3)
    widths = (48, 96, 192, 384)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        branches = widths[:stage]
        before = 256 if stage == 2 else widths[stage - 2]  # the new branch starts from the coarsest there was
        found |= cbr(f"{net}.transition{stage - 1}.{stage - 1}.0", before, branches[-1], 3)
        for module in range(modules):
            found |= hr_module(f"{net}.stage{stage}.{module}", branches)
    return found


def hr_module(name: str, widths: tuple[int, ...]) -> Shapes:
    """Four basic blocks on every branch; between branches, 1x1 upwards and strided 3x3 downwards, one per octave."""
    found: Shapes = {}
    for i, width in enumerate(widths):
        for block in range(4):
            found |= residual(f"{name}.branches.{i}.{block}", width, width, bottleneck=False)
        for j, other in enumerate(widths):
            at = f"{name}.fuse_layers.{i}.{j}"
            if j > i:
                found |= cbr(at, other, width)
            for k in range(i - j):
                found |= cbr(f"{at}.{k}", other, width if k == i - j - 1 else other, 3)
    return found


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


# ---------------------------------------------------------------------------------------------------------------- heads


def auxiliary(inputs: int, classes: int) -> Shapes:
    return cbr("auxiliary_decoder", inputs, 512, 3) | conv("auxiliary_decoder.4", 512, classes, bias=True)


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


def pyramid(levels: tuple[int, ...], width: int = C) -> Shapes:
    sides = (
        cbr(f"lateral_convs.{i}", c, width) | cbr(f"fpn_convs.{i}", width, width, 3) for i, c in enumerate(levels[:3])
    )
    return join(*sides)


def fused(inputs: int, classes: int) -> Shapes:
    return cbr("decoder", inputs, C, 3) | conv("decoder.4", C, classes, bias=True)


def around(block: str, inside: Shapes, classes: int) -> Shapes:
    frame = cbr(f"conv_before_{block}", 2048, C, 3) | cbr(f"conv_after_{block}", C, C, 3)
    return join(frame, inside, fused(2048 + C, classes))


def non_local(name: str) -> Shapes:
    inner = (conv(f"{name}.{part}.0", C, C // 2, bias=True) for part in ("g", "theta", "phi"))
    return join(*inner, cbr(f"{name}.conv_out", C // 2, C))


def criss_cross() -> Shapes:
    asked = join(*(conv(f"cca.{n}_conv", C, C // 8, bias=True) for n in ("query", "key")))
    return join(asked, conv("cca.value_conv", C, C, bias=True), {"cca.gamma.scale": ()})


def ocr(classes: int, last: int = 2048) -> Shapes:
    block = attention("object_context_block", C, C, C) | cbr("object_context_block.bottleneck", 2 * C, C, 3)
    return join(cbr("bottleneck", last, C, 3), block, conv("decoder.1", C, classes, bias=True))


def asymmetric(classes: int) -> Shapes:
    plain = {"layers": 1, "value_norm": False}
    fusion = attention("afn_block.stages.0", 2048, 1024, 2048, **plain) | cbr("afn_block.bottleneck", 4096, 2048)
    own = attention("apn_block.stages.0", C, C, C, **plain) | cbr("apn_block.bottleneck", 2 * C, C)
    return join(fusion, cbr("bottleneck", 2048, C, 3), own, conv("decoder.1", C, classes, bias=True))


def idr(
    classes: int,
    *,
    context: str = "none",
    width: int = C,
    attends: str | None = None,
    stage1: str = "coarse",
    pyramid_width: int = 0,
    levels: tuple[int, ...] = RESNET,
) -> Shapes:
    """IDRNet's head. `context`: none, ppm or aspp; `pyramid_width` of a feature pyramid below it (UPerNet), 0 for none;
    `attends`: whether self-attention on the context comes before or after the first classifier."""
    state = {f"class_relations_{m}": (classes, classes) for m in ("mean", "var")}
    state |= {"selected_classes_counter": (classes,), "dl_cls_representations": (classes, width)}
    refiner = attention("idcontext_refiner", 6 * width, 6 * width, width)
    found = join(state, cbr("bottleneck", levels[-1], width, 3), refiner)
    coarse = 0 if context == "none" else pyramid_width or width
    if context != "none":
        found |= {"ppm": pooling, "aspp": atrous}[context]("coarse_context_module", width, coarse)
    if attends:
        found |= attention(f"coarsecontext_refiner_{attends}", coarse, coarse, coarse)
    if pyramid_width:
        found |= pyramid(levels, pyramid_width)
    first = coarse if coarse and stage1 == "coarse" else width
    for stage, inputs in ((1, first), (2, 2 * width + coarse + 3 * pyramid_width)):
        found |= cbr(f"decoder_stage{stage}", inputs, width) | conv(
            f"decoder_stage{stage}.4", width, classes, bias=True
        )
    return found


# ------------------------------------------------------------------------------------------------------- configurations

_BASELINES = {  # head of 512 channels on a ResNet, by number of classes
    "fcn": lambda k: join(cbr("decoder", 2048, C, 3), cbr("decoder", C, C, 3, 3), conv("decoder.7", C, k, bias=True)),
    "pspnet": lambda k: pooling("ppm_net", 2048) | conv("decoder.1", C, k, bias=True),
    "deeplabv3": lambda k: atrous("aspp_net", 2048) | conv("decoder.1", C, k, bias=True),
    "upernet": lambda k: join(pooling("ppm_net", 2048), pyramid(RESNET), fused(4 * C, k)),
    "ocrnet": ocr,
    "annnet": asymmetric,
    "ccnet": lambda k: around("cca", criss_cross(), k),
    "dnlnet": lambda k: around("dnl", non_local("dnl_block") | conv("dnl_block.conv_mask", C, 1, bias=True), k),
    "nonlocalnet": lambda k: around("nl", non_local("nl_block"), k),
}
_SWIN = partial(idr, pyramid_width=1024, levels=SWIN)
_UPER = partial(idr, pyramid_width=C)
_IDRNET = {  # what follows `idrnet_` in a configuration's name: its head
    "fcn_resnet50os8_ade20k": partial(idr, width=1024),
    "fcn_resnet50os8_cityscapes": idr,
    "fcn_resnet50os8_cocostuff10k": idr,
    "fcn_resnet50os8_lip": idr,
    "ppm_resnet50os8_ade20k": partial(idr, context="ppm", attends="after"),
    "ppm_resnet50os8_cityscapes": partial(idr, context="ppm", attends="after", width=1024, stage1="features"),
    "ppm_resnet50os8_cocostuff10k": partial(idr, context="ppm", attends="before"),
    "ppm_resnet50os8_lip": partial(idr, context="ppm"),
    "aspp_resnet50os8_ade20k": partial(idr, context="aspp", attends="after"),
    "aspp_resnet50os8_cityscapes": partial(idr, context="aspp", attends="after"),
    "aspp_resnet50os8_cocostuff10k": partial(idr, context="aspp", attends="before"),
    "aspp_resnet50os8_lip": partial(idr, context="aspp"),
    "upernet_resnet50os8_ade20k": partial(_UPER, context="aspp", attends="after"),
    "upernet_resnet50os8_cityscapes": partial(_UPER, context="aspp", attends="after"),
    "upernet_resnet50os8_cocostuff10k": partial(_UPER, context="ppm", attends="before"),
    "upernet_resnet50os8_lip": partial(_UPER, context="ppm"),
    "upernet_swinlarge_ade20k": partial(_SWIN, context="aspp", attends="after"),
    "upernet_swinlarge_cocostuff10k": partial(_SWIN, context="aspp", attends="after"),
    "upernet_swinlarge_lip": partial(_SWIN, context="ppm"),
    "upernet_swinlarge_pascalcontext59": partial(_SWIN, context="aspp", attends="after"),
}
CONFIGURATIONS = [  # of the baselines those that IDRNet's tables are about, and one per further backbone
    *(f"idrnet_{name}" for name in _IDRNET),
    *(f"{name}_resnet50os8_{data}" for name in _BASELINES for data in ("ade20k", "cityscapes")),
    *(f"{name}_resnet101os8_ade20k" for name in _BASELINES),
    "ocrnet_hrnetv2w48_ade20k",
]


def checkpoint(configuration: str) -> Shapes:
    """Names and shapes of the file that a released configuration (idrnet_fcn_resnet50os8_ade20k, …) was saved to."""
    segmentor, _, rest = configuration.partition("_")
    net, _, data = rest.rpartition("_")
    classes = CLASSES[data]
    if net == "hrnetv2w48":
        return join(hrnet_w48(), ocr(classes, HRNET[-1]), auxiliary(HRNET[-2], classes))
    head = _IDRNET[rest] if segmentor == "idrnet" else _BASELINES[segmentor]
    if net.endswith("swinlarge"):
        return join(swin_large(), head(classes), auxiliary(SWIN[2], classes))
    return join(resnet(101 if "resnet101" in net else 50), head(classes), auxiliary(RESNET[2], classes))


def empty(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
