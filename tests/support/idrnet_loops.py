"""IDRNet's head written down as the paper's equations read: loops over images and classes, every map built in full.

The peer of `benchmarks/test_idrnet.py` and the reference of `tests/methods/test_idrnet_loops.py`. It works on the
weights and the state of an `IDRHead` with the released options, of which it uses the modules but none of the methods.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def convolve(conv, x):
    return F.conv2d(x, conv.weight, conv.bias)


def project(projection, x):
    return projection.rest(projection.norm(convolve(projection.first, x)))


def attend(block, x: Tensor) -> Tensor:
    """Dense self-attention: the h·w × h·w map is built."""
    query, key, value = (project(p, x).flatten(2) for p in (block.query, block.key, block.value))
    similarity = torch.softmax(query.transpose(1, 2) @ key * key.shape[1] ** -0.5, dim=-1)
    return block.out((similarity @ value.transpose(1, 2)).transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


def classify(classifier, x: Tensor, mask: Tensor | None = None) -> Tensor:
    x = classifier.norm(convolve(classifier.mix, x))
    return classifier.classify(x if mask is None else x * mask)


def insert_memory(features: Tensor, labels: Tensor, memory: Tensor) -> Tensor:
    """[f ; E_y] for every pixel (Eq. 3)."""
    inserted = torch.zeros_like(features)
    for image in range(len(features)):
        for k in labels[image].unique().tolist():
            inserted[image][:, labels[image] == k] = memory[k][:, None]
    return torch.cat([features, inserted], dim=1)


def interact(vectors: Tensor, logits: Tensor, labels: Tensor, matrix: Tensor, cut: bool, deleted=None) -> Tensor:
    """Context of every pixel by one relation matrix (Eq. 3, 6-8), without the class deleted in each image."""
    context = torch.zeros_like(vectors)
    for image in range(len(vectors)):
        ids = [k for k in labels[image].unique().tolist() if deleted is None or k != deleted[image]]
        tokens = []
        for k in ids:
            inside = labels[image] == k
            weights = torch.softmax(logits[image, k][inside], dim=0)
            tokens.append((vectors[image][:, inside] * weights).sum(dim=1))
        if not ids:
            continue
        relation = matrix[ids][:, ids]
        if cut:
            relation = torch.where(relation <= 0, torch.full_like(relation, -1e16), relation)
        mixed = torch.softmax(relation, dim=1) @ torch.stack(tokens)
        for row, k in zip(mixed, ids):
            context[image][:, labels[image] == k] = row[:, None]
    return context


def refine(head, vectors: Tensor, logits: Tensor, labels: Tensor, deleted=None) -> Tensor:
    mean = interact(vectors, logits, labels, head.relations.mean, True, deleted)
    variance = interact(vectors, logits, labels, head.relations.variance, False, deleted)
    return attend(head.refiner, torch.cat([vectors, mean, variance], dim=1))


def upsample(x: Tensor, size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def encode(head, features):
    """f, coarse context (or the pyramid's levels), stage-1 logits, pseudo-labels, [f ; E_y]."""
    f = head.bottleneck(features[-1])
    coarse = None if head.context is None else head.context([f])
    attention = head.coarse_attention
    if attention is not None and head.options.coarse_attention == "before":
        coarse = attend(attention, coarse)
    stage1 = classify(head.stage1, f if coarse is None or head.options.stage1_from == "features" else coarse)
    if attention is not None and head.options.coarse_attention == "after":
        coarse = attend(attention, coarse)
    labels = stage1.argmax(dim=1)
    maps = [] if coarse is None else [coarse]
    if head.pyramid is not None:
        maps = head.pyramid([*features[:-1], coarse])
    return f, maps, stage1, labels, insert_memory(f, labels, head.memory.clone())


def predict(head, f, refined, maps, mask=None) -> Tensor:
    """Stage 2 on f, the refined context, and the coarse context or the levels of the pyramid."""
    parts = [f, refined, *maps]
    if head.pyramid is not None:
        parts = [upsample(x, maps[0].shape[-2:]) for x in parts]
    return classify(head.stage2, torch.cat(parts, dim=1), mask)


def logits(head, features) -> Tensor:
    f, maps, stage1, labels, vectors = encode(head, features)
    return predict(head, f, refine(head, vectors, stage1, labels), maps)


def update_relations(head, kept: Tensor, without: Tensor, targets: Tensor, deleted) -> None:
    """Eq. 13-15 with the released normalisation, class after class; `kept` and `without` are logits at full size."""
    for image in range(len(targets)):
        for k in targets[image].unique().tolist():
            if k == IGNORE:
                continue
            inside = targets[image] == k
            wanted = targets[image][inside]
            before = F.cross_entropy(kept[image][:, inside].T, wanted, reduction="none")
            after = F.cross_entropy(without[image][:, inside].T, wanted, reduction="none")
            i = deleted[image]
            mean, variance = head.relations.mean, head.relations.variance
            mean[i, k] = 0.1 * (after.mean() - before.mean()) + 0.9 * mean[i, k]
            if len(wanted) > 1:
                change = after.var(unbiased=False) - before.var(unbiased=False)
                variance[i, k] = 0.1 * change + 0.9 * variance[i, k]


def update_memory(head, f: Tensor, targets: Tensor) -> None:
    """Eq. 4-5, class after class, from upsampled features."""
    up = upsample(f, targets.shape[1:]).permute(0, 2, 3, 1).contiguous()
    for k in targets.unique().tolist():
        if k != IGNORE:
            head.memory[k] = 0.1 * up[targets == k].mean(dim=0) + 0.9 * head.memory[k]


def draw(head, labels: Tensor) -> list[int]:
    """Balanced deletion (Eq. 12)."""
    deleted = []
    for image in range(len(labels)):
        ids = labels[image].unique().tolist()
        rates = torch.tensor([1 / head.deletion_counts[k].item() for k in ids])
        deleted.append(ids[torch.multinomial(rates, 1).item()])
        head.deletion_counts[deleted[-1]] += 1
    return deleted


def losses(head, features, targets: Tensor, deleted=None, *, diagnose: bool = True) -> dict[str, Tensor]:
    """One training step of the head: losses, and its state moved. Dropout of stage 2 is shared by both passes."""
    f, maps, stage1, labels, vectors = encode(head, features)
    mask = head.stage2.draw_mask(f)
    stage2 = predict(head, f, refine(head, vectors, stage1, labels), maps, mask)
    with torch.no_grad():
        if diagnose:
            if deleted is None:
                deleted = draw(head, labels)
            without = predict(head, f, refine(head, vectors, stage1, labels, deleted), maps, mask)
            size = targets.shape[1:]
            update_relations(head, upsample(stage2, size), upsample(without, size), targets, deleted)
        update_memory(head, f, targets)
    both = {}
    for name, weight, z in (("main", 1.0, stage2), ("stage1", head.options.stage1_weight, stage1)):
        both[name] = weight * F.cross_entropy(upsample(z, targets.shape[1:]), targets, ignore_index=IGNORE)
    return both
