"""Relation matrices between classes: how much one class's token mixes in another's (Eq. 6-8, 15)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.idrnet.tokens import at_least_float32

WEAK = -1e16  # an entry below the threshold; finite, so that a row of weak entries mixes its classes evenly
ABSENT = -1e30  # a class that is not in the image: nothing next to a weak entry


def relation_weights(matrix_KK: Tensor, present_BK: Tensor, *, weak_KK: Tensor | None = None) -> Tensor:
    """Softmax over the classes of each image, row by row (Eq. 6-7); rows and columns of absent classes are zero.

    Computed in float32 at least: in float16 both constants above would be infinite. [K, K], [B, K] -> [B, K, K]
    """
    scores_KK = at_least_float32(matrix_KK)
    if weak_KK is not None:
        scores_KK = scores_KK.masked_fill(weak_KK, WEAK)
    scores_BKK = torch.where(present_BK[:, None, :], scores_KK, torch.full_like(scores_KK, ABSENT))
    return scores_BKK.softmax(dim=2) * present_BK[:, :, None]


def update_rows_(matrix_KK: Tensor, deleted_B: Tensor, change_BK: Tensor, seen_BK: Tensor, momentum: float) -> Tensor:
    """Moves row d of each image's deleted class d towards the changes seen (Eq. 15), image after image, in place.

    The order matters: two images may have deleted the same class. deleted [B] int64, change [B, K], seen [B, K] bool
    """
    for deleted, change_K, seen_K in zip(deleted_B.split(1), change_BK.to(matrix_KK.dtype), seen_BK):
        row = matrix_KK.index_select(0, deleted)
        moved = torch.where(seen_K, row + momentum * (change_K - row), row)
        matrix_KK.index_copy_(0, deleted, moved)
    return matrix_KK


class Relations(nn.Module):
    """The matrices M_mean and M_var, or one of them, or none; both start as the identity.

    `trainable`: parameters that back-propagation moves (Table 4), instead of state that deletion diagnostics moves.
    """

    def __init__(
        self, num_classes: int, kinds: str, *, threshold: str, zero_is_weak: bool, trainable: bool = False
    ) -> None:
        super().__init__()
        self.names = {"both": ("mean", "variance"), "none": ()}.get(kinds, (kinds,))
        self.thresholded = {"both": ("mean", "variance"), "none": ()}.get(threshold, (threshold,))
        self.zero_is_weak = zero_is_weak
        for name in self.names:
            if trainable:
                self.register_parameter(name, nn.Parameter(torch.eye(num_classes)))
            else:
                self.register_buffer(name, torch.eye(num_classes))

    def matrices(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.names}

    def weights(self, present_BK: Tensor) -> list[Tensor]:
        """For each matrix, how the tokens of the classes present mix: [B, K, K]"""
        mixed = []
        for name, matrix in self.matrices().items():
            weak = None
            if name in self.thresholded:
                weak = matrix <= 0 if self.zero_is_weak else matrix < 0
            mixed.append(relation_weights(matrix, present_BK, weak_KK=weak))
        return mixed
