"""ECENet: memory of its attention blocks against the explicit formulation, and what its own ideas cost of a training step.

Memory is what PyTorch holds at once on a CPU during a training step of the three blocks at 640 × 640 (maps of 40, 80 and 160
pixels a side, 256 channels, 150 classes). Time is CPU seconds of this process, one thread, Swin-B at 320 × 320.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from harness.tasks.complexity.latency import peak_bytes
from methods import registry
from methods.backbones import build_backbone
from methods.ecenet.losses import diversity_loss
from methods.ecenet.semantics_attention import SemanticsAttention, attend_with_scores, explicit_attend_with_scores

CHANNELS, CLASSES = 256, 150


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def explicit_block(block: SemanticsAttention, x: torch.Tensor, embeddings: torch.Tensor):
    """The block as Fig. 4 draws it: scores of every head, their softmax, a product; all of the MLP's maps at once."""
    mlp = block.mlp
    queries = block.query(block.norm_features(x)).flatten(2).transpose(1, 2)
    keys, values = block.key_value(block.norm_embeddings(embeddings)).chunk(2, dim=-1)
    heads = [y.unflatten(2, (block.heads, -1)).transpose(1, 2) for y in (queries, keys, values)]
    attended, scores = explicit_attend_with_scores(*heads)
    x = x + block.output(attended.transpose(2, 3).reshape(x.shape))
    x = x + mlp.reduce(F.gelu(mlp.mix(mlp.expand(block.norm_mlp(x)))))
    return x, scores.transpose(1, 2).unflatten(2, x.shape[2:])


def blocks_step(forward: Callable) -> tuple[Callable[[], None], list[torch.Tensor]]:
    """A training step of three blocks, coarse to fine, and the tensors whose gradients it makes."""
    torch.manual_seed(0)
    blocks = [SemanticsAttention(CHANNELS, heads=4) for _ in range(3)]
    maps = [torch.randn(1, CHANNELS, side, side, requires_grad=True) for side in (40, 80, 160)]
    embeddings = torch.randn(1, CLASSES, CHANNELS, requires_grad=True)

    def step() -> None:
        for x in (*maps, embeddings):
            x.grad = None
        total = 0
        for block, x in zip(blocks, maps):
            y, masks = forward(block, x, embeddings)
            total = total + y.square().mean() + masks.square().mean()
        total.backward()

    return step, [*maps, embeddings]


@pytest.mark.benchmark(group="ecenet")
def test_memory_of_the_attention_blocks(benchmark):
    peaks, gradients = {}, {}
    for name, forward in (("ours", lambda block, *x: block(*x)), ("explicit", explicit_block)):
        step, inputs = blocks_step(forward)
        peaks[name] = peak_bytes(step, "cpu") / 2**20
        gradients[name] = [x.grad for x in inputs]
    for ours, explicit in zip(*gradients.values()):
        torch.testing.assert_close(ours, explicit, rtol=1e-3, atol=1e-6)
    benchmark.pedantic(lambda: None, rounds=1)
    ratio = peaks["ours"] / peaks["explicit"]
    print(
        f"\nmemory of three blocks: ours {peaks['ours']:.0f} MiB, explicit {peaks['explicit']:.0f} MiB, {ratio:.3f} (≤ 0.6)"
    )
    benchmark.extra_info.update({**peaks, "ratio": ratio, "unit": "MiB"})
    assert ratio <= 0.6


@pytest.mark.benchmark(group="ecenet")
def test_memory_of_attention_alone(benchmark):
    """Attention and masks of the finest level, without what surrounds them; the masks themselves are most of what remains."""
    peaks = {}
    for name, formulation in (("ours", attend_with_scores), ("explicit", explicit_attend_with_scores)):
        q, k, v = (torch.randn(1, 4, n, 64, requires_grad=True) for n in (160 * 160, CLASSES, CLASSES))

        def step(formulation=formulation, inputs=(q, k, v)) -> None:
            attended, scores = formulation(*inputs)
            (attended.sum() + scores.sum()).backward()

        peaks[name] = peak_bytes(step, "cpu") / 2**20
    benchmark.pedantic(lambda: None, rounds=1)
    ratio = peaks["ours"] / peaks["explicit"]
    print(
        f"\nmemory of attention: ours {peaks['ours']:.0f} MiB, explicit {peaks['explicit']:.0f} MiB, {ratio:.3f} (≤ 0.6)"
    )
    benchmark.extra_info.update({**peaks, "ratio": ratio, "unit": "MiB"})
    assert ratio <= 0.6


def cpu_seconds(work: Callable[[], None], rounds: int) -> float:
    """Least CPU seconds of `rounds` after a warm-up."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.benchmark(group="ecenet", timer=time.process_time)
def test_share_of_updating_extraction_and_diversity(benchmark):
    """The four extractions, three updates and the diversity loss, forward and backward on the inputs that they have in the
    model, against the whole training step."""
    model = registry.build("ecenet", build_backbone("swin_base"), CLASSES).train()
    images = torch.randn(1, 3, 320, 320)
    targets = torch.randint(CLASSES, (1, 10, 10)).repeat_interleave(32, 1).repeat_interleave(32, 2)

    def whole() -> None:
        model.zero_grad(set_to_none=True)
        sum(model.losses(images, targets).values()).backward()

    head, inputs, handles = model.head, [], []
    for module in (*head.extract, *head.update):
        handles.append(module.register_forward_hook(lambda m, x, y: inputs.append((m, [i.detach() for i in x]))))
    diverse = [x.detach() for x in head(model.backbone(images)).diverse]
    for handle in handles:
        handle.remove()
    assert len(inputs) == 7

    def parts() -> None:
        for module, given in inputs:
            module(*(x.requires_grad_() for x in given)).sum().backward()
        diversity_loss([x.requires_grad_() for x in diverse], targets).backward()

    cost, step = cpu_seconds(parts, rounds=5), cpu_seconds(whole, rounds=2)
    benchmark.pedantic(parts, rounds=1)
    print(f"\nupdating, extraction, diversity: {cost:.3f} of {step:.2f} CPU s, {100 * cost / step:.2f} % (≤ 5 %)")
    benchmark.extra_info.update({"parts": cost, "step": step, "ratio": cost / step, "unit": "CPU s"})
    assert cost <= 0.05 * step
