"""IDRNet's state as one process of the released code moves it: by its own images, and all-reduced after each step.

The reference of `tests/methods/test_idrnet_ranks.py`: loops over images and classes, and `torch.distributed` itself.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from methods.idrnet.deletion import Diagnosis


class ReleasedState:
    """Matrices, counter and memory that start as the head's."""

    def __init__(self, head: torch.nn.Module) -> None:
        self.mean, self.variance = head.relations.mean.clone(), head.relations.variance.clone()
        self.counts, self.memory = head.deletion_counts.clone(), head.memory.clone()

    def move(self, deleted: Tensor, diagnosis: Diagnosis, features: Tensor, targets: Tensor) -> None:
        for image, k in enumerate(deleted.tolist()):
            self.counts[k] += 1
            for matrix, change, seen in (
                (self.mean, diagnosis.mean, diagnosis.seen_mean),
                (self.variance, diagnosis.variance, diagnosis.seen_variance),
            ):
                for j in seen[image].nonzero().flatten().tolist():
                    matrix[k, j] = 0.1 * change[image, j] + 0.9 * matrix[k, j]
        large = torch.nn.functional.interpolate(features, size=targets.shape[1:], mode="bilinear")
        pixels, labels = large.movedim(1, -1).flatten(0, 2), targets.flatten()
        for k in labels.unique().tolist():
            self.memory[k] = 0.1 * pixels[labels == k].mean(dim=0) + 0.9 * self.memory[k]
        for state in (self.mean, self.variance, self.counts, self.memory):
            state /= dist.get_world_size()
            dist.all_reduce(state)

    def named(self) -> dict[str, Tensor]:
        return {
            "relations.mean": self.mean,
            "relations.variance": self.variance,
            "deletion_counts": self.counts,
            "memory": self.memory,
        }
