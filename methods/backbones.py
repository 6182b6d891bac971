"""Backbones by name, from timm, as feature pyramids with an output stride.

`resnet50` and `resnet101` are the V1c variants that these papers train: a stem of three 3×3 convolutions (32, 32, 64
channels), strides on the 3×3 convolution, and dilations in place of strides where the output stride asks for it, the
first block of such a stage keeping the dilation of the stage before (mmsegmentation's `contract_dilation`). `timm/NAME`
takes any timm model that gives features, as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from timm.models._features import FeatureGetterNet
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from harness.errors import MissingError, UserError, nearest
from methods.layers import resize
from methods.pretrained import advice, offline
from methods.segmentor import Backbone


@dataclass(frozen=True)
class _Known:
    """A timm model and how it becomes a Backbone."""

    timm: str
    dilated: bool = False  # takes an output stride of 8, 16 or 32
    options: Mapping[str, Any] = field(default_factory=dict)
    multiple: int = 1  # image sides are padded to a multiple of this
    channels_last: bool = False  # its maps are [B, h, w, C], and each gets a LayerNorm
    joined: bool = False  # its maps are resized to the finest and concatenated
    blocks: tuple[int, ...] = (
        -4,
        -3,
        -2,
        -1,
    )  # the stages, or a plain transformer's blocks, whose outputs are the maps


# as SegViT takes it: the outputs of blocks 6, 8 and 12, positions resized to the image
_VIT_OPTIONS = {"dynamic_img_size": True, "drop_path_rate": 0.1}
# windows shift in every stage, also where a map was no larger than a window when pretrained: so segmentors train Swin
_SWIN_OPTIONS = {"strict_img_size": False, "drop_path_rate": 0.3, "always_partition": True}
_KNOWN = {
    "resnet18": _Known("resnet18", dilated=True),
    "resnet34": _Known("resnet34", dilated=True),
    "resnet50": _Known("resnet50c", dilated=True),
    "resnet101": _Known("resnet101c", dilated=True),
    "resnet50_v1c": _Known("resnet50c", dilated=True),
    "resnet101_v1c": _Known("resnet101c", dilated=True),
    "hrnet_w48": _Known("hrnet_w48", options={"feature_location": ""}, multiple=32, joined=True),
    "swin_base": _Known(
        "swin_base_patch4_window12_384.ms_in22k", options=_SWIN_OPTIONS, multiple=4, channels_last=True
    ),
    "swin_large": _Known(
        "swin_large_patch4_window12_384.ms_in22k", options=_SWIN_OPTIONS, multiple=4, channels_last=True
    ),
    "vit_base": _Known(
        "vit_base_patch16_384.augreg_in21k_ft_in1k", options=_VIT_OPTIONS, multiple=16, blocks=(5, 7, 11)
    ),
}
_WITHOUT_CLASS_TOKEN = ("vit_base",)
_STRIDES = (8, 16, 32)
_FLATTENED = re.compile(r"^(stem|stages|layers)_(\d+)\.")
_CLASSIFIERS = ("fc.", "head.", "classifier.", "norm.", "final_layer.", "incre_modules.", "downsamp_modules.")


def names() -> list[str]:
    """Names of the backbones; `timm/NAME` is understood besides."""
    return sorted(_KNOWN)


class PaddedSwinBlock(SwinTransformerBlock):
    """A Swin block that pads its map to whole windows before it shifts them, as segmentation's Swin does, not after.

    The two differ wherever a side is no multiple of the window, as with crops of 512 or 640 and windows of 12.
    """

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        padding = (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0])
        return super()._attn(F.pad(x, padding))[:, :height, :width]


def _without_class_token(model: VisionTransformer) -> None:
    """Leaves a ViT with the image's tokens alone, as plain segmentation transformers have it (`with_cls_token=False`).

    After the weights are there: those of a classifier have the token, and a position for it before the others.
    """
    assert model.pos_embed is not None
    model.pos_embed = nn.Parameter(model.pos_embed[:, model.num_prefix_tokens :].detach().clone())
    model.cls_token, model.has_class_token, model.num_prefix_tokens = None, False, 0


class TimmBackbone(Backbone):
    """Four feature maps of a timm model, C2 to C5; of HRNet one map, all resolutions joined (HRNetV2, Sun et al. 2019).

    images [B, 3, H, W], any size -> [B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])]
    """

    def __init__(self, body: nn.Module, known: _Known) -> None:
        super().__init__()
        self.body = body
        self.multiple = known.multiple
        self.channels_last = known.channels_last
        self.joined = known.joined
        channels = tuple(body.feature_info.channels())
        self.level_strides = tuple(body.feature_info.reduction())
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels) if known.channels_last else None
        self.channels = (sum(channels),) if known.joined else channels
        self.strides = self.level_strides[:1] if known.joined else self.level_strides

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        features = self.body(F.pad(images, padding) if any(padding) else images)
        if self.norms is not None:
            features = [norm(x).permute(0, 3, 1, 2).contiguous() for norm, x in zip(self.norms, features)]
        if self.multiple > 1:
            features = [
                x[..., : math.ceil(height / stride), : math.ceil(width / stride)]
                for x, stride in zip(features, self.level_strides)
            ]
        if self.joined:
            return [torch.cat([resize(x, features[0].shape[-2:]) for x in features], dim=1)]
        return list(features)


def build_backbone(name: str, *, output_stride: int | None = None, pretrained: bool | str = False) -> TimmBackbone:
    """The named backbone with random weights, those of a local file (a path), or pretrained ones (`True`): from the folder
    of weights where it has them (methods.pretrained), else timm's.

    `output_stride`: 8, 16 or 32 (default) for ResNets; left out for the others. Raises UserError for an unknown name or
    an impossible stride, MissingError where weights are not there.
    """
    known = _KNOWN.get(name) or _from_timm(name)
    options = dict(known.options)
    if known.dilated:
        stride = 32 if output_stride is None else output_stride
        if stride not in _STRIDES:
            raise UserError(f"backbone '{name}': output stride {stride} is not one of 8, 16, 32")
        options["output_stride"] = stride
    elif output_stride is not None:
        raise UserError(f"backbone '{name}' has no adjustable output stride; leave output_stride out (null)")
    file = Path(pretrained).expanduser() if isinstance(pretrained, str) else offline(name) if pretrained else None
    body = _create(known, bool(pretrained) and file is None, options, name)
    for module in body.modules():
        if type(module) is SwinTransformerBlock:
            module.__class__ = PaddedSwinBlock
        elif known.joined and isinstance(module, nn.Upsample):
            # segmentation's HRNet mixes its resolutions bilinearly, the classifier that timm has by the nearest cell
            module.mode, module.align_corners = "bilinear", False
    if file is not None:
        _load(body, file, name)
    if name in _WITHOUT_CLASS_TOKEN:
        _without_class_token(body.model)
    return TimmBackbone(body, known)


def _from_timm(name: str) -> _Known:
    prefix, _, model = name.partition("/")
    if prefix != "timm" or not timm.is_model(model):
        tail = nearest(name, _KNOWN)
        raise UserError(f"unknown backbone '{name}'.{tail}; or timm/NAME for a model that timm knows")
    return _Known(model, dilated=model.startswith(("resnet", "resnext", "wide_resnet")))


def _create(known: _Known, pretrained: bool, options: dict[str, Any], name: str) -> nn.Module:
    try:
        return timm.create_model(
            known.timm, features_only=True, out_indices=known.blocks, pretrained=pretrained, **options
        )
    except Exception as error:
        if not pretrained:
            raise
        raise MissingError(
            f"pretrained weights of timm's '{known.timm}' could not be loaded ({type(error).__name__}: {error}). "
            f"Download them where there is a network (they then lie in Hugging Face's cache, HF_HOME). {advice(name)}"
        ) from error


def _load(body: nn.Module, path: Path, name: str) -> None:
    """Fills `body` from a file of timm's or torchvision's weights for this model; a classifier in it is left out."""
    if not path.is_file():
        raise MissingError(f"backbone '{name}': there are no weights at {path.absolute()}. {advice(name)}")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"backbone '{name}': {path} is not a file of weights ({error})") from error
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(
            f"backbone '{name}': {path} is not a file of weights (it holds no mapping from names to tensors)"
        )
    target = body.model if isinstance(body, FeatureGetterNet) else body  # what timm wraps, under the file's names
    own = target.state_dict()
    # timm's feature pyramids call stage 1 of `layers` layers_1, where the file says layers.1
    flat = {_FLATTENED.sub(r"\1.\2.", key): key for key in own}
    given = {flat.get(key, key): value for key, value in state.items() if not key.startswith(_CLASSIFIERS)}
    problems = [f"missing {key}" for key in own if key not in given and not key.endswith("num_batches_tracked")]
    problems += [f"unexpected {key}" for key in given if key not in own]
    problems += [
        f"{key} is {tuple(given[key].shape)}, should be {tuple(value.shape)}"
        for key, value in own.items()
        if key in given and given[key].shape != value.shape
    ]
    if problems:
        lines = "\n  ".join(problems)
        raise UserError(f"backbone '{name}': {path} does not fit; nothing was loaded:\n  {lines}")
    target.load_state_dict(given, strict=False)
