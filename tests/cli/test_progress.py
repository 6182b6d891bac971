"""The lines that tell how running jobs stand, and how long all of them still take."""

import re
from pathlib import Path

import harness
from harness.cli.main import main
from harness.cli.progress import SAVING, Console, Overall, progress_line
from harness.jobs.context import Progress
from harness.scheduler.run import queue, run
from harness.store.store import Store

TEXT = "loss 1.92 (main 1.71, auxiliary 0.21), lr 0.01, memory 1.25 GiB, waiting for data 3 %"


def test_what_is_left_is_what_the_job_says():
    told = Progress(900, 1000, 38.4, TEXT, left=125.0)
    assert progress_line(told, elapsed=10.0) == f"900/1000  38.4 img/s  {TEXT}  eta 2 min 05 s"


def test_or_follows_from_the_time_since_it_started():
    assert progress_line(Progress(2, 10, text="testing"), elapsed=3.0) == "2/10  testing  eta 12.0 s"


def test_a_plan_says_which_backbone_a_row_has_and_which_it_runs_with(tmp_path, capsys):
    table = ["tables/idrnet_table2.yaml", "--results", str(tmp_path), "--columns", "ade20k"]
    assert main(["plan", *table, "--profile", "smoke"]) == 0
    assert "profile smoke builds resnet18 in place of resnet50_v1c (8 rows)\n" in capsys.readouterr().out
    assert main(["plan", *table]) == 3  # no data
    assert "in place of" not in capsys.readouterr().out
    assert main(["report", *table, "--profile", "smoke", "--format", "markdown"]) == 5  # nothing measured
    report = Path(re.search(r"report: (.*)", capsys.readouterr().out)[1]).read_text()
    assert "backbone resnet18 in place of resnet50_v1c (profile smoke) from random weights" in report


def test_one_line_says_how_long_all_jobs_still_take():
    overall = Overall({"a": 100.0, "b": 60.0, "c": None})
    assert overall.line(0, 3, {"a": None}) == "   0/3 jobs, 1 running, eta not known yet"  # no job like c has run
    overall.end("a", 80.0)
    assert overall.line(1, 3, {"b": 20.0}) == "   1/3 jobs, 1 running, eta 1 min 40 s"  # c as a took, b as it says
    assert overall.line(1, 3, {"b": 20.0, "c": None}) == "   1/3 jobs, 2 running, eta 50.0 s"
    overall.end("b", 0.0)
    assert overall.line(2, 3, {"c": 5.0}) == "   2/3 jobs, 1 running, eta 5.0 s"


def test_lines_fit_a_terminal_of_80_columns(tmp_path, monkeypatch, capsys):
    plan = harness.plan("idrnet_table2", rows="fcn", columns="lip", profile="smoke", results=tmp_path)
    store = Store(tmp_path)
    todo = queue(plan, store)
    monkeypatch.setenv("COLUMNS", "80")
    console = Console(plan, store, todo)
    console._terminal = True
    lines = console._two_columns("▸", "fcn / lip · train", progress_line(Progress(9, 10, 38.4, TEXT, left=125.0), 1.0))
    assert max(map(len, lines.splitlines())) <= 80
    assert lines.splitlines()[0] == " ▸ fcn / lip · train"
    assert " ".join(lines.split()).endswith("waiting for data 3 % eta 2 min 05 s")
    assert console._two_columns("▸", "fcn / lip · train", "starting, 1.0 s").count("\n") == 0


def test_the_first_interrupt_says_what_a_second_one_does(tmp_path, capsys):
    plan = harness.plan("idrnet_table2", rows="fcn", columns="lip", profile="smoke", results=tmp_path)
    store = Store(tmp_path)

    class Transport:
        """Interrupted once, then over."""

        calls = 0
        slots = 1

        def start(self, jobs, among):
            pass

        def active(self):
            return self.calls < 2

        def events(self, timeout):
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt
            return []

        def stop(self):
            pass

        def close(self):
            pass

    with Console(plan, store, queue(plan, store)) as console:
        outcome = run(plan, store, Transport(), console)
    assert outcome.stopped
    assert f"{SAVING}\n" in capsys.readouterr().out
