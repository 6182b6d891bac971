"""CSV and terminal: every cell is there, in columns that line up, with nothing made up."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from harness.cli import output
from harness.jobs.job import Measurement
from harness.store.store import Failure
from harness.text import duration, printable, spreadsheet_cell
from reports.formats import csv as csv_format
from reports.formats import latex, markdown, terminal
from reports.table_report import counts, table_reports
from tests.support.report_bench import ENVIRONMENT, TABLE, Make, ReportBench


def filled(make: Make, **changes: object) -> ReportBench:
    bench = make(seeds=2, **changes)
    bench.measure("ppm", "params", 23.073792)
    bench.measure("aspp", "params", 42.211328)
    bench.measure("other", "params", 27.45)
    bench.measure("ppm", "time", 10.0)
    bench.measure("aspp", "time", 25.0)
    bench.measure("ppm", "score", 42.0, 42.5)
    bench.measure("ocr", "flops", 242.48)
    bench.outdate("ocr", "flops")
    bench.fail("aspp", "score", Failure("killed", "signal 9"))
    return bench


def records(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(line["row"], line["column"]): line for line in csv.DictReader(io.StringIO(text))}


def test_csv_has_this_header_and_a_line_per_cell(make: Make) -> None:
    text = csv_format.render(filled(make).report())
    head, *lines = text.splitlines()
    cell, origin = (
        "table,row,column,measured,sd,low,high,published,difference,difference_low,difference_high,unit,convention",
        "verdict,n,profile,seeds,values,keys,commit",
    )
    assert head == f"{cell},{origin},device,packages,data,recipe,warning"
    assert len(lines) == 6 * 4
    assert csv_format.render(filled(make).report(), header=False).splitlines() == lines


def test_csv_gives_all_digits_measured_and_the_printed_ones_published(make: Make) -> None:
    line = records(csv_format.render(filled(make).report()))["ppm", "params"]
    assert (line["measured"], line["published"]) == ("23.073792", "23.07")
    assert float(line["difference"]) == pytest.approx(0.003792, abs=1e-12)
    assert (line["unit"], line["verdict"], line["n"], line["profile"]) == ("M", "reproduced", "1", "paper")
    assert records(csv_format.render(filled(make).report()))["ppm", "score"]["n"] == "2"


def test_csv_says_where_each_number_comes_from(make: Make) -> None:
    bench = filled(make)
    line = records(csv_format.render(bench.report()))["ppm", "score"]
    assert line["seeds"].split("; ") == [str(job.config["seed"]) for job in bench.jobs("ppm", "score")]
    assert len(line["keys"].split("; ")) == 4  # two trainings, two tests
    assert (line["commit"], line["packages"]) == (ENVIRONMENT["commit"], "torch 2.15.0")
    assert line["device"] == "cuda: Test GPU, driver NVIDIA 580.1"
    assert line["data"].startswith("camvid ")
    assert line["recipe"] == "mini/scenes; schedule.power: the text says 1.0"
    assert records(csv_format.render(bench.report()))["quoted", "score"]["commit"] == ""


def test_csv_has_every_repetition_its_spread_and_both_intervals(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 42.0, 43.0, 44.0)
    bench.measure("ppm", "params", 23.07)
    lines = records(csv_format.render(bench.report()))
    line = lines["ppm", "score"]
    assert (line["values"], float(line["sd"])) == ("42; 43; 44", 1.0)
    assert len(line["seeds"].split("; ")) == 3
    half = 2.919986 / 3**0.5  # of Student's t with two degrees of freedom
    assert (float(line["low"]), float(line["high"])) == pytest.approx((43 - half, 43 + half), rel=1e-6)
    verdict = bench.report().cells["ppm", "score"].verdict
    assert verdict.interval is not None
    assert (float(line["difference_low"]), float(line["difference_high"])) == pytest.approx(verdict.interval)
    counted = lines["ppm", "params"]
    assert (counted["values"], counted["sd"], counted["low"], counted["difference_low"]) == ("23.07", "", "", "")
    assert lines["quoted", "score"]["values"] == ""


def test_jobs_that_no_cell_names_are_counted_in_one_line(make: Make) -> None:
    bench = filled(make)
    for i in range(3):
        job = bench.jobs("ppm", "params")[0]
        stranger = replace(job, identity=f"{i}" * 64, key="e" * 64)
        bench.store.finish(stranger, [Measurement("parameters", 1.0)], ENVIRONMENT, started=1.7e9)
    (report,) = table_reports(bench.plan, bench.store)
    assert report.other_jobs == 3
    said = "3 finished jobs are named by no cell here"
    for text in (terminal.render(report), markdown.render(report), latex.render(report)):
        assert text.count(said) == 1
    assert csv_format.render(report) == csv_format.render(replace(report, other_jobs=0))  # cells alone: no footer


@pytest.mark.parametrize("damage", ['"schema": 0,', '"schema": 2,', ""])
def test_a_result_of_another_version_is_counted_and_says_what_to_do(make: Make, damage: str) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.07)
    file = bench.store.folder(bench.jobs("ppm", "params")[0]) / "result.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"schema": 1,', damage) if damage else text[:40], encoding="utf-8")
    report = bench.report()
    assert counts(report)["unreadable"] == 2  # parameters and FLOPs are one job's
    assert records(csv_format.render(report))["ppm", "params"]["verdict"] == "unreadable"
    for made in (markdown.render(report), terminal.render(report)):
        assert "another version or is not whole; python -m harness run measures it again" in made


def test_the_terminal_says_where_the_numbers_come_from(make: Make) -> None:
    text = terminal.render(filled(make).report())
    assert "measured at 4e1c2aa04e1c, on cuda: Test GPU, driver NVIDIA 580.1; torch 2.15.0" in text
    assert "profile paper; data: camvid (" in text
    assert "differs from the paper: schedule.power: the text says 1.0 (mini/scenes)" in text


def test_csv_gives_no_number_for_what_is_not_current(make: Make) -> None:
    lines = records(csv_format.render(filled(make).report()))
    for place, state in ((("ocr", "flops"), "stale"), (("aspp", "score"), "failed"), (("quoted", "score"), "cited")):
        assert (lines[place]["measured"], lines[place]["difference"], lines[place]["verdict"]) == ("", "", state)
        assert lines[place]["n"] == "0"


def test_csv_shows_nan_and_infinity(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", math.nan)
    bench.measure("ppm", "flops", math.inf)
    lines = records(csv_format.render(bench.report()))
    assert (lines["ppm", "params"]["measured"], lines["ppm", "flops"]["measured"]) == ("nan", "inf")
    assert lines["ppm", "params"]["verdict"] == "not a number"


def test_terminal_puts_measured_beside_published_with_a_mark(make: Make) -> None:
    text = terminal.render(filled(make).report())
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["PPM"][1:4] == ["23.07", "23.07", "✓"]
    assert lines["ASPP"][1:4] == ["42.21", "42.21", "f"]
    assert lines["ASPP, wider"][2:5] == ["27.45", "42.21", "✗"]
    assert "×2.50" in lines["ASPP"]
    assert "×2.00" in lines["ASPP"]
    assert "✓ reproduced 1" in text
    assert "signal 9" in text
    assert text.index("not in the paper's table") < text.index("ASPP, wider")


def test_terminal_lines_are_aligned_and_at_most_160_wide(make: Make) -> None:
    columns = {f"c{i}": {**TABLE["columns"]["params"], "label": f"column {i} " + "x" * 60} for i in range(30)}
    rows = {**TABLE["rows"], "ppm": {**TABLE["rows"]["ppm"], "label": "变换" * 100}}
    bench = make(columns=columns, rows=rows, published={"values": {"aspp": {"c1": 1.5}}}, claims=[], title="t" * 500)
    text = terminal.render(bench.report())
    assert max(map(cell_len, text.splitlines())) <= terminal.COLUMNS
    heads = [line for line in text.splitlines() if "measured" in line]
    assert len(heads) > 1  # the columns go on below
    assert sum(line.count("measured") for line in heads) == 30


@pytest.mark.parametrize("width", [80, 100, 240])
def test_terminal_keeps_to_its_width_and_cuts_no_sentence(make: Make, width: int) -> None:
    bench = make(seeds=2, title=f"Context modules {'of many words ' * 12}with an end", claims=TABLE["claims"])
    bench.measure("ppm", "score", 42.1, 42.9)
    bench.measure("aspp", "score", 41.1, 41.9)
    bench.fail("ocr", "score", Failure("killed", f"by {'one signal or other, ' * 12}the last of them"))
    text = terminal.render(bench.report(), width)
    assert max(map(cell_len, text.splitlines())) <= width
    joined = " ".join(text.split())
    assert "…" not in text
    for sentence in ("of many words with an end", "the last of them", "driver NVIDIA 580.1", "(mini/scenes)"):
        assert sentence in joined
    heads = [line for line in text.splitlines() if "measured" in line and "paper" in line]
    assert sum(line.count("measured") for line in heads) == 4
    assert (len(heads) == 1) == (width == 240)  # else a block per group of columns, with the rows' labels in each
    assert sum(line.startswith("ASPP, wider") for line in text.splitlines()) == len(heads)


def test_colour_is_of_marks_alone_and_changes_nothing_else(make: Make) -> None:
    report = filled(make).report()
    plain, coloured = terminal.render(report, 80), terminal.render(report, 80, colour=True)
    assert "\x1b[32m✓" in coloured
    assert "\x1b[31m✗" in coloured
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == plain
    assert "\x1b" not in plain


def test_a_label_cannot_colour_a_terminal_that_has_colours(make: Make) -> None:
    text = terminal.render(make(title="a\x1b[31mred").report(), 80, colour=True)
    assert "a\\x1b[31mred" in text


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("", "")])
def test_colour_is_for_terminals_that_want_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: bool(name), raising=False)
    if name:
        assert output.has_colour()
        monkeypatch.setenv(name, value)
    assert not output.has_colour()


def test_terminal_leaves_out_the_papers_column_where_nothing_is_published(make: Make) -> None:
    bench = make(published={"values": {"aspp": {"params": 42.21}}})
    head = next(line for line in terminal.render(bench.report()).splitlines() if "measured" in line)
    assert head.split() == ["measured", "paper", "measured", "measured", "ratio", "paper", "measured"]


def test_control_characters_of_a_label_do_not_reach_the_terminal(make: Make) -> None:
    bench = make(title="a\x1b[31mred\u202e\nnew")
    text = terminal.render(bench.report())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a\\x1b[31mred\\u202e new" in text


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-x", "@SUM(1)", "\tx", "\rx", "\nx", "＝1", "'=1", "-1e", "--1", "+1;=2"]
)
def test_no_cell_of_a_csv_file_is_a_formula(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"
    assert spreadsheet_cell(text).removeprefix("'") == text


@pytest.mark.parametrize(
    "text", ["", "a=b", "-1.5", "+0.30", "-1.2e-05", "-inf", "nan", ">150", "it's", "idrnet/ade20k"]
)
def test_numbers_and_plain_text_of_a_csv_file_stay_as_they_are(text: str) -> None:
    assert spreadsheet_cell(text) == text


def test_a_device_that_reads_like_a_formula_is_none_in_the_csv(make: Make) -> None:
    bench = make()
    job = bench.jobs("ppm", "params")[0]
    environment = {**ENVIRONMENT, "device": '=HYPERLINK("x")', "driver": ""}
    bench.store.finish(job, [Measurement("parameters", 23.07e6)], environment, started=1.79e9)
    assert records(csv_format.render(bench.report()))["ppm", "params"]["device"] == '\'=HYPERLINK("x")'


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31mred\x9b\r\u202e\tx\n  é ü 漢 …") == "a\\x1b[31mred\\x9b\\r\\u202e\\tx\n  é ü 漢 …"


def test_a_duration_that_is_not_finite_is_said_as_such() -> None:
    assert [duration(float(text)) for text in ("inf", "nan")] == ["∞", "∞"]


def test_an_empty_store_renders_everywhere(make: Make) -> None:
    report = make().report()
    assert "not run" in terminal.render(report)
    assert len(csv_format.render(report).splitlines()) == 25


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.04, "0.0 s"), (4, "4.0 s"), (59.96, "1 min 00 s"), (192, "3 min 12 s"), (3599.7, "1 h 00 min"),
     (11_100, "3 h 05 min"), (86_399.9, "1 d 0 h"), (190_000, "2 d 4 h")],
)  # fmt: skip
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_unit_that_the_label_has_stands_there_once(make: Make) -> None:
    columns = {**TABLE["columns"], "params": {"label": "Params (M)", "metric": "parameters"}}
    report = make(columns=columns).report()
    for text in (terminal.render(report), latex.render(report), markdown.render(report)):
        assert "Params (M)" in text
        assert "(M) (M)" not in text
