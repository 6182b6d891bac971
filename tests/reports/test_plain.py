"""CSV and terminal: every cell is there, in columns that line up, with nothing made up."""

from __future__ import annotations

import csv
import io
import math

import pytest
from report_bench import TABLE, Bench, Make

from harness.store import Failure
from reports import csvfile, terminal
from reports.text import duration, pad, width


def filled(make: Make, **changes: object) -> Bench:
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
    text = csvfile.render(filled(make).sheet())
    head, *lines = text.splitlines()
    assert head == "table,row,column,measured,published,difference,unit,convention,verdict,n,profile"
    assert len(lines) == 6 * 4
    assert csvfile.render(filled(make).sheet(), header=False).splitlines() == lines


def test_csv_gives_all_digits_measured_and_the_printed_ones_published(make: Make) -> None:
    line = records(csvfile.render(filled(make).sheet()))["ppm", "params"]
    assert (line["measured"], line["published"]) == ("23.073792", "23.07")
    assert float(line["difference"]) == pytest.approx(0.003792, abs=1e-12)
    assert (line["unit"], line["verdict"], line["n"], line["profile"]) == ("M", "reproduced", "1", "paper")
    assert records(csvfile.render(filled(make).sheet()))["ppm", "score"]["n"] == "2"


def test_csv_gives_no_number_for_what_is_not_current(make: Make) -> None:
    lines = records(csvfile.render(filled(make).sheet()))
    for place, state in ((("ocr", "flops"), "stale"), (("aspp", "score"), "failed"), (("quoted", "score"), "cited")):
        assert (lines[place]["measured"], lines[place]["difference"], lines[place]["verdict"]) == ("", "", state)
        assert lines[place]["n"] == "0"


def test_csv_shows_nan_and_infinity(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", math.nan)
    bench.measure("ppm", "flops", math.inf)
    lines = records(csvfile.render(bench.sheet()))
    assert (lines["ppm", "params"]["measured"], lines["ppm", "flops"]["measured"]) == ("nan", "inf")
    assert lines["ppm", "params"]["verdict"] == "not a number"


def test_terminal_puts_measured_beside_published_with_a_mark(make: Make) -> None:
    text = terminal.render(filled(make).sheet())
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
    text = terminal.render(bench.sheet())
    assert max(map(width, text.splitlines())) <= terminal.COLUMNS
    heads = [line for line in text.splitlines() if "measured" in line]
    assert len(heads) > 1  # the columns go on below
    assert sum(line.count("measured") for line in heads) == 30


def test_terminal_leaves_out_the_papers_column_where_nothing_is_published(make: Make) -> None:
    bench = make(published={"values": {"aspp": {"params": 42.21}}})
    head = next(line for line in terminal.render(bench.sheet()).splitlines() if "measured" in line)
    assert head.split() == ["measured", "paper", "measured", "measured", "ratio", "paper", "measured"]


def test_control_characters_of_a_label_do_not_reach_the_terminal(make: Make) -> None:
    bench = make(title="a\x1b[31mred\u202e\nnew")
    text = terminal.render(bench.sheet())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "a\\x1b[31mred\\u202e new" in text


def test_an_empty_store_renders_everywhere(make: Make) -> None:
    sheet = make().sheet()
    assert "not run" in terminal.render(sheet)
    assert len(csvfile.render(sheet).splitlines()) == 25


def test_width_counts_what_a_terminal_shows() -> None:
    assert (width("ab"), width("变换"), width("e\u0301")) == (2, 4, 1)
    assert width(pad("变", 5)) == width(pad("ab", 5, right=True)) == 5


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(4, "4 s"), (59.6, "1 min"), (720, "12 min"), (11_100, "3 h 05 min"), (190_000, "2 d 4 h"), (3599, "1 h 00 min")],
)
def test_durations_read_well(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
