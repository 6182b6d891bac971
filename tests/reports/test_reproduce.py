"""Back from a report to its commands; and what would decide, over several tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from reports import advice, reproduce
from reports.formats import latex, markdown
from reports.write import write
from tests.support.report_bench import ENVIRONMENT, Make

HERE = {"torch": "2.15.0"}


def test_a_report_leads_back_to_its_commands(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.1, 42.9)
    path = write(bench.report(), bench.store.reports, figures=False)
    told = list(reproduce.lines(reproduce.read(path), HERE))
    assert f"git checkout {ENVIRONMENT['commit']}" in told
    assert "python -m harness run pspnet_table5.yaml --seeds 2" in told
    assert told[told.index("python -m pip install torch==2.15.0") - 1] == "# these versions are installed here"
    assert "# Python 3.11.7" in told
    assert any(text.startswith("# 4 jobs, on cuda: Test GPU") for text in told)
    assert any("data: camvid" in text for text in told)
    assert all(text.startswith(("#", "git ", "python ")) for text in told)


def test_latex_leads_back_to_its_commands_too(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.measure("ppm", "score", 42.1)
    file = tmp_path / "table.tex"
    file.write_text(latex.document([bench.report()]), encoding="utf-8")
    assert reproduce.read(file) == reproduce.record(bench.report())
    comments = [text for text in file.read_text(encoding="utf-8").splitlines() if text.startswith("%")]
    assert any("driver NVIDIA 580.1" in text for text in comments)
    assert any(text.startswith('% reproduce: {"command": "python -m harness run') for text in comments)
    file.write_text(f"% {reproduce.embed(reproduce.record(bench.report()))}\n", encoding="utf-8")  # as it was once
    assert reproduce.read(file) == reproduce.record(bench.report())


def test_every_report_says_all_that_its_numbers_depend_on(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.1, 42.9)
    document = markdown.render(bench.report())
    digest = bench.jobs("ppm", "score")[0].data_digests["camvid"]
    seeds = [str(job.config["seed"]) for job in bench.jobs("ppm", "score")]
    wanted = ("commit 4e1c2aa0", "torch 2.15.0", "Test GPU", "driver NVIDIA 580.1", "Profile **paper**", digest[:16])
    for text in (*wanted, *seeds, "the text says 1.0"):
        assert text in document.partition("<!--")[0], text


def test_other_versions_are_installed_and_mixed_ones_said(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.07)
    told = reproduce.record(bench.report())
    said = list(reproduce.lines(told, {"torch": "2.14.0"}))
    assert said[said.index("python -m pip install torch==2.15.0") - 1] == "# here: torch 2.14.0"
    told["packages"] = {"torch": ["2.14.0", "2.15.0+cu130"], "timm": ["1.0.31"]}
    said = list(reproduce.lines(told, HERE))
    assert "# torch: measured with 2.14.0, 2.15.0+cu130; the last one is in the line below" in said
    assert "python -m pip install torch==2.15.0 timm==1.0.31" in said
    assert "# here: timm is not installed" in said


def test_several_commits_and_uncommitted_changes_are_said(make: Make) -> None:
    told = {"command": "run", "commits": ["a" * 40, "b" * 40], "dirty": True, "keys": ["k"]}
    text = "\n".join(reproduce.lines(told, HERE))
    assert "2 commits" in text
    assert "uncommitted changes" in text
    assert f"git checkout {'b' * 40}" in text


def test_nothing_measured_is_said(make: Make) -> None:
    bench = make()
    told = list(reproduce.lines(reproduce.record(bench.report()), HERE))
    assert told[0].startswith("# nothing was measured")
    assert told[-1] == "python -m harness run pspnet_table5.yaml"


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=10), st.text(max_size=30), max_size=4))
def test_a_record_survives_its_comment(tmp_path_factory: pytest.TempPathFactory, told: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("r") / "report.md"
    comment = reproduce.embed({**told, "command": "--> <script> -- `"})
    inside = comment.removeprefix("<!-- reproduce: ").removesuffix(" -->")
    assert not set(inside) & set("-<>`")
    path.write_text(f"# text\n{comment}\n", encoding="utf-8")
    assert reproduce.read(path) == {**told, "command": "--> <script> -- `"}


@pytest.mark.parametrize(
    "text", ["", "# a report", "<!-- reproduce: nonsense -->", "<!-- reproduce: [] -->", "<!-- reproduce: {"]
)
def test_what_is_no_report_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="how it was made"):
        reproduce.read(path)
    with pytest.raises(UserError, match="cannot be read as a report: Is a directory"):
        reproduce.read(tmp_path)
    with pytest.raises(UserError, match="there is no such file; a report is"):
        reproduce.read(tmp_path / "absent.md")


def test_commands_cannot_be_smuggled_in(make: Make) -> None:
    told = {
        "command": "run",
        "commits": ["x; rm -rf ~\n# "],
        "packages": {"a b\n": ["1; reboot"]},
        "keys": ["k\nreboot"],
    }
    text = list(reproduce.lines(json.loads(json.dumps(told)), {}))
    assert "git checkout 'x; rm -rf ~ #'" in text
    assert "python -m pip install 'a b==1; reboot'" in text
    assert not [line for line in text if line.startswith("reboot")]


def test_the_record_is_not_part_of_what_a_reader_sees(make: Make) -> None:
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark", {"html": True}).render(markdown.render(make().report()))
    assert html.rstrip().endswith("-->")
    assert "reproduce:" in html.rpartition("<!--")[2]


def test_what_would_decide_is_listed_cheapest_first_with_its_command(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 41.5, 42.5, 43.5)
    bench.measure("aspp", "score", 42.0, 43.0, 44.0)
    report = bench.report()
    told = list(advice.lines([report, replace(report)]))
    assert told[0].endswith("cheapest first:")
    steps = advice.steps(report)
    assert steps
    assert told[1].startswith(f"   pspnet_table5/{steps[0].row}/{steps[0].column}: {steps[0].seeds} seed")
    assert f"--seeds {3 + steps[0].seeds} --rows {steps[0].row}" in told[2]
    assert list(advice.lines([])) == ["no inconclusive cell that more seeds can decide"]
