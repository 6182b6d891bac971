"""HFGD's options: the parts of the method, and what the paper and its authors' released framework leave open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.errors import UserError, nearest

CHOICES: dict[str, tuple[str, ...]] = {
    "decoder": ("none", "sfpn", "usfpn", "fapn", "upernet", "deeplabv3plus"),
    "encoding": ("identity", "aspp", "ppm", "ocr", "sa", "sa_car", "cae"),
    "hfgm": ("none", "guidance", "aa", "full"),
    "cae_attention": ("plain", "projected"),
    "car_mean": ("valid", "all"),
}
_SIZES = ("channels", "inner", "wide", "attention_channels", "axial_heads")


@dataclass(frozen=True, kw_only=True)
class Options:
    """A complete, checked choice; built by `resolve`."""

    decoder: str
    stride: int  # of the decoder's output: 4, or 2 for usfpn
    encoding: str  # of the backbone's last map; identity is FCN's head where no decoder follows
    hfgm: str  # guidance: shared tokens and stop-gradients; aa: axial attention alone; full: both
    stop_gradients: bool  # false: the tokens are shared and nothing is stopped (48.50 in Sec. 5.2)
    axial_heads: int  # 4 in the released layer
    teacher_weight: float  # of its loss; not stated, and its parameters are not the student's
    token_bias: bool  # of the classifier; without under guidance, which is how Table 9 is met
    channels: int  # of decoder and class tokens: 512 for upernet, 256 else
    inner: int  # of the map that attention works on
    wide: int  # of CAE's first layer ("wide linear")
    attention_channels: int  # of queries and keys, where they are projected
    cae_attention: str  # plain: no projections, fitted to Table 9; projected: as in CAR's own head
    car_weight: float
    car_mean: str  # CAR's means: over valid pixels, or all of them as in the released code
    coarse_weight: float  # of a loss on OCR's coarse classifier; the released settings have none

    @property
    def guided(self) -> bool:
        return self.hfgm in ("guidance", "full")

    @property
    def axial(self) -> bool:
        return self.hfgm in ("aa", "full")


def resolve(given: Mapping[str, Any]) -> Options:
    """Fills in what is None and checks every choice; raises UserError naming the option and what it takes."""
    values = {field.name: given[field.name] for field in fields(Options)}
    for name, allowed in CHOICES.items():
        if values[name] not in allowed:
            tail = nearest(str(values[name]), allowed, label="allowed are")
            raise UserError(f"hfgd: option '{name}' cannot be {values[name]!r}.{tail}")
    computed = {
        "stride": 4,
        "token_bias": values["hfgm"] not in ("guidance", "full"),
        "channels": 512 if values["decoder"] == "upernet" else 256,
    }
    values |= {name: value for name, value in computed.items() if values[name] is None}
    for name in _SIZES:
        if type(values[name]) is not int or values[name] < 1:
            raise UserError(f"hfgd: option '{name}' must be a positive whole number, not {values[name]!r}")
    options = Options(**values)
    _check_together(options)
    return options


def _check_together(options: Options) -> None:
    decoder, hfgm = options.decoder, options.hfgm
    strides = {"usfpn": (4, 2)}.get(decoder, (4,))
    if options.stride not in strides:
        raise UserError(
            f"hfgd: decoder '{decoder}' has output stride {' or '.join(map(str, strides))}, not {options.stride!r} "
            "(option 'stride'); only usfpn goes to 2"
        )
    if decoder == "none" and hfgm != "none":
        raise UserError(f"hfgd: hfgm '{hfgm}' needs a decoder to guide; say decoder: usfpn, or hfgm: none")
    if not options.stop_gradients and not options.guided:
        raise UserError(f"hfgd: hfgm '{hfgm}' has no stop-gradients to leave out; say hfgm: full, or guidance")
    if options.axial and options.channels % options.axial_heads:
        raise UserError(
            f"hfgd: {options.channels} channels do not divide into {options.axial_heads} heads "
            "(options 'channels' and 'axial_heads')"
        )
