"""The line that tells how a running job stands."""

from harness.cli.progress import progress_line
from harness.jobs.context import Progress

TEXT = "loss 1.92 (main 1.71, auxiliary 0.21), lr 0.01, memory 1.25 GiB, waiting for data 3 %"


def test_what_is_left_is_what_the_job_says():
    told = Progress(900, 1000, 38.4, TEXT, left=125.0)
    assert progress_line(told, elapsed=10.0) == f"900/1000  38.4 img/s  {TEXT}  eta 2 min 05 s"


def test_or_follows_from_the_time_since_it_started():
    assert progress_line(Progress(2, 10, text="testing"), elapsed=3.0) == "2/10  testing  eta 12.0 s"
