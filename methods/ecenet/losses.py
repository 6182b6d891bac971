"""What ECENet minimises beside the pixel loss: diversity of features (Eq. 3), focal and dice loss of masks (Eq. 12).

Means are over the images, masks and pixels of all processes. An image without a labelled pixel counts in none of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.layers import resize
from methods.ranks import divisor
from methods.segmentor import IGNORE


def diversity(features: Tensor) -> Tensor:
    """1 − (1/C)·Σ over pixels of max over channels of softmax over pixels, in float32 (Eq. 3).

    features [B, C, H, W] -> [B], each in [max(0, 1 − HW/C), 1 − 1/C]: 0 where every channel has a peak of its own, largest
    where all channels are equal. With fewer pixels than channels 0 cannot be reached.
    """
    x = features.flatten(2)
    x = x if x.dtype == torch.float64 else x.float()
    # the exponential comes last: of [B, pixels] then, not of [B, C, pixels]
    strongest = (x - x.logsumexp(dim=2, keepdim=True)).max(dim=1).values
    return 1 - strongest.exp().sum(dim=1) / features.shape[1]


def diversity_loss(features: list[Tensor], targets: Tensor) -> Tensor:
    """Sum over the stages of the mean diversity over labelled images. features [B, C_i, h_i, w_i] -> scalar"""
    labelled = (targets != IGNORE).flatten(1).any(dim=1)
    per_image = torch.stack([diversity(x) for x in features]).sum(dim=0)
    return (per_image * labelled).sum() / divisor(labelled)


def mask_losses(
    masks: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, smooth: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Sigmoid focal and dice loss of the masks of the classes that an image contains, at the targets' size.

    Focal: mean over an image's valid pixels; dice: 1 − (2·Σpt + smooth) / (Σp + Σt + smooth) over them; both are then means
    over masks (DETR's criterion with SegViT's matching: the mask of class k is the k-th).
    masks [B, N, h, w] logits, targets [B, H, W] int64 with IGNORE -> (focal, dice) scalars; zero where nothing is labelled
    """
    truth = class_presence(targets, masks.shape[1])
    focal, dice = masks.sum() * 0, masks.sum() * 0
    # all of them first: the host waits for a GPU once, and not for the losses of each image before
    for image, target, classes in zip(masks, targets, [present.nonzero().flatten() for present in truth]):
        if len(classes) == 0:
            continue
        logits = resize(image[classes][None], target.shape)[0].flatten(1)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        valid = (target != IGNORE).flatten()
        own = (target.flatten() == classes[:, None]).to(logits.dtype)
        focal = focal + (_focal(logits, own, alpha, gamma) * valid).sum() / valid.sum()
        dice = dice + _dice(logits.sigmoid() * valid, own, smooth).sum()
    count = divisor(truth)
    return focal / count, dice / count


def class_presence(targets: Tensor, num_classes: int) -> Tensor:
    """Which classes an image contains. targets [B, H, W] -> [B, num_classes] bool"""
    seen = torch.zeros(len(targets), num_classes + 1, dtype=torch.bool, device=targets.device)
    places = torch.where(targets == IGNORE, num_classes, targets).flatten(1)
    return seen.scatter_(1, places, torch.ones_like(places, dtype=torch.bool))[:, :num_classes]


def _focal(logits: Tensor, truth: Tensor, alpha: float, gamma: float) -> Tensor:
    """Lin et al. 2017, Eq. 5, pixel by pixel; [M, P] -> [M, P]"""
    probability = logits.sigmoid()
    wrong = probability + truth - 2 * probability * truth  # 1 − p of the right answer
    balance = (2 * alpha - 1) * truth + (1 - alpha)
    return balance * wrong.pow(gamma) * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _dice(probability: Tensor, truth: Tensor, smooth: float) -> Tensor:
    """[M, P] -> [M]"""
    overlap = 2 * (probability * truth).sum(dim=1) + smooth
    return 1 - overlap / (probability.sum(dim=1) + truth.sum(dim=1) + smooth)
