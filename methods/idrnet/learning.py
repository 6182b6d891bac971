"""What IDRNet learns beside its gradients: relation matrices, deletion counts and class memory, over all processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from methods.idrnet.copies import average_copies_, images_of_processes
from methods.idrnet.deletion import Diagnosis, sample_deletions
from methods.idrnet.memory import initial_memory, update_memory_
from methods.idrnet.options import Options
from methods.idrnet.relations import Relations, update_rows_
from methods.ranks import from_first_rank, gather_over_ranks, rank


class RelationLearner(nn.Module):
    """State as buffers, and how one step's observations move it. A head calls the parts in its own order."""

    relations: Relations
    memory: Tensor | None

    def __init__(self, num_classes: int, options: Options) -> None:
        super().__init__()
        self.options = options
        self.num_classes = num_classes
        # (present [B, K], counts [K]) -> deleted class of each image [B]; tests put a fixed choice here
        balanced = options.sampling == "balanced"
        self.sample: Callable[[Tensor, Tensor], Tensor] = partial(sample_deletions, balanced=balanced)

    def build_relations(self) -> Relations:
        o = self.options
        return Relations(
            self.num_classes,
            o.relations,
            threshold=o.threshold,
            zero_is_weak=o.zero_is_weak,
            trainable=o.update == "backprop",
        )

    def build_state(self, width: int) -> None:
        """The class memory of vectors [width], where there is one, and the counts."""
        o = self.options
        kept = o.enhancement != "none"
        self.register_buffer("memory", initial_memory(self.num_classes, width, o.enhancement) if kept else None)
        self.register_buffer("deletion_counts", torch.full((self.num_classes,), float(o.count_start)))
        self.register_buffer("row_updates", torch.zeros(self.num_classes, dtype=torch.int64))

    def _parts(self, images: int) -> list[slice]:
        """Images of each copy of the state: all of them where the reduction is exact."""
        o = self.options
        return images_of_processes(images, o.processes if o.reduction == "released" else 1)

    def _draw_deletions(self, present: Tensor) -> Tensor:
        """One class per image; each copy's images are drawn apart, all from the counts before the step. Own images' only."""
        everywhere = gather_over_ranks(present.byte()).bool()
        parts = [part for part in self._parts(len(everywhere)) if part.start < part.stop]
        drawn = torch.cat([self.sample(everywhere[part], self.deletion_counts) for part in parts])
        return from_first_rank(drawn)[rank() * len(present) :][: len(present)]

    def _move_relations(self, deleted: Tensor, diagnosis: Diagnosis, drawn: Tensor | None = None) -> None:
        """`deleted` [B] and what it changed, of own images; `drawn` [B] bool: images in which there was a class to delete."""
        deleted = gather_over_ranks(deleted)
        diagnosis = Diagnosis(*(gather_over_ranks(x.double()).to(x.dtype) for x in diagnosis))
        parts = self._parts(len(deleted))
        counted = deleted.new_zeros(len(deleted), self.num_classes).scatter_(1, deleted[:, None], 1)
        if drawn is not None:
            counted *= gather_over_ranks(drawn.long())[:, None]
        self.row_updates += counted.sum(dim=0)
        average_copies_(self.deletion_counts, [self.deletion_counts + counted[part].sum(dim=0) for part in parts])
        for name, matrix in self.relations.matrices().items():
            change, seen = getattr(diagnosis, name), getattr(diagnosis, f"seen_{name}")
            copies = (
                update_rows_(matrix.clone(), deleted[part], change[part], seen[part], self.options.relation_momentum)
                for part in parts
            )
            average_copies_(matrix, copies)

    def _move_memory(self, sums: Tensor, counts: Tensor) -> None:
        """Towards the mean of each class's vectors: their sums [B, K, C] and number [B, K] in own images."""
        assert self.memory is not None
        memory = self.memory
        sums, counts = gather_over_ranks(sums), gather_over_ranks(counts)
        copies = (
            update_memory_(memory.clone(), sums[part].sum(dim=0), counts[part].sum(dim=0), self.options.memory_momentum)
            for part in self._parts(len(counts))
        )
        average_copies_(memory, copies)

    def updates_by_class(self) -> dict[str, list[float]]:
        """How often each class's row of the relation matrices was updated, over all ranks (Fig. 4).

        `deletions`: how often the class was deleted; under back-propagation `updates`: images that contained it.
        """
        if not self.relations.names:
            return {}
        name = "deletions" if self.options.update == "deletion" else "updates"
        return {name: [float(n) for n in self.row_updates.tolist()]}
