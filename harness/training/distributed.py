"""One training on several processes: who this process is, the group it joins, and data-parallel losses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.errors import UserError
from harness.jobs.context import RANK_VARIABLES
from methods.ranks import rank, world_size

Result = TypeVar("Result")
Losses = Callable[[Tensor, Tensor], dict[str, Tensor]]

TIMEOUT = timedelta(minutes=60)
"""How long processes wait for each other: one reads a large dataset's list of files from a slow disk while the others wait."""


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is, on this machine and in all."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


def place(environment: Mapping[str, str] = os.environ) -> Rank:
    """From torchrun's variables RANK, WORLD_SIZE and LOCAL_RANK, which Slurm's tasks set too (harness.scheduler.slurm.entry).

    Slurm's own count for nothing: in an interactive shell of eight tasks every command would take itself for one of eight.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return Rank()
    return Rank(*(int(environment.get(name, "0")) for name in RANK_VARIABLES))


def gpu_of(local_rank: int, visible: int) -> int:
    """Which of the `visible` GPUs a process of this node uses: its own, or the only one where each is shown one alone.

    Raises UserError where there are fewer than processes.
    """
    gpu = 0 if visible == 1 else local_rank  # one: by --gpus-per-task, --gpu-bind or CUDA_VISIBLE_DEVICES
    if gpu >= visible:
        raise UserError(
            f"process {local_rank + 1} of this node finds only {visible} of its GPUs: start one process per GPU "
            "(torchrun --nproc-per-node, gpus in the cluster file)"
        )
    return gpu


@contextlib.contextmanager
def process_group(device: str) -> Iterator[Rank]:
    """Joins the other processes of this training, if there are any: NCCL between GPUs, gloo between CPUs."""
    rank_info = place()
    if rank_info.world == 1 or (dist.is_available() and dist.is_initialized()):
        yield rank_info
        return
    gpu = None
    if device == "cuda":
        gpu = torch.device("cuda", gpu_of(rank_info.local_rank, torch.cuda.device_count()))
        torch.cuda.set_device(gpu)
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    dist.init_process_group(
        "gloo" if gpu is None else "nccl",
        init_method=f"tcp://{address}:{port}",
        rank=rank_info.rank,
        world_size=rank_info.world,
        timeout=TIMEOUT,
        device_id=gpu,  # connects now, and to this GPU, not to one that is guessed from the rank
    )
    try:
        yield rank_info
    finally:
        dist.destroy_process_group()


def local_batch(batch_size: int, accumulate: int) -> int:
    """Images per process of a batch over all of them. Raises UserError where it does not come out even."""
    if batch_size % (world_size() * accumulate):
        raise UserError(
            f"recipe.batch_size {batch_size} cannot be shared evenly by {world_size()} processes in {accumulate} parts each; "
            "the batch is over all processes together"
        )
    return batch_size // world_size()


class _LossModule(nn.Module):
    """What DistributedDataParallel wraps: its forward is the method's losses."""

    def __init__(self, model: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.model = model
        self._losses = losses

    def forward(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return self._losses(images, targets)


def data_parallel(model: nn.Module, losses: Losses, *, idle_parameters: bool = False) -> Losses:
    """`losses` with gradients averaged over all processes in their backward pass; as it is where there is one process.

    `idle_parameters`: the losses do not reach every parameter, and each backward pass looks for those that it does not.
    Buffers are not broadcast: batch statistics are synchronised where they arise, and methods reduce what they learn.
    """
    if world_size() == 1:
        return losses
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        _LossModule(model, losses), device_ids=ids, broadcast_buffers=False, find_unused_parameters=idle_parameters
    )


def no_sync(losses: Losses) -> contextlib.AbstractContextManager[None]:
    """Gradients stay local: for all but the last part of an accumulated batch."""
    if isinstance(losses, nn.parallel.DistributedDataParallel):
        return losses.no_sync()
    return contextlib.nullcontext()


@contextlib.contextmanager
def statistics_of_rank_0(model: nn.Module) -> Iterator[None]:
    """Every process's model has rank 0's buffers, and its own again afterwards: batch statistics may be each process's own."""
    if world_size() == 1:
        yield
        return
    buffers = [buffer.clone() for buffer in model.buffers()]
    for buffer in model.buffers():
        dist.broadcast(buffer, 0)
    try:
        yield
    finally:
        for buffer, before in zip(model.buffers(), buffers):
            buffer.copy_(before)


def any_rank(flag: bool) -> bool:
    """Whether any process says so; every process gets the same answer."""
    if world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor(float(flag), device=device)
    dist.all_reduce(votes)
    return bool(votes.item())


class Vote:
    """Whether any process wants something, asked every iteration and known one iteration later, so that nobody waits.

    The votes travel between the hosts (gloo), beside what their GPUs do; all processes get the same answer to the same call.
    In a single process the answer is that of the call itself.
    """

    def __init__(self, questions: int = 1) -> None:
        self.questions = questions
        self._pending: tuple[Tensor, dist.Work] | None = None
        self._group = None if world_size() == 1 or dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def cast(self, *flags: bool) -> tuple[bool, ...]:
        """Hands in this process's wishes; gives what any process wished in the call before, nothing in the first one."""
        assert len(flags) == self.questions
        if world_size() == 1:
            return flags
        answers = self.close()
        votes = torch.tensor(flags, dtype=torch.int32)
        work = dist.all_reduce(votes, group=self._group, async_op=True)
        assert work is not None
        self._pending = votes, work
        return answers

    def close(self) -> tuple[bool, ...]:
        """Takes the answers that are still on their way."""
        if self._pending is None:
            return (False,) * self.questions
        (votes, work), self._pending = self._pending, None
        work.wait()
        return tuple(bool(n) for n in votes.tolist())


def gather_texts(text: str) -> list[str]:
    """One text of every rank, in order, on every rank."""
    if world_size() == 1:
        return [text]
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    encoded_text = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor([len(encoded_text)], device=device))
    padded = nn.functional.pad(encoded_text, (0, max(map(int, lengths)) - len(encoded_text)))
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return [bytes(part[:length].tolist()).decode() for part, length in zip(parts, lengths)]


def first_rank_first(action: Callable[[], Result]) -> Result:
    """`action` on rank 0, then on the others, which find what it has left. Where it fails, each of them fails by itself."""
    if rank() > 0:
        barrier()
    try:
        return action()
    finally:
        if rank() == 0:
            barrier()


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()
