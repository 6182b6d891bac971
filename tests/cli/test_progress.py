"""The line that tells how a running job stands."""

import re
from pathlib import Path

from harness.cli.main import main
from harness.cli.progress import progress_line
from harness.jobs.context import Progress

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
