"""Inference under a test protocol: whole image or sliding window, one view or several, argmax at the label's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import Exit, UserError
from harness.recipes.common import Normalisation
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation.loader import Geometry, geometry, normalise
from harness.training.precision import Precision
from methods.layers import resize

AT_ONCE_ON_GPU = 4
"""Windows and mirror images that a GPU takes in one batch: beyond that its units are busy anyway, and memory grows."""
Item = TypeVar("Item")


def predict(
    model: nn.Module,
    views: Sequence[Tensor],
    size: Sequence[int],
    protocol: TestProtocol,
    *,
    device: str | torch.device = "cpu",
    normalisation: Normalisation = "imagenet",
    mirror_pairs: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """Class ids uint8 [H, W] of one image from its views (uint8 [3, h, w] each) under `protocol`, on `device`."""
    how = {"device": device, "normalisation": normalisation, "mirror_pairs": mirror_pairs}
    return class_ids(scores_at(model, views, size, protocol, **how))


class NonFiniteScores(UserError):
    """A model's scores contain NaN or infinity, so that no class is the highest."""

    exit = Exit.FAILED


def class_ids(scores: Tensor) -> Tensor:
    """The class with the highest score of [K, H, W], the first one where several tie: uint8 [H, W].

    On a CPU a running maximum over the classes, which reads memory in order: three times as fast as argmax over the
    first dimension, and equal to it. Raises NonFiniteScores; checking the maxima suffices, since NaN propagates into them.
    """
    if scores.device.type != "cpu":
        ids = scores.argmax(0)
        best, ids = scores.gather(0, ids[None]), ids.to(torch.uint8)
    else:
        best, ids = scores[0].clone(), torch.zeros(scores.shape[1:], dtype=torch.uint8)
        for k in range(1, len(scores)):
            ids.masked_fill_(scores[k] > best, k)
            torch.maximum(best, scores[k], out=best)
    if not best.isfinite().all():
        raise NonFiniteScores(
            "the model's scores are not finite (NaN or infinite); its weights have diverged or are not its own"
        )
    return ids


@torch.inference_mode()
def scores_at(
    model: nn.Module,
    views: Sequence[Tensor],
    size: Sequence[int],
    protocol: TestProtocol,
    *,
    device: str | torch.device = "cpu",
    normalisation: Normalisation = "imagenet",
    mirror_pairs: Sequence[tuple[int, int]] = (),
    at_once: int | None = None,
) -> Tensor:
    """The scores before the argmax: float [K, H, W], logits or probabilities averaged over the views, at the label's
    `size`.

    `at_once`: windows and mirror images that go through the model together; None: AT_ONCE_ON_GPU there, one elsewhere. It
    moves scores by rounding alone.
    """
    total: Tensor | None = None
    count = 0
    sizes = geometry(size, protocol)
    at_once = at_once or (1 if torch.device(device).type == "cpu" else AT_ONCE_ON_GPU)
    for images, mirrored in _flips(views, sizes, protocol, device, normalisation, together=at_once > 1):
        slides = protocol.mode == "slide"
        of_views = _slide(model, images, protocol, at_once) if slides else _logits(model, images, protocol)
        for view, is_mirrored in zip(of_views.split(1), mirrored):
            logits = _at_label_size(view, is_mirrored, images.shape[-2:], sizes, size, protocol, mirror_pairs)
            total = logits if total is None else total.add_(logits)
            count += 1
    assert total is not None
    return total if count == 1 else total.div_(count)


def _at_label_size(
    logits: Tensor,
    mirrored: bool,
    input_size: Sequence[int],
    sizes: Geometry,
    size: Sequence[int],
    protocol: TestProtocol,
    mirror_pairs: Sequence[tuple[int, int]],
) -> Tensor:
    """One view's logits [1, K, h, w] as scores at the label's size: float [K, H, W], mirrored back."""
    if protocol.softmax_before_resize:
        logits = logits.float().softmax(1)  # from here on probabilities
    if protocol.via_input:
        logits = _resize(logits, input_size, protocol)
    if mirrored:
        logits = _mirror(logits, mirror_pairs)
    if protocol.frame:
        logits = _resize(logits, sizes.frame, protocol)[..., : sizes.image[0], : sizes.image[1]]
    logits = _resize(logits, size, protocol)[0].float()
    return logits.softmax(0) if protocol.average == "probabilities" else logits


def _flips(
    views: Sequence[Tensor],
    sizes: Geometry,
    protocol: TestProtocol,
    device: str | torch.device,
    normalisation: Normalisation,
    *,
    together: bool,
) -> Iterator[tuple[Tensor, tuple[bool, ...]]]:
    """Normalised images [N, 3, h, w] of every view in its frame, and whether each is mirrored: where the protocol flips, a
    view is followed by its mirror image, or has it beside it in one batch."""
    for view, (_, frame) in zip(views, sizes.views, strict=True):
        images = normalise(view.to(device, non_blocking=True)[None], how=normalisation)
        if protocol.frame:
            images = F.pad(images, (0, frame[1] - images.shape[-1], 0, frame[0] - images.shape[-2]))
        if protocol.flip and together:
            yield torch.cat([images, images.flip(-1)]), (False, True)
            continue
        yield images, (False,)
        if protocol.flip:
            yield images.flip(-1), (True,)


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


def _logits(model: nn.Module, images: Tensor, protocol: TestProtocol) -> Tensor:
    """The model's logits in the protocol's precision, not below float32 in what follows."""
    with Precision(protocol.precision, images.device.type).scope():
        logits = model(images)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _slide(model: nn.Module, images: Tensor, protocol: TestProtocol, at_once: int) -> Tensor:
    """Averages the windows' logits (or probabilities) [N, K, h, w] at the resized images' size; windows are of one size."""
    assert protocol.window is not None
    assert protocol.stride is not None
    total: Tensor | None = None
    cover = images.new_zeros((1, 1, *images.shape[-2:]))
    places = windows(images.shape[-2:], protocol.window, protocol.stride)
    for part in batched(places, max(1, at_once // len(images))):
        crops = torch.cat([images[..., top:bottom, left:right] for top, left, bottom, right in part])
        logits = _logits(model, crops, protocol)
        for (top, left, bottom, right), of_window in zip(part, logits.split(len(images))):
            scores = _resize(of_window, (bottom - top, right - left), protocol).float()
            if protocol.softmax_before_merge:
                scores = scores.softmax(1)
            if total is None:
                total = scores.new_zeros((len(images), scores.shape[1], *images.shape[-2:]))
            total[..., top:bottom, left:right] += scores
            cover[..., top:bottom, left:right] += 1
    assert total is not None
    return total.div_(cover)


def batched(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in runs of `size`; the last may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _resize(logits: Tensor, size: Sequence[int], protocol: TestProtocol) -> Tensor:
    return resize(logits, size, align_corners=protocol.align_corners)
