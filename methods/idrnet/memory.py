"""Feature enhancement: a discriminative vector per class, learned over the data set or random orthogonal (Eq. 3-5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.segmentor import IGNORE


def _corners(size: int, source: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear upsampling of `source` cells to `size` pixels (align_corners=False): lower cell, upper cell, upper weight."""
    position = (torch.arange(size, device=device, dtype=torch.float64) + 0.5) * (source / size) - 0.5
    position = position.clamp(min=0)
    lower = position.long().clamp(max=source - 1)
    return lower, (lower + 1).clamp(max=source - 1), position - lower


def class_sums(features: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Sums of the bilinearly upsampled features over the pixels of each class, and the pixels' number, by image.

    Nothing is upsampled: the sum is linear in the features, so each class's pixels are handed back to the cells they
    would read (the adjoint of the upsampling). Image by image, so that a sum has the same bits in a batch of any size.
    features [B, C, h, w], targets [B, H, W] -> [B, K, C], [B, K]
    """
    batch, _, h, w = features.shape
    bins = (num_classes + 1) * h * w
    kept = torch.where(targets == IGNORE, num_classes, targets)
    y0, y1, wy = _corners(targets.shape[1], h, targets.device)
    x0, x1, wx = _corners(targets.shape[2], w, targets.device)
    base = (torch.arange(batch, device=targets.device)[:, None, None] * (num_classes + 1) + kept) * (h * w)
    cells = torch.zeros(batch * bins, dtype=features.dtype, device=features.device)
    for y, weight_y in ((y0, 1 - wy), (y1, wy)):
        for x, weight_x in ((x0, 1 - wx), (x1, wx)):
            weight = (weight_y[:, None] * weight_x).to(cells.dtype).expand(targets.shape)
            cells.index_add_(0, (base + (y[:, None] * w + x)).flatten(), weight.flatten())
    cells_BKN = cells.view(batch, num_classes + 1, h * w)[:, :num_classes]
    bin_of_pixel = torch.arange(batch, device=targets.device)[:, None] * (num_classes + 1) + kept.flatten(1)
    counts = torch.zeros(batch * (num_classes + 1), dtype=features.dtype, device=features.device)
    counts.index_add_(0, bin_of_pixel.flatten(), torch.ones_like(bin_of_pixel, dtype=features.dtype).flatten())
    sums = [cells_KN @ rows_NC for cells_KN, rows_NC in zip(cells_BKN, features.flatten(2).transpose(1, 2))]
    return torch.stack(sums), counts.view(batch, num_classes + 1)[:, :num_classes]


def update_memory_(memory_KC: Tensor, sums_KC: Tensor, counts_K: Tensor, momentum: float) -> Tensor:
    """Moves each class that has pixels towards their mean (Eq. 4-5), in place."""
    means_KC = (sums_KC / counts_K.clamp(min=1)[:, None]).to(memory_KC.dtype)
    seen_K1 = counts_K[:, None] > 0
    return memory_KC.copy_(torch.where(seen_K1, (1 - momentum) * memory_KC + momentum * means_KC, memory_KC))


def initial_memory(num_classes: int, channels: int, kind: str) -> Tensor:
    """Zeros for `memory`; for `orthogonal` random orthonormal rows (with more classes than channels: columns)."""
    start = torch.zeros(num_classes, channels)
    return nn.init.orthogonal_(start) if kind == "orthogonal" else start
