"""Jobs of a run on this machine: each sees its own GPU, a killed one leaves its GPU free, Slurm's variables mean nothing."""

import pytest

from harness import environment
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.scheduler.local import Local
from harness.store.store import Store
from tests.support.gpu_cases import DEVICE, job

pytestmark = pytest.mark.gpu


def run(folder, count, *, gpus_per_job=1):
    """The environments of the results of so many trainings."""
    store = Store(folder)
    store.prepare()
    jobs = []
    for seed in range(count):
        config = job(seed=seed, iterations=3).model_dump(mode="json")
        jobs.append(Job("train", config, digest(config), digest([config]), {"config": config, "code": {}}))
    transport = Local(store, data_dir=None, device=environment.device(DEVICE), gpus_per_job=gpus_per_job)
    try:
        transport.start(jobs, {j.key: j for j in jobs})
        events = []
        while transport.active():
            events += transport.events(timeout=0.5)
    finally:
        transport.close()
    assert [event.state for event in events].count("done") == count, [e.failure for e in events if e.failure]
    return [store.result(record).environment for record in jobs]


def test_as_many_trainings_at_once_as_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    for where in run(tmp_path, environment.device(DEVICE).slots + 1):
        assert str(where["device"]).startswith(DEVICE)


@pytest.mark.gpu2
def test_two_gpus_for_each_training(tmp_path):
    for where in run(tmp_path, 2, gpus_per_job=2):
        assert str(where["device"]).startswith(DEVICE)
        assert where["processes"] == 2
