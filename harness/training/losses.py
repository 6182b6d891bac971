"""Pixel losses by name. All take logits [B, K, h, w] and targets [B, H, W] int64 with IGNORE, and return a scalar.

Logits are resized to the targets first, bilinearly, and the losses are computed in float32 (float64 stays). Where a batch
has no valid pixel the loss is zero, with a gradient. A mean over pixels is over the pixels of all processes, so that the
gradients that data-parallel training averages are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import UserError
from harness.recipe import Loss
from methods.layers import resize
from methods.ranks import average_over_ranks
from methods.segmentor import IGNORE, cross_entropy_sum

Criterion = Callable[[Tensor, Tensor], Tensor]


def build_loss(loss: Loss, num_classes: int) -> Criterion:
    """The recipe's loss as a function (logits, targets) -> scalar."""
    criterion = _criterion(loss, num_classes)
    if not loss.align_corners:
        return criterion
    return lambda logits, targets: criterion(_resized(logits, targets, align_corners=True), targets)


def _criterion(loss: Loss, num_classes: int) -> Criterion:
    if loss.class_weights is not None and len(loss.class_weights) != num_classes:
        raise UserError(f"recipe.loss.class_weights: {len(loss.class_weights)} weights for {num_classes} classes")
    if loss.name == "ohem":
        return partial(ohem, threshold=loss.threshold, keep=loss.keep)
    if loss.name == "focal":
        return partial(focal, alpha=loss.alpha, gamma=loss.gamma, mean=loss.mean)
    pixel = partial(cross_entropy, mean=loss.mean, class_weights=loss.class_weights)
    if loss.name == "cross_entropy":
        return pixel
    region = {"dice": dice, "lovasz": lovasz_softmax}[loss.name]
    if loss.pixel_weight == 0:
        return region
    return lambda logits, targets: (
        loss.pixel_weight * pixel(logits, targets) + loss.region_weight * region(logits, targets)
    )


def _resized(logits: Tensor, targets: Tensor, *, align_corners: bool = False) -> Tensor:
    """Logits at the targets' size, at least in float32."""
    logits = resize(logits, targets.shape[-2:], align_corners=align_corners)
    return logits if logits.dtype == torch.float64 else logits.float()


def _divisor(targets: Tensor, mean: str) -> Tensor:
    """Pixels to average over, per process: so that the average of the processes' losses is the mean over all pixels."""
    counted = targets != IGNORE if mean == "valid" else torch.ones_like(targets)
    return average_over_ranks(counted.sum().float()).clamp(min=1)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, mean: str = "valid", class_weights: tuple[float, ...] | None = None
) -> Tensor:
    """Cross-entropy, mean over the `valid` pixels or over `all`.

    A pixel of class k counts `class_weights[k]` times in the sum and once in the number of pixels, as mmsegmentation counts.
    """
    weights = None
    if class_weights is not None:
        weights = torch.tensor(
            class_weights, device=logits.device, dtype=torch.promote_types(logits.dtype, torch.float32)
        )
    return cross_entropy_sum(logits, targets, weights) / _divisor(targets, mean)


def ohem(logits: Tensor, targets: Tensor, *, threshold: float = 0.7, keep: float = 0.0625) -> Tensor:
    """Online hard example mining: mean cross-entropy of the pixels whose true class has a probability below `threshold`,
    and of the hardest `keep` share of this process's valid pixels in any case (Shrivastava et al. 2016)."""
    logits = _resized(logits, targets)
    losses = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")[targets != IGNORE]
    if not len(losses):
        return logits.sum() * 0
    at_least = max(1, int(keep * len(losses)))
    hardest = losses.detach().topk(at_least).values[-1]
    limit = torch.minimum(hardest, -torch.tensor(threshold, device=losses.device).log())
    chosen = losses >= limit
    return (losses * chosen).sum() / average_over_ranks(chosen.sum().float()).clamp(min=1)


def focal(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, mean: str = "valid") -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, Eq. 5): each class against the rest, summed over classes, mean over pixels."""
    logits = _resized(logits, targets)
    valid = targets != IGNORE
    truth = F.one_hot(targets.where(valid, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    missed = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    wrong = truth + probability - 2 * truth * probability  # 1 - p of the right answer
    balance = alpha * truth + (1 - alpha) * (1 - truth)
    per_pixel = (balance * wrong.pow(gamma) * missed).sum(dim=1)
    return (per_pixel * valid).sum() / _divisor(targets, mean)


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
    return (missing * present).sum() / average_over_ranks(present.sum().float()).clamp(min=1)


def lovasz_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    """Lovász-softmax (Berman et al. 2018): a convex surrogate of 1 - IoU, mean over the classes present in the batch."""
    probability, truth, valid = _probabilities(logits, targets)
    probability = probability.movedim(1, -1)[valid]  # [N, K]
    truth = truth.movedim(1, -1)[valid]
    present = truth.sum(dim=0) > 0
    if not present.any():
        return logits.sum() * 0
    truth, probability = truth[:, present], probability[:, present]
    errors, order = (truth - probability).abs().sort(dim=0, descending=True)
    return (errors * _lovasz_gradient(truth.gather(0, order))).sum(dim=0).mean()


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Gradient of the Lovász extension of the Jaccard loss; `truth` [N, K] in order of falling errors (Alg. 1)."""
    size = truth.sum(dim=0)
    jaccard = 1 - (size - truth.cumsum(dim=0)) / (size + (1 - truth).cumsum(dim=0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def _probabilities(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax and one-hot truth, both [B, K, H, W] (truth zero where ignored), and the valid pixels [B, H, W]."""
    logits = _resized(logits, targets)
    valid = targets != IGNORE
    truth = F.one_hot(targets.where(valid, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype) * valid[:, None]
    return logits.softmax(dim=1), truth, valid
