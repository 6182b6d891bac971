"""The nightly as it is meant to run: a job of Slurm, started by a line of a crontab, whose own jobs are Slurm's, too."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import pytest
import yaml

from harness import ROOT
from harness.store.nights import History
from tests.support.checkout import copy_of_checkout
from tests.support.slurm_machine import Cluster, SlurmBench, until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
EXAMPLE = (ROOT / "slurm/crontab.example").read_text().splitlines()


def lines() -> list[tuple[list[str], str]]:
    """(times, command) of the lines of the example."""
    found = []
    for line in EXAMPLE:
        if line and not line.startswith("#"):
            *times, command = line.split(maxsplit=5)
            found.append((times, command))
    return found


def test_the_example_has_times_that_there_are():
    assert len(lines()) == 2
    for times, _ in lines():
        for field, (low, high) in zip(times, ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)), strict=True):
            assert field == "*" or low <= int(field) <= high


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy with an environment, as a person has it."""
    root = copy_of_checkout(tmp_path / "check out", "slurm")
    (root / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    return root


def night(cluster: Cluster, checkout: Path, command: str, *scron: str) -> tuple[str, str]:
    """(what Slurm says of the nightly's job, its output), started by a crontab's command in the bare shell of a cron,
    or with the options of a scrontab by a job of Slurm."""
    bare = [f"{name}={cluster.environ[name]}" for name in ("PATH", "HOME", "SLURM_CONF")]
    said, command = checkout / "said.txt", command.replace("CHECKOUT", f"'{checkout}'")
    how = ["sbatch", "--wait", *scron, f"--output={said}", "--wrap"] if scron else ["sh", "-c"]
    printed = cluster("env", "-i", *bare, *how, command)
    number = (said.read_text() if scron else printed).strip()
    show = ("scontrol", "show", "job", number)
    until(lambda: re.search(r"JobState=(COMPLETED|FAILED)", cluster(*show)), "the nightly ended")
    return cluster(*show), (checkout / f"nightly-{number}.log").read_text()


def test_a_night_from_a_crontab_s_line_to_its_page_and_exit_code(bench: SlurmBench, cluster: Cluster, checkout: Path):
    """Two nights: all is well; then a golden curve differs, which Slurm is told by the exit code."""
    bench.gate.open()
    (_, cron), (_, scrontab) = lines()
    table, curve, results = str(bench.trainings(iterations=4)), checkout / "test_curve.py", checkout / "results"
    tables = {"tables": [table], "profile": "scenes"}
    golden = {"tests": [curve.name]}
    told = checkout / "told.md"
    notify = ["sh", "-c", 'cat > "$0"', str(told)]
    file = {"on": str(bench.file()), "golden": golden, "checkpoints": tables, "slice": tables, "notify": notify}
    (checkout / "slurm/nightly.yaml").write_text(yaml.safe_dump(file))
    arguments = [table, "--profile", "scenes", "--on", bench.file(), "--no-figures"]
    bench("run", *arguments, results=results, root=checkout)  # leaves a checkpoint

    curve.write_text("def test_curve():\n    assert 1 == 1\n")
    state, log = night(cluster, checkout, cron)
    assert "ExitCode=0:0" in state, log
    page = results / f"nightly/{datetime.date.today().isoformat()}.md"
    assert "all well" in page.read_text().splitlines()[0]
    assert re.findall(r"^## (.*): (\d) measured", page.read_text(), re.M) == [
        ("Golden curves", "1"),
        ("Kept checkpoints", "1"),
        ("Full trainings", "1"),
    ]
    (first,) = History(results).nights()["trainings/slow/miou"]
    assert (results / first.folder / "result.json").exists()
    assert len(list(results.glob("nightly/again/*/slurm/h*"))) == 1  # through Slurm, from inside a job
    assert not told.exists()

    curve.write_text("def test_curve():\n    assert 1 == 2\n")
    scron = [line.removeprefix("#SCRON ") for line in EXAMPLE if line.startswith("#SCRON")]
    state, log = night(cluster, checkout, scrontab, *scron)
    assert "ExitCode=1:0" in state, log
    assert "FAILED test_curve.py::test_curve" in page.read_text()
    assert told.read_text() == page.read_text()
    assert len(History(results).nights()["trainings/slow/miou"]) == 1  # the same date again adds nothing
