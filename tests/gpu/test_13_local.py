"""Jobs of a run on this machine: each sees its own GPU, a killed one leaves its GPU free, Slurm's variables mean nothing."""

import pytest

from harness import environment
from harness.jobs.job import Job
from harness.jobs.key import digest
from harness.scheduler.local import Local
from harness.store.store import Store
from tests.support.gpu_cases import DEVICE, job

pytestmark = pytest.mark.gpu


def test_as_many_trainings_at_once_as_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    store = Store(tmp_path)
    store.prepare()
    device = environment.device(DEVICE)
    count = device.slots + 1
    jobs = []
    for seed in range(count):
        config = job(seed=seed, iterations=3).model_dump(mode="json")
        jobs.append(Job("train", config, digest(config), digest([config]), {"config": config, "code": {}}))
    transport = Local(store, data_dir=None, device=device)
    try:
        transport.start(jobs, {j.key: j for j in jobs})
        events = []
        while transport.active():
            events += transport.events(timeout=0.5)
    finally:
        transport.close()
    assert [event.state for event in events].count("done") == count, [e.failure for e in events if e.failure]
    for record in jobs:
        result = store.result(record)
        assert result is not None
        assert str(result.environment["device"]).startswith(DEVICE)
