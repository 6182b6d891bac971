"""From a model to a label map: whole image or sliding window, one view or several, argmax at the label's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.loader import normalise
from harness.recipe import TestProtocol


def predict(
    model: nn.Module,
    views: Sequence[Tensor],
    size: Sequence[int],
    protocol: TestProtocol,
    *,
    device: str | torch.device = "cpu",
    mirror_pairs: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """Class ids uint8 [H, W] of one image from its views (uint8 [3, h, w] each) under `protocol`, on `device`."""
    return class_ids(scores_at(model, views, size, protocol, device=device, mirror_pairs=mirror_pairs))


def class_ids(scores: Tensor) -> Tensor:
    """The class with the highest score of [K, H, W], the first one where several tie: uint8 [H, W].

    On a CPU a running maximum over the classes, which reads memory in order: three times as fast as argmax over the
    first dimension, and equal to it.
    """
    if scores.device.type != "cpu":
        return scores.argmax(0).to(torch.uint8)
    best, ids = scores[0].clone(), torch.zeros(scores.shape[1:], dtype=torch.uint8)
    for k in range(1, len(scores)):
        ids.masked_fill_(scores[k] > best, k)
        torch.maximum(best, scores[k], out=best)
    return ids


@torch.inference_mode()
def scores_at(
    model: nn.Module,
    views: Sequence[Tensor],
    size: Sequence[int],
    protocol: TestProtocol,
    *,
    device: str | torch.device = "cpu",
    mirror_pairs: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """What the argmax is taken of: float [K, H, W], logits or probabilities averaged over the views, at the label's
    `size`."""
    total: Tensor | None = None
    count = 0
    for images, mirrored in _flips(views, protocol, device):
        logits = _slide(model, images, protocol) if protocol.mode == "slide" else model(images)
        if protocol.via_input:
            logits = _resize(logits, images.shape[-2:])
        if mirrored:
            logits = _mirror(logits, mirror_pairs)
        logits = _resize(logits, size)[0].float()
        if protocol.average == "probabilities":
            logits = logits.softmax(0)
        total = logits if total is None else total.add_(logits)
        count += 1
    assert total is not None
    return total if count == 1 else total.div_(count)


def _flips(
    views: Sequence[Tensor], protocol: TestProtocol, device: str | torch.device
) -> Iterator[tuple[Tensor, bool]]:
    """Normalised [1, 3, h, w] of every view, each followed by its mirror image where the protocol flips."""
    for view in views:
        images = normalise(view.to(device, non_blocking=True)[None])
        yield images, False
        if protocol.flip:
            yield images.flip(-1), True


def _mirror(logits: Tensor, mirror_pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Back from a mirrored image: columns reversed, channels of left and right classes exchanged."""
    logits = logits.flip(-1)
    if not mirror_pairs:
        return logits
    channels = list(range(logits.shape[1]))
    for a, b in mirror_pairs:
        channels[a], channels[b] = b, a
    return logits[:, channels]


def windows(size: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of the windows that cover `size`; those at the far edges are moved inwards to fit."""
    edges = []
    for length, side, step in zip(size, window, stride):
        steps = max(length - side + step - 1, 0) // step + 1
        ends = [min(i * step + side, length) for i in range(steps)]
        edges.append([(max(end - side, 0), end) for end in ends])
    return [(top, left, bottom, right) for top, bottom in edges[0] for left, right in edges[1]]


def _slide(model: nn.Module, images: Tensor, protocol: TestProtocol) -> Tensor:
    """Averages the windows' logits (or probabilities) [1, K, h, w] at the resized image's size."""
    assert protocol.window is not None
    assert protocol.stride is not None
    total: Tensor | None = None
    cover = images.new_zeros((1, 1, *images.shape[-2:]))
    for top, left, bottom, right in windows(images.shape[-2:], protocol.window, protocol.stride):
        logits = _resize(model(images[..., top:bottom, left:right]), (bottom - top, right - left)).float()
        if protocol.softmax_before_merge:
            logits = logits.softmax(1)
        if total is None:
            total = logits.new_zeros((1, logits.shape[1], *images.shape[-2:]))
        total[..., top:bottom, left:right] += logits
        cover[..., top:bottom, left:right] += 1
    assert total is not None
    return total.div_(cover)


def _resize(logits: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
