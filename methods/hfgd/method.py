"""HFGD by options: every own row of the paper's seventeen tables is one choice of a backbone and these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from harness.errors import UserError
from methods.hfgd.attention import AxialAttention
from methods.hfgd.deeplabv3plus import DeepLabV3PlusDecoder
from methods.hfgd.encodings import Level, build_encoding
from methods.hfgd.fapn import FaPN
from methods.hfgd.hfgm import GuidedSegmentor
from methods.hfgd.layers import conv_bn_relu
from methods.hfgd.options import Options, resolve
from methods.hfgd.semantic_fpn import SemanticFPN
from methods.hfgd.upernet import UPerNetDecoder
from methods.registry import register
from methods.segmentor import Backbone, Segmentor


@register("hfgd", check="methods.hfgd.options:resolve")
def hfgd(
    backbone: Backbone,
    num_classes: int,
    *,
    decoder: str = "usfpn",
    stride: int | None = None,
    encoding: str = "cae",
    hfgm: str = "full",
    stop_gradients: bool = True,
    axial_heads: int = 4,
    teacher_weight: float = 1.0,
    token_bias: bool | None = None,
    channels: int | None = None,
    inner: int = 512,
    wide: int = 2048,
    attention_channels: int = 64,
    cae_attention: str = "plain",
    car_weight: float = 1.0,
    car_mean: str = "valid",
    coarse_weight: float = 0.0,
) -> Segmentor:
    """HFGD: a decoder guided by the class tokens of the high-level features, each part a choice.

    `options.Options` says what each option is and `options.CHOICES` what it takes; None leaves it to the other options.
    Raises UserError for what does not go together.
    """
    given = {name: value for name, value in locals().items() if name not in ("backbone", "num_classes")}
    return build_segmentor(backbone, num_classes, resolve(given))


def build_segmentor(backbone: Backbone, num_classes: int, options: Options) -> GuidedSegmentor:
    """The parts that `options` name, joined; a 1×1 convolution between encoding and decoder where their widths differ."""
    level = Level(backbone.channels[-1], backbone.strides[-1])
    encoding = build_encoding(level, num_classes, options)
    decoder = _decoder(backbone.channels[:-1], options)
    width = encoding.channels if decoder is None else options.channels
    fits = encoding.channels == width
    return GuidedSegmentor(
        backbone,
        encoding,
        nn.Identity() if fits else conv_bn_relu(encoding.channels, width, 1),
        decoder,
        AxialAttention(width, heads=options.axial_heads) if options.axial else None,
        nn.Conv2d(width, num_classes, 1, bias=options.token_bias),
        guided=options.guided,
        stop_gradients=options.stop_gradients,
        teacher_weight=options.teacher_weight,
    )


def _decoder(in_channels: Sequence[int], options: Options) -> nn.Module | None:
    decoders: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
        "sfpn": SemanticFPN,
        "usfpn": partial(SemanticFPN, ultra=True, stride=options.stride),
        "fapn": FaPN,
        "upernet": UPerNetDecoder,
        "deeplabv3plus": DeepLabV3PlusDecoder,
    }
    if options.decoder == "none":
        return None
    if not in_channels:
        raise UserError(
            f"hfgd: decoder '{options.decoder}' joins feature maps of several resolutions, and this backbone gives one; "
            "say decoder: none and hfgm: none, or take another backbone"
        )
    return decoders[options.decoder](in_channels, options.channels)
