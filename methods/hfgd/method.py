"""HFGD by options: every own row of the paper's seventeen tables is one choice of backbone and these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from harness.errors import UserError, nearest
from methods.hfgd.attention import AxialAttention
from methods.hfgd.deeplabv3plus import DeepLabV3PlusDecoder
from methods.hfgd.encodings import ENCODINGS, Widths
from methods.hfgd.fapn import FaPN
from methods.hfgd.hfgm import GuidedSegmentor
from methods.hfgd.layers import conv_bn_relu
from methods.hfgd.semantic_fpn import SemanticFPN
from methods.hfgd.upernet import UPerNetDecoder
from methods.registry import register
from methods.segmentor import Backbone, Segmentor

DECODERS: dict[str, Callable[[Sequence[int], int], nn.Module] | None] = {
    "none": None,
    "sfpn": SemanticFPN,
    "usfpn": SemanticFPN,
    "fapn": FaPN,
    "upernet": UPerNetDecoder,
    "deeplabv3plus": DeepLabV3PlusDecoder,
}
MODES = ("none", "guidance", "aa", "full")
CAE_ATTENTIONS = ("plain", "projected")
_CHOICES = {"decoder": tuple(DECODERS), "encoding": tuple(ENCODINGS), "hfgm": MODES, "cae_attention": CAE_ATTENTIONS}


@register("hfgd")
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

    `decoder`: none, sfpn, usfpn, fapn, upernet, deeplabv3plus; `stride`: of its output, 4, or 2 for usfpn.
    `encoding`: identity, aspp, ppm, ocr, sa, sa_car, cae. `hfgm`: none, guidance (shared tokens and stop-gradients), aa
    (axial attention alone), full; `stop_gradients: false` shares the tokens and stops nothing (48.50 in Sec. 5.2).
    `token_bias`: of the classifier; None: without under guidance, which is how Table 9 is met.
    `channels`: of decoder and tokens; None: 256, or 512 for upernet. `inner`: of the map that attention works on;
    `wide`: of CAE's first layer; `attention_channels`: of queries and keys, where there are projections.
    `cae_attention`: plain (no projections, fitted to Table 9) or projected as in CAR's own head.
    `car_mean`: CAR's means over the `valid` pixels, or over `all` as in the released code. `coarse_weight`: of a loss on
    OCR's coarse classifier, which the paper's settings leave out.
    Raises UserError for what does not go together.
    """
    choices = {"decoder": decoder, "encoding": encoding, "hfgm": hfgm, "cae_attention": cae_attention}
    for name, value in choices.items():
        _check(name, value)
    sizes = {"inner": inner, "wide": wide, "attention_channels": attention_channels}
    for name, value in {**sizes, **({} if channels is None else {"channels": channels})}.items():
        _check_size(name, value)
    guided = hfgm in ("guidance", "full")
    _check_together(backbone, decoder, hfgm, stride, stop_gradients)
    width = channels or (512 if decoder == "upernet" else 256)
    widths = Widths(
        num_classes=num_classes,
        stride=backbone.strides[-1],
        channels=width,
        inner=inner,
        wide=wide,
        attention_channels=attention_channels,
        cae_attention=cae_attention,
        car_weight=car_weight,
        car_mean=car_mean,
        coarse_weight=coarse_weight,
        decoded=decoder != "none",
    )
    encoder = ENCODINGS[encoding](backbone.channels[-1], widths)
    upsampler = _decoder(decoder, backbone.channels[:-1], width, stride or 4)
    fits = upsampler is None or encoder.channels == width
    classified = encoder.channels if upsampler is None else width
    return GuidedSegmentor(
        backbone,
        encoder,
        nn.Identity() if fits else conv_bn_relu(encoder.channels, width, 1),
        upsampler,
        AxialAttention(width, heads=axial_heads) if hfgm in ("aa", "full") else None,
        nn.Conv2d(classified, num_classes, 1, bias=not guided if token_bias is None else token_bias),
        guided=guided,
        stop_gradients=stop_gradients,
        teacher_weight=teacher_weight,
    )


def _decoder(name: str, in_channels: Sequence[int], channels: int, stride: int) -> nn.Module | None:
    build = DECODERS[name]
    if build is None:
        return None
    if build is SemanticFPN:
        return SemanticFPN(in_channels, channels, ultra=name == "usfpn", stride=stride)
    return build(in_channels, channels)


def _check(name: str, value: Any) -> None:
    allowed = _CHOICES[name]
    if value not in allowed:
        raise UserError(f"hfgd: option '{name}' cannot be {value!r}.{nearest(str(value), allowed, what='allowed are')}")


def _check_size(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"hfgd: option '{name}' must be a positive whole number, not {value!r}")


def _check_together(backbone: Backbone, decoder: str, hfgm: str, stride: int | None, stop_gradients: bool) -> None:
    """Raises UserError where an option has nothing to act on."""
    if stride not in (None, 4) and decoder not in ("sfpn", "usfpn"):
        raise UserError(f"hfgd: decoder '{decoder}' has no option 'stride'; of the decoders only usfpn can go to 2")
    if decoder == "none" and hfgm != "none":
        raise UserError(f"hfgd: hfgm '{hfgm}' needs a decoder to guide; say decoder: usfpn, or hfgm: none")
    if decoder != "none" and len(backbone.channels) < 2:
        raise UserError(
            f"hfgd: decoder '{decoder}' joins feature maps of several resolutions, and this backbone gives one; "
            "say decoder: none, or take another backbone"
        )
    if not stop_gradients and hfgm not in ("guidance", "full"):
        raise UserError(f"hfgd: hfgm '{hfgm}' has no stop-gradients to leave out; say hfgm: full, or guidance")
