"""Class-aware regularisation (CAR, Huang et al. 2022): losses on the centres of classes in a feature map.

As in the authors' released code. With μ_k the mean of class k over the batch of all processes (zero where the class is
absent), sg a stop-gradient, C channels, K classes and ε = 0.5 | 0.25 for centres | pixels:

- intra: (mean of |sg(μ_y) − x| over pixels and channels)², at least 1e-5;
- centre to centre: a_ij = softmax_j(μ_i · sg(μ_j) / √C), s_i = Σ_{j≠i} max(a_ij − ε/(K−1), 0), (mean of s over all K)²;
- centre to pixel: the same for b_pj = softmax_j(x_p · sg(μ_j) / √C), its own class's product replaced by |sg(μ_y)|²,
  (mean of s over pixels)².

Several processes have the losses and, averaged, the gradients that one process with the whole batch has.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.layers import without_autocast
from methods.ranks import average_over_ranks, divisor, sum_over_ranks, world_size
from methods.segmentor import IGNORE

LOSSES = frozenset({"car_intra", "car_centres", "car_pixels"})
CENTRE_MARGIN = 0.5
PIXEL_MARGIN = 0.25
_FLOOR = 1e-5
_EPSILON = 1e-7  # Keras's, to which the sums are clipped


def class_aware_losses(x: Tensor, labels: Tensor, num_classes: int, *, mean: str = "valid") -> dict[str, Tensor]:
    """CAR's three losses of a feature map, in float32: `car_intra`, `car_centres`, `car_pixels`.

    x [B, C, h, w], labels [B, h, w] int64 with IGNORE. `mean`: over the `valid` pixels, or over `all` of them as in the
    released code, where an ignored pixel has no distance and is told from every class. All are zero where no process has
    a valid pixel.
    """
    pixels = x.movedim(1, -1).flatten(0, -2).float()  # [P, C]
    labels = labels.flatten()
    valid = labels != IGNORE
    classes = labels.where(valid, num_classes)
    counted = valid if mean == "valid" else torch.ones_like(valid)
    centres = class_centres(pixels, classes, num_classes)
    fixed = centres.detach()
    some = (sum_over_ranks(valid.sum()) > 0).to(pixels.dtype)

    own = F.pad(fixed, (0, 0, 0, 1))[classes]  # [P, C], zero where ignored
    distance = ((own - pixels).abs().mean(dim=1) * valid).sum()
    intra = _mean(distance, counted).square().clamp(min=_FLOOR)

    affinity = (centres @ fixed.T / math.sqrt(pixels.shape[1])).softmax(dim=1)
    others = 1 - torch.eye(num_classes, dtype=affinity.dtype, device=affinity.device)
    between = _excess(affinity * others, CENTRE_MARGIN).mean().square()

    truth = F.one_hot(classes, num_classes + 1)[:, :num_classes].to(pixels.dtype)
    products = (pixels @ fixed.T) * (1 - truth) + fixed.square().sum(dim=1) * truth
    affinity = (products / math.sqrt(pixels.shape[1])).softmax(dim=1)
    excess = _excess(affinity * (1 - truth), PIXEL_MARGIN)
    beyond = _mean((excess * counted).sum(), counted).square()
    return {"car_intra": intra * some, "car_centres": between * some, "car_pixels": beyond * some}


def class_centres(pixels: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Mean of the pixels of each class over all processes; zero for a class that none of them has.

    pixels [P, C], classes [P] int64, `num_classes` meaning none -> [num_classes, C]. A process's gradient is so scaled
    that the average over processes is the gradient of the mean.
    """
    sums = pixels.new_zeros(num_classes + 1, pixels.shape[1]).index_add(0, classes, pixels)[:num_classes]
    counts = classes.new_zeros(num_classes + 1).index_add(0, classes, torch.ones_like(classes))
    counts = counts[:num_classes].to(pixels.dtype)
    counts = sum_over_ranks(counts).clamp(min=1)[:, None]
    return (sum_over_ranks(sums.detach()) + world_size() * (sums - sums.detach())) / counts


def _mean(total: Tensor, counted: Tensor) -> Tensor:
    """A sum over this process's counted pixels -> the mean over those of all, with this process's part of the gradient."""
    own = total / divisor(counted)
    return average_over_ranks(own.detach()) + (own - own.detach())


def _excess(affinity: Tensor, margin: float) -> Tensor:
    """By how much the affinities [N, K] exceed the margin's share of another class, summed -> [N]"""
    share = margin / max(affinity.shape[1] - 1, 1)
    return (affinity - share).clamp(min=0).sum(dim=1).clamp(_EPSILON, 1 - _EPSILON)


class Regularised(nn.Module):
    """CAR's linear layer on a feature map: the losses are of its output, and what follows it takes that.

    x [B, channels, h, w] -> same shape
    """

    def __init__(self, channels: int, num_classes: int, *, weight: float = 1.0, mean: str = "valid") -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, channels, 1)
        self.num_classes = num_classes
        self.weight = weight
        self.mean = mean

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def losses(self, x: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of what `forward` gave, x [B, C, h, w], and targets [B, H, W] int64 with IGNORE, which are resized to it."""
        labels = nearest_labels(targets, x.shape[-2:])
        with without_autocast(x):
            losses = class_aware_losses(x, labels, self.num_classes, mean=self.mean)
        return {name: self.weight * loss for name, loss in losses.items()}

    def fold_into(self, tail: nn.Sequential) -> None:
        """Makes the 1×1 convolution and batch normalisation of `tail` those of both layers in a row, at test time."""
        conv, norm = tail[0], tail[1]
        with torch.no_grad():
            norm.running_mean -= conv.weight.flatten(1) @ self.linear.bias
            weight = conv.weight.flatten(1) @ self.linear.weight.flatten(1)
            conv.weight.copy_(weight[:, :, None, None])


def nearest_labels(targets: Tensor, size: torch.Size) -> Tensor:
    """Labels [B, H, W] at `size` = (h, w): the nearest pixel's, with the corners aligned."""
    height, width = (
        (torch.arange(n, device=targets.device) * ((full - 1) / max(n - 1, 1)) + 0.5).floor().long().clamp(max=full - 1)
        for n, full in zip(size, targets.shape[-2:])
    )
    return targets[:, height[:, None], width]
