"""Pixel losses by name. All take logits [B, K, h, w] and targets [B, H, W] int64 with IGNORE, and return a scalar.

Logits are resized to the targets first, bilinearly, and the losses are computed in float32 (float64 stays). Where a batch
has no valid pixel the loss is zero, with a gradient. What a loss counts, ranks or averages, it counts, ranks or averages
over the pixels of all processes: their losses and gradients, averaged, are those of one process with the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import UserError
from harness.recipes.segmentation import Loss
from methods.layers import constant, resize
from methods.ranks import average_over_ranks, divisor, gather_over_ranks, rank, sum_over_ranks, world_size
from methods.segmentor import IGNORE, Criterion, cross_entropy_sum, pixel_loss


def build_loss(loss: Loss, num_classes: int) -> Criterion:
    """The recipe's loss as a function (logits, targets) -> scalar; the methods' own `pixel_loss` where it asks for no other."""
    if loss == Loss():
        return pixel_loss
    criterion = _criterion(loss, num_classes)
    if not loss.align_corners or loss.name == "cross_entropy":  # which resizes one image after another
        return criterion
    return lambda logits, targets: criterion(_resize_logits(logits, targets, align_corners=True), targets)


def _criterion(loss: Loss, num_classes: int) -> Criterion:
    if loss.class_weights is not None and len(loss.class_weights) != num_classes:
        raise UserError(f"recipe.loss.class_weights: {len(loss.class_weights)} weights for {num_classes} classes")
    if loss.name == "ohem":
        return partial(ohem, threshold=loss.threshold, keep=loss.keep)
    if loss.name == "focal":
        return partial(focal, alpha=loss.alpha, gamma=loss.gamma, mean=loss.mean)
    pixel = partial(cross_entropy, mean=loss.mean, class_weights=loss.class_weights)
    if loss.name == "cross_entropy":
        return partial(pixel, align_corners=loss.align_corners)
    region = {"dice": dice, "lovasz": lovasz_softmax}[loss.name]
    if loss.pixel_weight == 0:
        return region
    return lambda logits, targets: (
        loss.pixel_weight * pixel(logits, targets) + loss.region_weight * region(logits, targets)
    )


def _resize_logits(logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
    """Logits at the targets' size, at least in float32."""
    logits = resize(logits, targets.shape[-2:], align_corners=align_corners)
    return logits if logits.dtype == torch.float64 else logits.float()


def _count_targets(targets: Tensor, mean: str) -> Tensor:
    """The pixels [B, H, W] that a mean is over."""
    return targets != IGNORE if mean == "valid" else torch.ones_like(targets, dtype=torch.bool)


def part_weights(parts: Sequence[Tensor], mean: str) -> Sequence[Tensor | float]:
    """How much the mean over each part of a batch contributes to that over the whole, from the parts' targets.

    With means weighted so, a batch in parts has the loss and the gradient of the batch in one piece.
    """
    if len(parts) == 1:
        return [1.0]
    counts = torch.stack([_count_targets(targets, mean).sum().float() for targets in parts])
    counts = average_over_ranks(counts)
    return (counts / counts.sum().clamp(min=1 / world_size())).unbind()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    mean: str = "valid",
    class_weights: tuple[float, ...] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Cross-entropy, mean over the `valid` pixels or over `all`.

    A pixel of class k counts `class_weights[k]` times in the sum and once in the number of pixels, as in mmsegmentation
    before 1.0. (Torch and mmsegmentation 1 divide by the sum of the weights.)
    """
    weights = None
    if class_weights is not None:
        weights = constant(class_weights, logits.device, torch.promote_types(logits.dtype, torch.float32))
    total = cross_entropy_sum(logits, targets, weights, align_corners=align_corners)
    return total / divisor(_count_targets(targets, mean))


def ohem(logits: Tensor, targets: Tensor, *, threshold: float = 0.7, keep: float = 0.0625) -> Tensor:
    """Online hard example mining: mean cross-entropy of the pixels whose true class has a probability below `threshold`,
    and of the hardest `keep` share of the batch's valid pixels in any case (Shrivastava et al. 2016)."""
    logits, valid = _resize_logits(logits, targets), targets != IGNORE
    losses = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")
    # ranked among the pixels of all processes, where ignored ones are easier than any
    everywhere = gather_over_ranks(losses.detach().where(valid, -1).flatten())
    hardest = _hardest(everywhere, keep, sum_over_ranks(valid.sum()))
    limit = torch.minimum(hardest, -constant([threshold], losses.device).log().squeeze())
    hard = (losses >= limit) & valid
    return (losses * hard).sum() / divisor(hard)


def _hardest(losses: Tensor, keep: float, valid: Tensor) -> Tensor:
    """The smallest of the highest max(1, ⌊keep·valid⌋) losses [N]; `valid` is a number of pixels.

    On an accelerator by sorting all of them: the host, which would have to say how many to take, need not wait.
    """
    if losses.device.type == "cpu":
        return losses.topk(max(1, int(keep * valid.item()))).values[-1]
    last = (keep * valid.double()).long().clamp(min=1) - 1
    return losses.sort(descending=True).values.gather(0, last[None]).squeeze(0)


def focal(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, mean: str = "valid") -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, Eq. 5): each class against the rest, summed over classes, mean over pixels."""
    logits = _resize_logits(logits, targets)
    valid = targets != IGNORE
    truth = F.one_hot(targets.where(valid, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    missed = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    wrong = truth + probability - 2 * truth * probability  # 1 - p of the right answer
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    per_pixel = (balance * wrong.pow(gamma) * missed).sum(dim=1)
    return (per_pixel * valid).sum() / divisor(_count_targets(targets, mean))


def dice(logits: Tensor, targets: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 - Dice of the softmax, per image and class, mean over the classes present in each image (Milletari et al. 2016).

    Dice = (2·Σ p·t + smooth) / (Σ p + Σ t + smooth), over valid pixels.
    """
    probability, truth, valid = _probabilities(logits, targets)
    probability = probability * valid[:, None]
    sizes = truth.sum(dim=(2, 3))
    overlap = 2 * (probability * truth).sum(dim=(2, 3)) + smooth
    missing = 1 - overlap / (probability.sum(dim=(2, 3)) + sizes + smooth)
    present = sizes > 0
    return (missing * present).sum() / divisor(present)


def lovasz_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    """Lovász-softmax (Berman et al. 2018): a convex surrogate of 1 - IoU, mean over the classes present in the batch.

    Class after class, so that beside the probabilities only one class's errors are held, and sent between processes.
    """
    logits, labels = _resize_logits(logits, targets), targets.flatten()
    probabilities = [p.flatten() for p in logits.softmax(dim=1).unbind(1)]
    everyones = gather_over_ranks(labels)
    rank_slice = slice(rank() * len(labels), (rank() + 1) * len(labels))
    valid = labels != IGNORE
    present = everyones[everyones != IGNORE].unique().tolist()
    total = logits.sum() * 0
    for k in present:
        errors = ((labels == k).to(logits.dtype) - probabilities[k]).abs() * valid
        # ignored pixels come last, where they change nothing
        order = gather_over_ranks(errors.detach().where(valid, -1)).argsort(descending=True, stable=True)
        weights = errors.new_empty(len(order))
        weights[order] = _lovasz_gradient((everyones == k)[order].to(logits.dtype))
        total = total + (errors * weights[rank_slice]).sum()
    # a process holds its part of the sum over pixels, and the processes' losses are averaged
    return total * world_size() / max(len(present), 1)


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Gradient of the Lovász extension of the Jaccard loss; `truth` [N] in order of falling errors (Alg. 1)."""
    size = truth.sum()
    jaccard = 1 - (size - truth.cumsum(dim=0)) / (size + (1 - truth).cumsum(dim=0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def _probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax and one-hot truth, both [B, K, H, W] (truth zero where ignored), and the valid pixels [B, H, W]."""
    logits = _resize_logits(logits, targets)
    valid = targets != IGNORE
    truth = F.one_hot(targets.where(valid, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype) * valid[:, None]
    return logits.softmax(dim=1), truth, valid
