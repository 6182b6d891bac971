"""Libraries that only some jobs need: the server of jobs loads them once, before the first of these."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness import environment
from harness.jobs.job import Job
from harness.scheduler import fork_server
from harness.scheduler.fork_server import LIBRARIES, ForkServer
from harness.scheduler.local import Local
from harness.store.store import Store
from tests.plan.test_planner import planned, table
from tests.scheduler.test_local import job

CARD = environment.Device("cuda", "a card", 1)


def started(store: Store, only: Job, device: environment.Device, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules that the server is asked to load for a job."""
    asked: list[str] = []

    def start(self: ForkServer, function: str, arguments: list, environ: dict, modules: list[str]) -> int:
        asked.extend(modules)
        return 0

    monkeypatch.setattr(ForkServer, "start", start)
    monkeypatch.setattr("harness.scheduler.local.ensure_usable", lambda *_: None)
    transport = Local(store, data_dir=None, device=device, slots=1)
    transport.start([only], {only.key: only})
    transport._running_jobs.clear()  # nothing runs
    transport.close()
    return asked


def test_only_jobs_with_a_library_in_their_key_have_it_loaded_and_none_on_a_gpu(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    plain = replace(job("good"), parts={"packages": {"timm": "1.0"}})
    with_library = replace(job("good", name="b"), parts={"packages": {"mmseg": "1.4", "mmcv": "2.3"}})
    here = environment.device("cpu")
    assert started(store, plain, here, monkeypatch) == []
    assert started(store, with_library, here, monkeypatch) == ["mmseg.models"]
    assert started(store, with_library, CARD, monkeypatch) == []


def test_a_row_of_the_library_has_it_in_its_keys():
    row = "a: {method: {name: adapters/mmsegmentation, config: {backbone: {}, decode_head: {}}}}"
    jobs = planned(table(row)).jobs.values()
    assert {kind.kind for kind in jobs} == {"train", "evaluate"}
    assert all(LIBRARIES.keys() & each.parts["packages"].keys() for each in jobs)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fork_server._Server:
    """The server's own side in this process, which starts nothing."""
    one = fork_server._Server.__new__(fork_server._Server)
    one._asked_modules = set()
    one._jobs = {}
    one._reply = lambda reply: None

    def fork() -> int:
        raise OSError("no more")

    monkeypatch.setattr(os, "fork", fork)
    return one


def test_the_server_imports_a_library_once_and_leaves_its_faults_to_jobs(
    server: fork_server._Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "sound_library.py").write_text(
        "import os, warnings\nwarnings.warn('loud')\nNVML = os.environ['PYTORCH_NVML_BASED_CUDA_CHECK']\n"
    )
    (tmp_path / "broken_library.py").write_text("open('times', 'a').write('x')\nraise KeyError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    importlib.invalidate_caches()
    for number in range(3):
        server._start({"start": number, "modules": ["broken_library", "sound_library"]})
    assert sys.modules.pop("sound_library").NVML == "1"
    assert (tmp_path / "times").read_text() == "x"
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
    said = capfd.readouterr().err
    assert "loud" not in said
    assert "broken" not in said
