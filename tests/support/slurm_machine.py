"""A real Slurm on this machine, and a folder of tables and results to use it from."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from harness import ROOT
from harness.files import read_json
from harness.scheduler.slurm.ledger import Ledger
from harness.store.store import Store
from tests.support import waiting
from tests.support.waiting import PATIENCE, Gate

VICTIMS = ROOT / "tests/support/slow_methods.py"
UP = ROOT / "slurm/slurm_up.sh"
TIMED = {"train_throughput", "train_seconds", "data_wait", "train_peak_memory"}


def until(ready: Callable[[], object], what: str, process: subprocess.Popen | None = None) -> object:
    """What `ready` gives as soon as it gives something. Slurm tells nobody what becomes of a job: whoever wants to know asks."""
    return waiting.until(ready, what, process, interval=0.1)


@dataclass
class Cluster:
    """The Slurm of this session."""

    root: Path
    options: tuple[str, ...]
    environ: dict[str, str]

    def up(self) -> None:
        done = subprocess.run([UP, "up", *self.options], env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def __call__(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pid(self, daemon: str) -> int:
        return int((self.root / f"run/{daemon}.pid").read_text())

    def blind(self, node: str, folder: Path) -> None:
        """Restarts a node so that it has an empty folder in the place of `folder`, until it may `see` again."""
        self._end(f"slurmd.{node}")
        hidden = 'mount -t tmpfs none "$0" && exec slurmd -N "$1"'
        command = ["unshare", "--mount", "sh", "-c", hidden, str(folder), node]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True)
        if done.returncode != 0:
            self.up()
            pytest.skip(f"no private mounts here: {done.stderr.strip()}")

    def see(self, node: str) -> None:
        """Restarts a node that sees all that this machine does."""
        self._end(f"slurmd.{node}")
        self.up()

    def _end(self, daemon: str) -> None:
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}/exe").exists(), f"{daemon} ended")

    def restart_controller(self) -> None:
        self._end("slurmctld")
        self.up()


@contextlib.contextmanager
def raised(root: Path, *options: str) -> Iterator[Cluster]:
    absent = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name, path=_PATH) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)} here: apt-get install -y --no-install-recommends slurm-wlm munge")
    environ = {**os.environ, "SLURM_ROOT": str(root), "SLURM_CONF": str(root / "etc/slurm.conf"), "PATH": _PATH}
    environ["SLURM_PORT"] = str(_free_port())
    environ["MASTER_ADDR"] = "127.0.0.1"  # names of nodes that share one machine do not resolve
    cluster = Cluster(root, options, environ)
    try:
        cluster.up()
        yield cluster
    finally:
        subprocess.run([UP, "down"], env=environ, capture_output=True)


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_port() -> int:
    """The first of a range of free ports, as far as one can tell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return port if port < 60000 else port - 20000


RECIPE = {
    "dataset": "camvid",
    "batch_size": 2,
    "augmentation": {"resize": [48, 48], "crop": [32, 32]},
    "test": {"resize": [48, 48]},
    "checkpoint_every": 20,
}
PROFILE = {
    "name": "scenes",
    "about": "the recipe as it is, on embedded scenes",
    "comparable": False,
    "recipe": {"pretrained": False},
    "synthetic": {"train_images": 8, "test_images": 4, "size": [48, 64]},
}
FILE = """\
title: Slurm of the tests
partition: main
memory: 1500
minutes: 20
poll: 1
"""


@dataclass
class SlurmBench:
    """A folder with tables, a cluster file and results, and the command line on them."""

    folder: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.marks.mkdir(parents=True)
        self.gate = Gate(self.marks)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    @property
    def store(self) -> Store:
        return Store(self.results)

    def file(self, text: str = "", name: str = "cluster.yaml") -> Path:
        (self.folder / name).write_text(FILE + text)
        return self.folder / name

    def trainings(self, iterations: int = 60, methods: Sequence[str] = ("slow",)) -> Path:
        """A table of one cell per method of `slow_methods.py`, trained slowly until they are let go."""
        self.yaml("recipes/own.yaml", {"short": {**RECIPE, "iterations": iterations}})
        named = {method: {"name": f"{VICTIMS}:{method}", "marks": str(self.marks)} for method in methods}
        rows = {method: {"method": name} for method, name in named.items()}
        columns = {"miou": {"metric": "miou", "recipe": "own/short"}}
        return self.yaml("trainings.yaml", {"title": "Trained", "columns": columns, "rows": rows})

    def counts(self, **rows: tuple[str, dict[str, object]]) -> Path:
        """A table of one cell per row, each a context of `slow_methods.py` with its options."""
        modules = {row: {"module": {"name": f"{VICTIMS}:{name}", "options": o}} for row, (name, o) in rows.items()}
        defaults = {"num_classes": 2, "input": [[1, 4, 8, 8]]}
        columns = {"params": {"metric": "parameters"}}
        return self.yaml("counts.yaml", {"title": "Counted", "defaults": defaults, "columns": columns, "rows": modules})

    def yaml(self, name: str, content: dict[str, object]) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        content = content if name.startswith(("recipes", "profiles")) else {"paper": "ours", **content}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def start(self, *arguments: object, results: Path | None = None, root: Path = ROOT) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "harness", *map(str, arguments), "--results", str(results or self.results)]
        environ = {**self.environ, "OMP_NUM_THREADS": "1"}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.started.append(subprocess.Popen(command, cwd=root, env=environ, **output))
        return self.started[-1]

    def close(self) -> None:
        """Ends what a test that failed has left."""
        for process in self.started:
            process.kill()
            process.communicate()
        self.gate.close()

    def __call__(self, *arguments: object, code: int = 0, **options) -> str:
        """What the command prints; fails unless it exits with `code`."""
        process = self.start(*arguments, **options)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out
        return out

    def notes(self, what: str) -> list[dict]:
        """What jobs have reported: started or ended."""
        return [r for f in sorted(self.results.glob(f"slurm/h*/notes/*.{what}")) if (r := read_json(f)) is not None]

    def outcomes(self, told: str = "") -> list[str]:
        """Causes of the attempts that came to nothing; only those of whose detail `told` is a part."""
        ledger = Ledger(self.store)
        lines = [o for f in sorted((self.results / "slurm").glob("h*")) for o in ledger.outcomes(f)]
        return [o["cause"] for o in lines if told in o["detail"]]

    def jobs(self, kind: str) -> dict[str, dict]:
        """Reports of started jobs of a kind by Slurm's name of them, the last start of each."""
        return {n["task"]: n for n in self.notes("started") if Path(n["folder"]).parts[-3] == kind}

    def numbers(self, results: Path | None = None) -> dict[tuple[str, str], float]:
        """Everything measured but times: {(job, name): value}."""
        found = Store(results or self.results).results()
        return {(r.job.key, m.name): m.value for r in found for m in r.measurements if m.name not in TIMED}


def bench_in(folder: Path, environ: dict[str, str]) -> SlurmBench:
    made = SlurmBench(folder, environ)
    made.yaml("profiles/scenes.yaml", PROFILE)
    return made
