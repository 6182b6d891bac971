"""Which batch norm takes the place of a model's, and what the one for CPUs costs."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from harness.training import batch_norm
from harness.training.batch_norm import SynchronisedBatchNorm, set_batch_norm
from methods.idrnet.head import frozen_statistics
from tests.support.tiny_training import TinySegmentor


class Operations(TorchDispatchMode):
    """Counts operations, apart from those that only look at memory in another way."""

    views = ("view", "expand", "unsqueeze", "slice", "select", "detach", "alias", "t")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        if name.removeprefix("aten::") not in self.views:
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def two_processes():
    """A group of two of which this process is one, and whose collectives do nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


def test_collectives_and_operations_of_ours(two_processes):
    """Five collectives a step, which torch's has two of: why ours stays where torch's cannot run."""
    norm, x = SynchronisedBatchNorm(4), torch.randn(2, 4, 8, 8, requires_grad=True)
    with Operations() as seen:
        norm(x).square().sum().backward()
    assert seen.counts["c10d::allreduce_"] == 5
    assert sum(seen.counts.values()) <= 60


def test_gpus_take_torchs_own_and_cpus_ours(monkeypatch):
    monkeypatch.setattr(batch_norm, "world_size", lambda: 2)
    model = TinySegmentor()
    set_batch_norm(model, "synchronised", 0.2)
    assert type(model.backbone.body[1]) is SynchronisedBatchNorm
    with FakeTensorMode(), torch.device("cuda"):
        model = TinySegmentor()
        weight = model.backbone.body[1].weight
        set_batch_norm(model, "synchronised", 0.2)
    norm = model.backbone.body[1]
    assert type(norm) is nn.SyncBatchNorm
    assert norm.weight is weight
    assert (norm.momentum, norm.running_mean.device.type) == (0.2, "cuda")


def test_a_replaced_norm_keeps_its_number_format():
    model = TinySegmentor().double()
    batch_norm.replace(model, SynchronisedBatchNorm)
    assert model.backbone.body[1].running_var.dtype == torch.float64


def test_statistics_of_torchs_own_stay_as_they_are_where_a_pass_is_on_trial():
    """IDRNet's pass without a class normalises with its own batch, and leaves the running statistics alone."""
    norm = nn.SyncBatchNorm(2)
    with frozen_statistics(nn.Sequential(norm)):
        assert norm.track_running_stats is False
    assert norm.track_running_stats is True
