"""One training on several processes: who this process is, the group it joins, and data-parallel losses."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.errors import UserError
from methods.ranks import rank, world_size

Result = TypeVar("Result")
Losses = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is, on this machine and in all."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


def place(environment: Mapping[str, str] = os.environ) -> Rank:
    """From the variables of torchrun (RANK, WORLD_SIZE, LOCAL_RANK), else of Slurm's tasks (srun, submitit)."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    elif int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    else:
        return Rank()
    return Rank(*(int(environment.get(name, "0")) for name in names))


def rendezvous(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Address and port at which the processes meet: MASTER_ADDR and MASTER_PORT, else from the Slurm job.

    The port follows from the job's number, so that all its tasks agree on it and two jobs on a node hardly meet.
    """
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    if address is None:
        nodes = environment.get("SLURM_JOB_NODELIST", "")
        if not nodes or environment.get("SLURM_JOB_NUM_NODES", "1") == "1":
            address = "127.0.0.1"
        else:
            hosts = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
            address = hosts.stdout.split()[0]
    return address, int(port) if port else 20000 + int(environment.get("SLURM_JOB_ID", "9500")) % 20000


@contextlib.contextmanager
def process_group(device: str) -> Iterator[Rank]:
    """Joins the other processes of this training, if there are any: NCCL between GPUs, gloo between CPUs."""
    rank_info = place()
    if rank_info.world == 1 or (dist.is_available() and dist.is_initialized()):
        yield rank_info
        return
    address, port = rendezvous()
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(rank_info.local_rank)
    dist.init_process_group(
        backend, init_method=f"tcp://{address}:{port}", rank=rank_info.rank, world_size=rank_info.world
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


def data_parallel(model: nn.Module, losses: Losses) -> Losses:
    """`losses` with gradients averaged over all processes in their backward pass; as it is where there is one process.

    Buffers are not broadcast: batch statistics are synchronised where they arise, and methods reduce what they learn.
    """
    if world_size() == 1:
        return losses
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(_LossModule(model, losses), device_ids=ids, broadcast_buffers=False)


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
