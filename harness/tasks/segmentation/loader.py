"""Batches for training and images for testing, uint8 until they are on the device.

A sample depends on (seed, epoch, position in the epoch) alone, so that a training can start at any iteration and any
number of workers gives the same batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from harness.data.annotations.label_maps import LabelReader, read_pair
from harness.data.files import pairs
from harness.data.layout import Pair, Root
from harness.errors import DataError, UserError
from harness.recipes.common import Normalisation
from harness.recipes.segmentation import Augmentation, TestProtocol
from harness.tasks.segmentation.augment import augment, resize_image, target_size, to_planes
from harness.training.data_workers import signals_held_back, start_worker
from methods.layers import constant

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, in grey levels, red, green, blue."""
_LEVELS = {"imagenet": (MEAN, STD), "symmetric": ((127.5,) * 3, (127.5,) * 3)}
_SHUFFLE, _SAMPLE = 0, 1  # which of the two independent streams of draws


class Batch(NamedTuple):
    """A batch of one training step."""

    images: Tensor  # uint8 [B, 3, H, W], red, green, blue
    targets: Tensor  # uint8 [B, H, W], training ids, 255 where ignored or padded
    valid: Tensor  # int32 [B, 4]: top, left, height, width of the image in its frame; the rest is padding
    ids: list[str]


class TestImage(NamedTuple):
    """One image to test on. `views` are its sizes under the protocol, one per scale; `image` is the first."""

    id: str
    views: list[Tensor]  # uint8 [3, h, w] each
    label: Tensor  # uint8 [H, W] at the label's own size

    @property
    def image(self) -> Tensor:
        return self.views[0]


def normalise(images: Tensor, valid: Tensor | None = None, how: Normalisation = "imagenet") -> Tensor:
    """uint8 [B, 3, H, W] -> float32, (x - mean) / std per channel, 0 outside `valid` [B, 4]; on the images' device."""
    mean, std = (constant(levels, images.device).view(1, 3, 1, 1) for levels in _LEVELS[how])
    x = images.float().sub_(mean).div_(std)
    if valid is None:
        return x
    top, left, height, width = valid.to(images.device, non_blocking=True).long().T[..., None]
    rows = torch.arange(x.shape[-2], device=x.device)
    columns = torch.arange(x.shape[-1], device=x.device)
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    return x.mul_(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def check_normalisation(model: nn.Module, how: Normalisation) -> None:
    """UserError where a method was made for images that are normalised in another way than the recipe says."""
    own = getattr(model, "normalisation", None)
    if own is not None and own != how:
        raise UserError(
            f"recipe.normalisation '{how}': the method was made for '{own}'; write `normalisation: {own}` in the recipe"
        )


class TrainingBatches:
    """An endless, seeded sequence of training batches of one split.

    An epoch is a permutation of the images cut into whole batches; the incomplete last one is dropped. `len()` is the
    number of images. `part` = (k, n) gives the k-th of n equal parts of every batch, for one of n processes, and reads
    no other images; `batch_size` is that of the whole batch. Raises DataError when the split has fewer images than a
    batch.
    """

    def __init__(
        self,
        root: Root,
        split: str,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = 0,
        *,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.pairs = pairs(root, split)
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        k, parts = part
        assert batch_size % parts == 0
        self.rank_places = range(k * batch_size // parts, (k + 1) * batch_size // parts)  # positions in the batch
        self.labels = LabelReader(root.layout)
        self.mirror_pairs = root.dataset.mirror_pairs
        if len(self.pairs) < batch_size:
            raise DataError(
                f"dataset '{root.dataset.name}', split '{split}': {len(self.pairs)} images are fewer than one batch of "
                f"{batch_size} (the incomplete last batch of an epoch is dropped); lower the batch size"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def iterations_per_epoch(self) -> int:
        return len(self.pairs) // self.batch_size

    def batches(self, start_iteration: int, end_iteration: int) -> Iterator[Batch]:
        """Batches of the iterations `start_iteration` … `end_iteration` - 1."""
        iterations = range(start_iteration, end_iteration)
        if not self.workers:
            yield from map(self.batch, iterations)
            return
        from torch.utils.data import DataLoader

        pin = torch.cuda.is_available()
        source = DataLoader(
            _ByIteration(self),
            sampler=iterations,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=pin,
            generator=torch.Generator(),  # else it draws the workers' seed from the training's own generator at each start
            worker_init_fn=start_worker,
        )
        with signals_held_back():
            prepared = iter(source)
        yield from prepared

    def batch(self, iteration: int) -> Batch:
        """The batch of one iteration, or this process's part of it."""
        epoch, place = divmod(iteration, self.iterations_per_epoch)
        order = np.random.default_rng([self.seed, epoch, _SHUFFLE]).permutation(len(self.pairs))
        height, width = self.augmentation.crop
        images = np.empty((len(self.rank_places), 3, height, width), np.uint8)
        targets = np.empty((len(self.rank_places), height, width), np.uint8)
        valid, ids = [], []
        for i, place_in_batch in enumerate(self.rank_places):
            index = place * self.batch_size + place_in_batch
            pair = self.pairs[order[index]]
            rng = np.random.default_rng([self.seed, epoch, _SAMPLE, index])
            sample = augment(*read_pair(pair, self.labels), self.augmentation, rng, self.mirror_pairs)
            images[i], targets[i] = sample.image, sample.target
            valid.append(sample.valid)
            ids.append(pair.id)
        return Batch(torch.from_numpy(images), torch.from_numpy(targets), torch.tensor(valid, dtype=torch.int32), ids)


class _ByIteration:
    """Dataset for torch's DataLoader: item i is the batch of iteration i."""

    def __init__(self, source: TrainingBatches) -> None:
        self.source = source

    def __getitem__(self, iteration: int) -> Batch:
        return self.source.batch(iteration)


def images_for_testing(
    root: Root,
    split: str,
    protocol: TestProtocol,
    *,
    part: tuple[int, int] = (0, 1),
    readers: int = 0,
    only: Sequence[Pair] | None = None,
) -> Iterator[TestImage]:
    """Images of `split` in order of their ids, resized as the protocol says, with labels at their own size.

    `only` gives these images instead. `part` = (k, n) gives every n-th image from the k-th on. `readers` threads read
    that many images ahead, and no more.
    """
    labels = LabelReader(root.layout)
    rank_pairs = (pairs(root, split)[: protocol.max_images] if only is None else only)[part[0] :: part[1]]

    def read(pair: Pair) -> TestImage:
        image, label = read_pair(pair, labels)
        sizes = geometry(label.shape, protocol).views
        views = [torch.from_numpy(to_planes(resize_image(image, size))) for size, _ in sizes]
        return TestImage(pair.id, views, torch.from_numpy(label))

    if not readers:
        yield from map(read, rank_pairs)
        return
    with ThreadPoolExecutor(readers) as pool:
        queue: deque[Future[TestImage]] = deque()
        for pair in rank_pairs:
            queue.append(pool.submit(read, pair))
            if len(queue) > readers:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()


class Geometry(NamedTuple):
    """Sizes (height, width) under a test protocol: of an image and the frame it lies in at the top left, at scale one
    and in each view. Without a frame both are the same."""

    image: tuple[int, int]
    frame: tuple[int, int]
    views: list[tuple[tuple[int, int], tuple[int, int]]]


def geometry(size: Sequence[int], protocol: TestProtocol) -> Geometry:
    """The sizes that an image of `size` has under `protocol`."""
    image = target_size(size, protocol.resize, keep_ratio=protocol.keep_ratio)
    frame = (max(image[0], protocol.frame[0]), max(image[1], protocol.frame[1])) if protocol.frame else image
    views = []
    for scale in protocol.scales:
        if protocol.frame or protocol.odd:
            outer = _scaled_side(frame[0], scale, protocol.odd), _scaled_side(frame[1], scale, protocol.odd)
            height, width = (max(1, round(side * new / old)) for side, new, old in zip(image, outer, frame))
            inner = height, width
        elif protocol.resize is not None:
            outer = inner = target_size(size, protocol.resize, keep_ratio=protocol.keep_ratio, factor=scale)
        else:
            outer = inner = (max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5)))
        views.append((inner, outer))
    return Geometry(image, frame, views)


def _scaled_side(side: int, scale: float, odd: bool) -> int:
    scaled = max(1, int(side * scale))
    return scaled + 1 if odd and side % 2 and scaled % 2 == 0 else scaled
