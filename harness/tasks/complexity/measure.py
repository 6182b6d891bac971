"""The jobs that count (parameters, FLOPs) and that time (latency, peak memory) one model."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from harness.errors import Interrupted, UserError
from harness.jobs.context import Context, Progress
from harness.jobs.job import Measurement
from harness.jobs.kinds import ComplexityConfig, LatencyConfig, Model
from harness.tasks.complexity import conventions, latency
from harness.training.tf32 import fp32_products
from methods.build import build_model, without_auxiliary

_WARM_UP = {"cpu": 0, "cuda": 20}  # passes before the timed ones, besides the one whose memory is measured
_SEED = 0


def count(config: ComplexityConfig, context: Context) -> list[Measurement]:
    """Trainable parameters and FLOPs of what runs at test time, without data where it can be.

    No auxiliary head, unless the convention counts its parameters.
    """
    counter = conventions.find(config.convention)
    torch.set_num_threads(context.threads)
    with torch.device("meta" if counter.meta else "cpu"):
        module = _module(config.model, config.input, auxiliary=counter.auxiliary)
        inputs = _inputs(config.model, config.input)
    context.progress(Progress(0, 1, text=f"counting by {config.convention}"))
    flops = counter.count(module, inputs)  # at test time, when no auxiliary head runs
    context.progress(Progress(1, 1))
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    head = "with" if counter.auxiliary else "without"
    return [
        Measurement("parameters", float(parameters), convention=f"trainable, {head} auxiliary head"),
        Measurement("flops", float(flops), convention=config.convention),
    ]


def time(config: LatencyConfig, context: Context) -> list[Measurement]:
    """Median and quartiles of a forward pass in eval mode (fp32), and its peak memory beyond input and weights."""
    torch.set_num_threads(context.threads)
    torch.manual_seed(_SEED)
    device = context.device
    with torch.device(device):
        module = _module(config.model, config.input).eval()
        inputs = _inputs(config.model, config.input)
    warm_up = _WARM_UP[device]
    passes = 1 + warm_up + config.repeats

    def forward() -> object:
        return module(*inputs)

    start_time = clock.monotonic()

    def after(pass_count: int) -> None:
        rate = pass_count / max(clock.monotonic() - start_time, 1e-9)
        context.progress(Progress(pass_count, passes, rate, "forward passes"))
        if context.should_stop():
            raise Interrupted

    with torch.inference_mode(), fp32_products(tf32=False):
        peak = latency.peak_bytes(forward, device)
        after(1)
        latency.timed(forward, device, warm_up, after=lambda i: after(1 + i))
        contention = latency.CpuContention()
        timing = latency.timed(forward, device, config.repeats, after=lambda i: after(1 + warm_up + i))
    how = "CUDA events" if device == "cuda" else f"{context.threads} thread{'s' * (context.threads != 1)}"
    description = f"{how}, fp32 without TF32, {config.repeats} passes after {1 + warm_up}"
    contention_percent = contention.percent()
    busy = (
        []
        if contention_percent is None
        else [Measurement("latency_others", contention_percent, "%", "of all CPUs, by other processes meanwhile")]
    )
    return [
        Measurement("latency", timing.quantile(0.5), "ms", description),
        Measurement("latency_q25", timing.quantile(0.25), "ms", description),
        Measurement("latency_q75", timing.quantile(0.75), "ms", description),
        Measurement("peak_memory", peak / 2**20, "MiB", "allocated by PyTorch beyond input and weights"),
        *busy,
    ]


def _module(model: Model, shapes: Sequence[Sequence[int]], *, auxiliary: bool = False) -> nn.Module:
    """The modules that run at test time (`auxiliary`: and the head that only training uses), on the default device, with
    random weights, on which no number here depends."""
    untrained = model.model_copy(update={"pretrained": False})
    if model.backbone is not None:
        built = build_model(untrained)
        return built if auxiliary else without_auxiliary(built)
    return build_model(untrained, feature_channels=[shape[1] for shape in shapes])


def _inputs(model: Model, shapes: Sequence[Sequence[int]]) -> tuple[Any, ...]:
    """The arguments of forward: an image, or the list of feature maps."""
    tensors = [torch.randn(*shape) for shape in shapes]
    if model.backbone is None:
        return (tensors,)
    if len(tensors) != 1:
        raise UserError(f"a model with a backbone takes one image; {len(tensors)} input shapes were given")
    return (tensors[0],)
