"""One word per kind of job, wherever people read of it; keys and stored records have names of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import harness
from harness.cli.main import main
from harness.jobs.job import Measurement
from harness.jobs.kinds import KINDS, word
from harness.store.store import Failure, Store
from reports.formats import markdown
from reports.table_report import table_reports

STORED_ALONE = r"\b(evaluate|evaluations?|complexity|latency)\b"


def test_kinds_are_stored_as_ever_and_read_by_one_word_each():
    assert {name: word(name) for name in KINDS} == {
        "train": "train",
        "evaluate": "test",
        "peer": "peer",
        "complexity": "count",
        "latency": "time",
    }
    assert word("of another version") == "of another version"


def test_commands_and_reports_have_no_other_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    part = ["camvid", "--rows", "fcn", "--profile", "smoke", "--results", str(tmp_path)]
    plan = harness.plan("camvid", rows="fcn", profile="smoke", results=tmp_path)
    store = Store(tmp_path)
    for job in plan.jobs.values():
        if job.kind == "evaluate":
            store.fail(job, Failure("error", "no luck"))
        else:
            store.finish(job, [Measurement("parameters", 2e6, "")], {}, started=0.0)
            (store.folder(job) / "log.txt").touch()
    cell = ["camvid/fcn/miou", "--profile", "smoke", "--results", str(tmp_path)]
    assert main(["plan", *part]) == 0
    main(["status", *part])
    main(["why", *cell])
    main(["logs", *cell])
    main(["list", "metrics"])
    printed = capsys.readouterr().out
    (report,) = table_reports(plan, store)
    texts = (printed + markdown.render(report)).replace("/jobs/evaluate/", "")
    texts = re.sub(r"^latency  +forward time", "", texts, flags=re.MULTILINE)  # a metric, which is no kind of job
    assert re.search(r"1 of \d trainings, 1 of \d tests, 1 of \d counts", texts), printed
    assert "== test: " in texts
    assert "from test jobs" in texts
    assert "| count | fcn / params |" in texts
    assert [line for line in texts.splitlines() if re.search(STORED_ALONE, line)] == []
