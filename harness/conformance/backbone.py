"""The contract of a backbone (methods.segmentor.Backbone, methods/backbones/README.md), clause by clause."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.conformance.clause import Broken, Clause
from harness.conformance.method import NUM_CLASSES, batch, total
from harness.errors import UserError
from methods import backbones
from methods.segmentor import Backbone, EncoderDecoder

_STRIDES = (8, 16, 32)  # that a table may ask for
_SIZES = ((64, 96), (65, 49))
_NO_FILE = "no/such/folder/weights.pth"


@dataclass(frozen=True)
class BackboneSubject:
    """A backbone by its name. `device`: `meta` where shapes are enough."""

    name: str
    device: str = "cpu"

    def build(self, *, output_stride: int | None = None, seed: int = 0) -> Backbone:
        """A new backbone with the random weights of a seed."""
        torch.manual_seed(seed)
        with torch.device(self.device):
            return backbones.build_backbone(self.name, output_stride=output_stride)

    def images(self, size: tuple[int, int]) -> Tensor:
        return torch.empty(2, 3, *size, device="meta") if self.device == "meta" else batch(size)[0]


class _Pick(nn.Module):
    """A context of one convolution on the last map."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = 8
        self.convolution = nn.Conv2d(in_channels[-1], 8, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.convolution(features[-1])


# ------------------------------------------------------------------------------------------------------------- clauses


def its_file_declares_it(subject: BackboneSubject) -> None:
    backbones.find(subject.name)


def it_says_what_it_gives(subject: BackboneSubject) -> None:
    backbone = subject.build()
    if not isinstance(backbone, Backbone):
        raise Broken(f"build() gives a {type(backbone).__name__}; expected is a methods.segmentor.Backbone")
    for name in ("channels", "strides"):
        values = getattr(backbone, name, None)
        if not isinstance(values, tuple) or not values or not all(type(v) is int and v > 0 for v in values):
            raise Broken(f"'{name}' is {values!r}; expected is a tuple of whole numbers, one per map")
    if len(backbone.channels) != len(backbone.strides):
        raise Broken(
            f"{len(backbone.channels)} channels for {len(backbone.strides)} strides; expected is one of each per map"
        )
    if [*backbone.strides] != sorted(backbone.strides):
        raise Broken(f"strides are {backbone.strides}; expected are the finest map's first")


def maps_have_the_announced_channels_and_sides(subject: BackboneSubject) -> None:
    backbone = subject.build().eval()
    for size in _SIZES:
        maps = backbone(subject.images(size))
        if not isinstance(maps, list | tuple) or not all(isinstance(m, Tensor) for m in maps):
            raise Broken(f"forward gives a {type(maps).__name__}; expected is a list of maps [B, C, h, w]")
        expected = [(2, c, *(math.ceil(n / s) for n in size)) for c, s in zip(backbone.channels, backbone.strides)]
        shorter = [(2, c, *(n // s for n in size)) for c, s in zip(backbone.channels, backbone.strides)]
        found = [tuple(m.shape) for m in maps]
        if found != expected and found != shorter:
            raise Broken(f"images of {size[0]}×{size[1]} give {found}; 'channels' and 'strides' say {expected}")


def every_declared_output_stride_is_built(subject: BackboneSubject) -> None:
    declared = backbones.find(subject.name).strides
    for stride in _STRIDES:
        try:
            built = subject.build(output_stride=stride)
        except UserError:
            if declared is not None and stride in declared:
                raise Broken(f"STRIDES has {stride}, and build(output_stride={stride}) refuses it") from None
        else:
            if declared is not None and stride not in declared:
                raise Broken(f"STRIDES lacks {stride}, and build(output_stride={stride}) takes it")
            if max(built.strides) != stride:
                raise Broken(f"build(output_stride={stride}) gives maps of strides {built.strides}")


def weights_that_are_not_there_are_an_error(subject: BackboneSubject) -> None:
    try:
        backbones.build_backbone(subject.name, pretrained=_NO_FILE)
    except UserError:
        return
    raise Broken(
        "build(pretrained='a file that is not there') gives a backbone: it would train from random weights in silence"
    )


def it_repeats_itself(subject: BackboneSubject) -> None:
    backbone, images = subject.build().eval(), subject.images((65, 49))
    with torch.no_grad():
        first, second, alone = backbone(images), backbone(images), backbone(images[:1])
    if not all(torch.equal(a, b) for a, b in zip(first, second)):
        raise Broken("two forwards of the same images in evaluation mode differ")
    for a, b in zip(first, alone):
        if not torch.allclose(a[:1], b, rtol=1e-3, atol=1e-4):
            raise Broken("the maps of an image depend on the rest of the batch")


def its_state_dict_is_the_whole_backbone(subject: BackboneSubject) -> None:
    first, second, images = subject.build().eval(), subject.build(seed=9).eval(), subject.images((64, 96))
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        if not all(torch.equal(a, b) for a, b in zip(first(images), second(images))):
            raise Broken(
                "a backbone that loads the state of another one gives other maps: something is not in the state"
            )


def a_segmentor_on_it_trains(subject: BackboneSubject) -> None:
    backbone = subject.build().train()
    model = EncoderDecoder(backbone, _Pick(backbone.channels), NUM_CLASSES, auxiliary_weight=0).train()
    total(model, *batch((64, 96))).backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    if not gradients or not all(gradient.isfinite().all() for gradient in gradients):
        raise Broken("a loss on the last map gives the backbone no gradient, or one that is not finite")


def _clauses(*pairs: tuple[str, Callable[[BackboneSubject], None]]) -> tuple[Clause[BackboneSubject], ...]:
    return tuple(Clause(promise, check, needed=check is it_says_what_it_gives) for promise, check in pairs)


CLAUSES = _clauses(
    ("its file declares NAMES, and STRIDES where there is a choice, as literals", its_file_declares_it),
    ("build() gives a Backbone with channels and strides, finest first", it_says_what_it_gives),
    (
        "maps have those channels, and sides divided by the stride, rounded up (as in ResNets) or down (as in ConvNeXts)",
        maps_have_the_announced_channels_and_sides,
    ),
    ("build(output_stride=…) builds what STRIDES has, and nothing else", every_declared_output_stride_is_built),
    ("a file of weights that is not there is an error", weights_that_are_not_there_are_an_error),
    ("maps repeat themselves, whatever the rest of the batch", it_repeats_itself),
    ("its state dict is the whole backbone", its_state_dict_is_the_whole_backbone),
    ("a segmentor on it trains", a_segmentor_on_it_trains),
)
