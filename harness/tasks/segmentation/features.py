"""Inputs of a trained model's final classifier at sampled pixels of the test split (HFGD, Fig. 4 and 6). The pixels
are drawn from the labels alone, independent of the model, so that all rows share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.data.annotations.label_maps import LabelReader
from harness.data.layout import Pair, Root
from harness.errors import UserError, nearest
from harness.recipes.common import Normalisation
from harness.recipes.segmentation import TestProtocol
from harness.tasks.segmentation.loader import Geometry, TestImage, geometry, images_for_testing, normalise
from harness.tasks.segmentation.protocols import windows
from harness.training.precision import Precision


class Sample(NamedTuple):
    """Sampled pixels, image by image, and the class counts of their images. K classes, N pixels."""

    images: list[Pair]
    places: np.ndarray  # int32 [N, 3]: image, row, column in the label map
    labels: np.ndarray  # uint8 [N]
    counts: np.ndarray  # int64 [K]: pixels of each class in all of the images


def draw(images: Sequence[Pair], root: Root, classes: Sequence[int], per_class: int, *, seed: int = 0) -> Sample:
    """At most `per_class` pixels of each of `classes`, as evenly over the images that show it as those allow.

    Within an image every pixel of a class is as likely as any other.
    """
    reader, counts = LabelReader(root.layout), np.zeros(root.dataset.num_classes, np.int64)
    candidates: dict[int, list[np.ndarray]] = {k: [] for k in classes}
    for i, pair in enumerate(images):
        label = reader.read(pair.label)
        counts += np.bincount(label.ravel(), minlength=256)[: len(counts)]
        for k in classes:
            inside = np.flatnonzero(label == k)
            rng = np.random.default_rng([seed, i, k])
            choice = rng.choice(inside, min(len(inside), per_class), replace=False)
            # of several images: all their first pixels, then the second …
            order = np.arange(len(choice)) + rng.random()
            rows, columns = np.divmod(choice, label.shape[1])
            candidates[k].append(np.stack([order, np.full(len(choice), i), rows, columns, np.full(len(choice), k)]))
    parts = [
        (p := np.concatenate(arrays, axis=1))[:, np.argsort(p[0])[:per_class]]
        for arrays in candidates.values()
        if arrays
    ]
    every = np.concatenate(parts, axis=1)[1:].astype(np.int32) if parts else np.empty((4, 0), np.int32)
    every = every[:, np.lexsort(every[::-1])]
    return Sample(list(images), every[:3].T, every[3].astype(np.uint8), counts)


def classifier_of(model: nn.Module, row: str) -> nn.Conv2d:
    """The model's classifier of pixels; UserError for a method that names none."""
    layer = getattr(model, "pixel_classifier", None)
    if layer is None:
        raise UserError(
            f"{row}: {type(model).__name__} names no final classifier as it is configured here, so there are no class "
            "tokens to show; leave the row out, or give its class the property final_classifier (methods/segmentor.py)"
        )
    return layer


@torch.inference_mode()
def extract(
    model: nn.Module,
    layer: nn.Conv2d,
    sample: Sample,
    root: Root,
    protocol: TestProtocol,
    *,
    normalisation: Normalisation = "imagenet",
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(features float32 [N, C], tokens float32 [K, C']) of a model in evaluation mode whose classifier of pixels is `layer`.

    Tokens are the rows of its weight; of a method that makes embeddings of the classes for every image, their mean over the
    images.

    Features are interpolated at a pixel as its logits are, so that token · feature + bias is the pixel's logit in a whole
    image at scale 1. Of the protocol's views this is the only one; of sliding windows the first that covers the pixel.
    """
    single = protocol.model_copy(update={"scales": (1.0,), "flip": False})
    features = np.zeros((len(sample.labels), layer.in_channels), np.float32)
    image_indices = np.unique(sample.places[:, 0]).tolist()
    layer_inputs: list[Tensor] = []
    embeddings: list[Tensor] = []
    embedding_layer = getattr(model, "embedding_classifier", None)
    handles = [layer.register_forward_pre_hook(lambda _, inputs: layer_inputs.append(inputs[0].float()))]
    if embedding_layer is not None:
        handles.append(
            embedding_layer.register_forward_pre_hook(lambda _, inputs: embeddings.append(inputs[0].float()))
        )
    try:
        items = images_for_testing(root, protocol.split, single, only=[sample.images[i] for i in image_indices])
        for done, (i, item) in enumerate(zip(image_indices, items), start=1):
            in_image = sample.places[:, 0] == i
            images = normalise(item.image.to(device)[None], how=normalisation)
            places = torch.from_numpy(sample.places[in_image, 1:])
            with Precision(protocol.precision, torch.device(device).type).scope():
                features[in_image] = _at(model, layer_inputs, images, item, places, single).cpu().numpy()
            progress(done, len(image_indices))
    finally:
        for handle in handles:
            handle.remove()
    tokens = torch.cat(embeddings).mean(dim=0) if embeddings else layer.weight.detach().float().flatten(1)
    return features, tokens.cpu().numpy()


def _at(
    model: nn.Module,
    layer_inputs: list[Tensor],
    images: Tensor,
    item: TestImage,
    places: Tensor,
    protocol: TestProtocol,
) -> Tensor:
    """Features [n, C] at `places` (int32 [n, 2]: row, column of the label) of one image [1, 3, h, w]."""
    sizes: Geometry = geometry(item.label.shape, protocol)
    inner = images.shape[-2:]
    if protocol.frame:
        frame = sizes.views[0][1]
        images = F.pad(images, (0, frame[1] - inner[1], 0, frame[0] - inner[0]))
    points = _points(places, item.label.shape, inner, align_corners=protocol.align_corners)
    whole = [(0, 0, *images.shape[-2:])]
    boxes = whole if protocol.window is None else windows(images.shape[-2:], protocol.window, protocol.stride or ())
    features: Tensor | None = None
    remaining = torch.ones(len(points), dtype=torch.bool)
    for top, side, bottom, right in boxes:
        inside = (
            remaining
            & (points[:, 0] >= top)
            & (points[:, 0] < bottom)
            & (points[:, 1] >= side)
            & (points[:, 1] < right)
        )
        if not inside.any():
            continue
        layer_inputs.clear()
        model(images[..., top:bottom, side:right])
        values = _interpolate(
            layer_inputs[-1],
            points[inside] - torch.tensor([top, side]),
            (bottom - top, right - side),
            protocol.align_corners,
        )
        features = values.new_zeros((len(points), values.shape[1])) if features is None else features
        features[inside.to(values.device)] = values
        remaining &= ~inside
    assert features is not None
    assert not remaining.any()
    return features


def _points(places: Tensor, size: Sequence[int], inner: Sequence[int], *, align_corners: bool) -> Tensor:
    """Coordinates float64 [n, 2] in the resized image [inner] of pixels of a label map [size], as `resize` maps them."""
    old, new = torch.tensor(size, dtype=torch.float64), torch.tensor(inner, dtype=torch.float64)
    if align_corners:
        return places * (new - 1) / (old - 1).clamp(min=1)
    return (places + 0.5) * new / old


def _interpolate(features: Tensor, points: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Bilinear, [1, C, h, w] over an input of `size` at points [n, 2] (row, column) of it -> float32 [n, C]"""
    span = torch.tensor(size, dtype=torch.float64) - (1 if align_corners else 0)
    grid = (2 * points / span.clamp(min=1) - 1).flip(1).to(features.device, torch.float32)[None, None]
    at = F.grid_sample(features.float(), grid, mode="bilinear", padding_mode="border", align_corners=align_corners)
    return at[0, :, 0].T


def chosen_classes(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Indices of the classes in `class_names`, or all; UserError for an unknown name."""
    for name in class_names:
        if name not in names:
            raise UserError(
                f"--class {name}: the dataset has no such class.{nearest(name, names, label='classes are')}"
            )
    return [k for k, name in enumerate(names) if not class_names or name in class_names]
