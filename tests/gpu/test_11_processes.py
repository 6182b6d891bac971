"""Two GPUs (NCCL) train as one does with the whole batch; ranks that see one GPU each, or all; one that fails ends both."""

import json
import os
import subprocess
import sys

import pytest

from harness.jobs.kinds import TrainConfig
from harness.store import curve
from tests.support.gpu_cases import DEVICE, job
from tests.support.ranks import free_port
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.gpu, pytest.mark.gpu2]


def ranks(config: TrainConfig, folder, task="train", processes=2, *, one_visible=False):
    """Exit codes and errors of the ranks."""
    path = folder.with_suffix(".json")
    path.write_text(config.model_dump_json())
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.gpu_ranks", str(path), str(folder), DEVICE, task],
            env={
                **shared,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                **({"CUDA_VISIBLE_DEVICES": str(rank)} if one_visible else {}),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in started]
    return [process.returncode for process in started], errors


@pytest.mark.parametrize(
    ("method", "batch_norm"), [("fcn", "synchronised"), ("fcn", "frozen"), ("idrnet", "synchronised")]
)
def test_two_equal_one_with_the_whole_batch(tmp_path, method, batch_norm):
    options = {"dropout": 0.0} if method == "idrnet" else {}  # its masks are drawn apart, one per rank
    config = job(method, options=options, batch_norm=batch_norm, iterations=5)
    for processes in (1, 2):
        codes, errors = ranks(config, tmp_path / f"on{processes}", processes=processes)
        assert codes == [0] * processes, errors
    one, two = ([record["loss"] for record in curve.losses(tmp_path / f"on{n}")] for n in (1, 2))
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert two == pytest.approx(one, rel=1e-2 if method == "idrnet" else 1e-3)
    states = [json.loads((tmp_path / "on2" / f"{rank}.json").read_text()) for rank in range(2)]
    assert batch_norm == "frozen" or states[0] == states[1], "the ranks' state parts"


def test_a_text_of_every_rank(tmp_path):
    codes, errors = ranks(job(), tmp_path / "job", "gather")
    assert codes == [0, 0], errors


def test_ranks_that_see_one_gpu_each(tmp_path):
    codes, errors = ranks(job(iterations=2), tmp_path / "job", one_visible=True)
    assert codes == [0, 0], errors


def test_a_rank_that_fails_ends_the_other(tmp_path):
    """Within torch's own watchdog: nobody waits for ever."""
    path = tmp_path / "job.json"
    path.write_text(job(iterations=50).model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.support.gpu_ranks", str(path), str(tmp_path / "job"), DEVICE, "raise"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert "rank 1 fails" in done.stderr
