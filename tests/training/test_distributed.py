"""Several processes train as one does on the same batches (gloo, CPU)."""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from harness.errors import Exit, UserError
from harness.jobs.job import Job
from harness.jobs.kinds import Data
from harness.recipes.common import Optimizer
from harness.recipes.profile import Synthetic
from harness.scheduler import worker
from harness.scheduler.worker import Request, execute
from harness.store import curve
from harness.store.store import Store
from harness.training import checkpoint, distributed
from harness.training.batch_norm import SynchronisedBatchNorm
from tests.support.distributed_steps import train_on
from tests.support.ranks import exit_codes, run_ranks, start_ranks
from tests.support.waiting import until
from tests.tasks.segmentation.test_train import config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "dtype", "lr", "batch_norm", "processes", "accumulate"),
    [
        ("fcn", "float32", 1e-2, "frozen", 2, 1),
        ("idrnet", "float32", 1e-2, "frozen", 2, 1),
        ("fcn", "float32", 1e-2, "frozen", 2, 2),
        ("fcn", "float32", 1e-3, "synchronised", 2, 1),
        ("fcn", "float64", 1e-2, "synchronised", 2, 1),
        ("idrnet", "float64", 1e-2, "synchronised", 2, 1),
        ("idrnet", "float64", 1e-2, "synchronised", 4, 1),
    ],
)
def test_several_processes_equal_one_with_the_whole_batch(
    tmp_path, method, dtype, lr, batch_norm, processes, accumulate
):
    """Steps of batch 8, shared by the processes, each in `accumulate` parts: the same weights and losses up to rounding,
    1e-6 in float64 and, since processors round otherwise, 1e-5 in float32.

    Normalisation over the batch enlarges what the order of sums changes: in float32 at a rate of 0.01 to 1e-5 within 20
    steps of FCN. IDRNet takes the most likely class of every pixel and draws classes by them; there rounding tips one of
    them after some steps, and the two part, as any two trainings that differ by rounding.
    """
    options = {
        "fcn": {"channels": 16},
        "idrnet": {"channels": 16, "attention_channels": 8, "dropout": 0.0},
    }
    data = Data(name="camvid", synthetic=Synthetic(train_images=16, size=(64, 64)))
    steps = 20 // processes  # they wait for each other some hundred times a step
    recipe = {"batch_size": 8, "iterations": steps, "optimizer": Optimizer(lr=lr), "batch_norm": batch_norm}
    jobs = [
        config(method, options=options[method], **recipe, accumulate=parts).model_copy(update={"data": data})
        for parts in (1, accumulate)
    ]
    one, several = tmp_path / "one", tmp_path / "several"
    train_on(1, jobs[0], dtype, one, tmp_path / "cache")
    train_on(processes, jobs[1], dtype, several, tmp_path / "cache")
    near = {"float32": 1e-5, "float64": 1e-6}[dtype]
    for a, b in zip(curve.read(one), curve.read(several)):
        assert a["iteration"] == b["iteration"]
        assert a["lr"] == b["lr"]
        assert a["terms"] == pytest.approx(b["terms"], abs=near)
    assert len(curve.read(several)) == steps
    weights = checkpoint.load_weights(several)
    for name, weight in checkpoint.load_weights(one).items():
        torch.testing.assert_close(weights[name], weight, rtol=near, atol=near, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.slow
def test_torchrun_is_stopped_by_a_signal_and_goes_on(tmp_path):
    """SIGUSR1 to one of two ranks: both save and leave with exit code 75; the same command ends as an undisturbed run."""
    job = Job("train", config(iterations=30, batch_size=4).model_dump(mode="json"), "k" * 64, "i" * 64, {})
    stores = {name: Store(tmp_path / name) for name in ("whole", "pieces")}
    pieces = stores["pieces"].folder(job)

    def start(name):
        folder = stores[name].folder(job)
        Request(job, str(stores[name].root), None, "cpu", 1).write(folder)
        return start_ranks(run_worker, 2, folder)

    assert exit_codes(start("whole")) == [0, 0]
    stopped = start("pieces")

    def are_under_way() -> bool:
        assert all(process.is_alive() for process in stopped)
        return len(curve.read(pieces)) >= 3

    until(are_under_way, "three steps")
    os.kill(stopped[1].pid, signal.SIGUSR1)
    assert exit_codes(stopped) == [Exit.RESUMABLE] * 2
    assert len(curve.read(pieces)) == checkpoint.listing(pieces)[-1].iteration < 30
    assert exit_codes(start("pieces")) == [0, 0]
    result = stores["pieces"].result(job)
    assert result is not None
    assert result.value("final_loss") is not None
    resumed = checkpoint.load_weights(pieces)
    assert all(
        torch.equal(w, resumed[name]) for name, w in checkpoint.load_weights(stores["whole"].folder(job)).items()
    )


def run_worker(folder: Path) -> None:
    sys.exit(worker.main([str(folder)]))


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1, 0)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (3, 8, 1)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, (0, 1, 0)),  # srun --ntasks=8 --pty bash
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (1, 2, 1)),
    ],
)
def test_place(environment, place):
    assert distributed.place(environment) == distributed.Rank(*place)


@pytest.mark.slow
def test_a_training_in_an_interactive_slurm_shell_waits_for_nobody(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    job = Job("train", config(iterations=1).model_dump(mode="json"), "k" * 64, "i" * 64, {})
    folder = Store(tmp_path).folder(job)
    Request(job, str(tmp_path), None, "cpu", 1).write(folder)
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(execute(folder)))
    child.start()
    child.join(120)
    ended = child.exitcode
    child.kill()
    assert ended == Exit.OK, "it hangs" if ended is None else (folder / "log.txt").read_text()


@pytest.mark.parametrize(("local_rank", "visible", "gpu"), [(0, 1, 0), (3, 1, 0), (3, 8, 3), (0, 8, 0)])
def test_a_process_has_its_own_gpu_or_the_one_it_is_shown(local_rank, visible, gpu):
    assert distributed.gpu_of(local_rank, visible) == gpu


@pytest.mark.parametrize(("local_rank", "visible"), [(4, 4), (0, 0)])
def test_more_processes_than_gpus(local_rank, visible):
    with pytest.raises(UserError, match=f"process {local_rank + 1} of this node finds only {visible} of its GPUs"):
        distributed.gpu_of(local_rank, visible)


def test_processes_with_gpus_meet_over_their_own_and_wait_long_enough(monkeypatch):
    """One GPU is visible to each of four: NCCL is told which, and the wait outlasts the reading of a large dataset."""
    seen = {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: seen.update(set=gpu))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: seen.update(backend=backend, **options))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: seen.update(closed=True))
    ranks = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "4000"}
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    with distributed.process_group("cuda") as rank_info:
        assert rank_info == distributed.Rank(3, 4, 3)
        assert "closed" not in seen
    assert seen.pop("timeout").total_seconds() >= 30 * 60
    gpu = torch.device("cuda", 0)
    meeting = {"init_method": "tcp://10.0.0.7:4000", "rank": 3, "world_size": 4}
    assert seen == {"backend": "nccl", "set": gpu, "device_id": gpu, "closed": True, **meeting}


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size 8 cannot be shared evenly by 3 processes"):
        distributed.local_batch(8, 1)
    assert distributed.local_batch(12, 2) == 4


def _synchronised(folder: Path) -> None:
    """One of two processes: half of a batch through a synchronised norm and back."""
    with distributed.process_group("cpu") as me:
        x, norm = _batch_norm_case()
        synchronised = SynchronisedBatchNorm(3).double()
        synchronised.load_state_dict(norm.state_dict())
        part = x[:3] if me.rank == 0 else x[3:]  # unequal shares
        part = part.clone().requires_grad_()
        out = synchronised(part)
        (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
        results = {"out": out.detach(), "gradient": part.grad, **synchronised.state_dict()}
        torch.save(results, folder / f"{me.rank}.pt")


def _batch_norm_case() -> tuple[torch.Tensor, nn.BatchNorm2d]:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).double()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    return torch.randn(4, 3, 5, 5, dtype=torch.float64) * 3 + 10, norm


@pytest.mark.slow
def test_synchronised_batch_norm_is_batch_norm_of_the_whole_batch(tmp_path):
    run_ranks(_synchronised, 2, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    x, norm = _batch_norm_case()
    x.requires_grad_()
    out = norm(x)
    factors = [torch.arange(n).view(shape).sin() for n, shape in ((225, (3, 3, 5, 5)), (75, (1, 3, 5, 5)))]
    (out * torch.cat(factors)).sum().backward()
    torch.testing.assert_close(torch.cat([part["out"] for part in parts]), out.detach())
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]), x.grad)
    for name, value in norm.state_dict().items():
        for part in parts:
            torch.testing.assert_close(part[name], value)


def _votes(folder: Path) -> None:
    with distributed.process_group("cpu") as me:
        vote = distributed.Vote(2)
        wishes = [(False, me.rank == 0), (me.rank == 1, False), (False, False)]
        answers = [*(vote.cast(*wish) for wish in wishes), vote.close()]
        (folder / f"{me.rank}.json").write_text(json.dumps(answers))


@pytest.mark.slow
def test_votes_are_known_one_call_later_and_everywhere(tmp_path):
    run_ranks(_votes, 2, tmp_path)
    expected = [[False, False], [False, True], [True, False], [False, False]]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [expected, expected]
    assert distributed.Vote(2).cast(True, False) == (True, False)
