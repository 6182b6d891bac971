"""Markdown: what it says is on the page, and what others wrote cannot break it."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness import text
from harness.recipes.profile import Profile, Synthetic
from harness.store.store import Failure
from reports.formats import markdown, terminal
from tests.support.report_bench import TABLE, Make

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NASTY = [
    "a|b",
    "<script>alert(1)</script>",
    "**bold** _it_ ~~gone~~ `code`",
    "[x](javascript:alert(1))",
    "![x](y)",
    "&amp; &lt;",
    "# title",
    "- item",
    "1. item",
    "---",
    "$x$ @someone #1 :smile: https://a.b www.a.b",
    "</details>",
    "line\nbreak\ttab",
    "\\*",
    "[^1]: note",
    "| --- |",
]


def rendered(token: Token) -> str:
    """The text a reader sees of an inline token that holds nothing but text."""
    assert all(child.type in ("text", "text_special") for child in token.children or []), token.children
    return "".join(child.content for child in token.children or [])


@pytest.mark.parametrize("label", NASTY)
def test_hostile_text_renders_as_itself_everywhere(label: str) -> None:
    plain = " ".join(label.split())
    for document, at in (
        (f"| {text.markdown(label)} | b |\n|---|---|\n", 0),
        (text.markdown(label), 0),
        (f"- {text.markdown(label)}", 0),
    ):
        inline = [t for t in PARSER.parse(document) if t.type == "inline"]
        assert rendered(inline[at]) == plain, document


@example("__0__")
@example("methods/__init__.py")
@example("a__b_c_")
@given(st.text(max_size=60))
def test_any_text_renders_as_itself(label: str) -> None:
    expected = text.line(label)
    inline = [t for t in PARSER.parse(text.markdown(label)) if t.type == "inline"]
    if not expected:
        assert not inline
        return
    assert len(inline) == 1
    assert rendered(inline[0]).strip() == expected.strip()
    cells = [t for t in PARSER.parse(f"| {text.markdown(label)} | b |\n|---|---|\n") if t.type == "inline"]
    assert [rendered(cell) for cell in cells] == [expected.strip(), "b"]


@given(st.text(max_size=60))
def test_no_character_of_html_or_direction_is_left(label: str) -> None:
    made = text.markdown(label)
    assert not re.search(r"[<>|`\[\]\n\r\u202a-\u202e]", made)
    assert made.count("\u2068") == made.count("\u2069") <= 1


def test_right_to_left_text_is_isolated() -> None:
    assert text.line("שלום") == "\u2068שלום\u2069"
    assert text.line("a\u202eb") == "a\\u202eb"


def tables(document: str) -> list[list[list[str]]]:
    """The text of every cell of every table, table by table, row by row."""
    found: list[list[list[str]]] = []
    inside = False
    for token in PARSER.parse(document):
        if token.type in ("table_open", "table_close"):
            inside = token.type == "table_open"
            found += [[]] if inside else []
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and inside:
            found[-1][-1].append("".join(c.content for c in token.children or [] if c.type in ("text", "text_special")))
    return found


def test_the_table_has_the_papers_layout_and_says_the_verdicts(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.073792)
    bench.measure("ppm", "flops", 309.5)
    bench.measure("aspp", "params", 42.211328)
    bench.measure("other", "params", 27.45)
    table = tables(markdown.render(bench.report()))[0]
    assert table[0] == ["", "Params (M)", "FLOPs (G; mmcv-hooks)", "Time (ms; ratio to PPM)", "mIoU (%)"]
    assert [row[0] for row in table[1:]] == [
        "PPM", "ASPP", "OCR", "Quoted", "Later", "Not in the paper's table, ours", "ASPP, wider",
    ]  # fmt: skip
    assert table[1][1] == "23.07 · paper 23.07 · reproduced"
    assert table[1][2] == "309.50 · paper 309.45 (+0.05) · not reproduced"
    assert table[2][1].startswith("42.21 · paper 42.21 · fitted")
    assert table[7][1].startswith("27.45 · paper 42.21 (−14.76) · not reproduced")
    assert table[4][4].startswith("– · paper 41.5 · cited")


def test_footnotes_are_numbered_once_per_text(make: Make) -> None:
    bench = make()
    bench.measure("aspp", "params", 42.211328)
    bench.measure("aspp", "flops", 674.4703)
    bench.measure("other", "params", 27.45)
    document = markdown.render(bench.report())
    assert document.count("*fitted*<sup>1</sup>") == 2
    notes = re.findall(r"^(\d+)\. (.*)$", document, re.MULTILINE)
    assert [number for number, _ in notes] == [str(i + 1) for i in range(len(notes))]
    assert "reconstructed to meet this number" in notes[0][1]
    assert "The released one." in "".join(note for _, note in notes)
    used = {int(n) for marks in re.findall(r"<sup>([\d, ]+)</sup>", document) for n in marks.split(", ")}
    assert used == set(range(1, len(notes) + 1))


def test_times_show_quartiles_and_both_ratios(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "time", 10.0, latency_q25=9.5, latency_q75=12.0)
    bench.measure("aspp", "time", 25.0)
    table = tables(markdown.render(bench.report()))[0]
    assert table[1][3] == "10.0 (9.5 … 12.0) · 1.00 × · paper 20.0, 1.00 ×"
    assert table[2][3].startswith("25.0 · 2.50 × · paper 40.0, 2.00 ×")


def test_several_seeds_show_their_spread_and_what_would_decide(make: Make) -> None:
    bench = make(seeds=3)
    bench.measure("ppm", "score", 41.5, 42.5, 43.5)
    document = markdown.render(bench.report())
    cell = tables(document)[0][1][4]
    assert re.fullmatch(r"42\.50 ± 1\.0 \(n = 3\) · paper 42\.64 \(−0\.14\) · inconclusive \(\d+ more seeds\)", cell)


@pytest.mark.parametrize("state", ["stale", "failed", "not a number"])
def test_what_went_wrong_is_on_the_page(make: Make, state: str) -> None:
    bench = make()
    bench.measure("ppm", "flops", math.nan if state == "not a number" else 309.45)
    if state == "stale":
        bench.outdate("ppm", "flops")
    if state == "failed":
        bench = make()
        bench.fail("ocr", "flops", Failure("exception", "x | <b> y"))
    document = markdown.render(bench.report())
    assert re.search(r"<sup>\d+</sup>", document)
    assert {"stale": "methods/layers.py changed", "failed": "exception: x &#124; &#60;b&#62; y", "not a number": "NaN"}[
        state
    ] in document


def test_a_smoke_report_says_first_that_it_proves_nothing(make: Make) -> None:
    profile = Profile(name="smoke", about="a check", comparable=False, synthetic=Synthetic())
    bench = make(profile=profile)
    bench.measure("ppm", "params", 23.07)
    document = markdown.render(bench.report())
    assert document.index("not comparable") < document.index("| PPM |")
    assert "**reproduced**" not in document
    assert "--profile smoke" in document


def test_the_details_are_enough_to_repeat_and_keep_the_host_private(make: Make) -> None:
    bench = make(seeds=2)
    bench.measure("ppm", "score", 42.0, 42.5)
    document = markdown.render(bench.report())
    for job in bench.jobs("ppm", "score"):
        assert job.key[:16] in document
        assert str(job.config["seed"]) in document
        assert bench.plan.jobs[job.needs[0]].key[:16] in document
    for told in ("4e1c2aa0", "torch 2.15.0", "cuda: Test GPU, 2 threads", "Sec. 4", "the text says 1.0", "1612.01105"):
        assert told in document
    assert "git checkout " + "4e1c2aa0" * 5 in document
    assert "run pspnet_table5.yaml --seeds 2" in document
    assert "somewhere-private" not in document
    assert str(bench.folder) not in document


def test_hostile_names_do_not_break_the_report(make: Make) -> None:
    label = " ".join(NASTY) + "x" * 10_000
    rows = {**TABLE["rows"], "ppm": {**TABLE["rows"]["ppm"], "label": label, "group": "|g|", "notes": "</details>|"}}
    columns = {**TABLE["columns"], "params": {"label": "|<b>", "metric": "parameters", "note": "a | b"}}
    bench = make(rows=rows, columns=columns, title="<i> | t", notes=["- <b>|"], about="# no heading")
    bench.measure("ppm", "params", 23.07)
    document = markdown.render(bench.report())
    plain = markdown.render(make().report())
    assert document.count("<details>") == document.count("</details>") == plain.count("<details>")
    for table in tables(document):
        assert len({len(row) for row in table}) == 1
    headings = [t for t in PARSER.parse(document) if t.type == "heading_open"]
    assert [t.tag for t in headings].count("h1") == 1
    assert "x" * 9_000 in document  # in full under "Rows", cut in the table
    assert max(len(line) for line in document.splitlines() if line.startswith("| a")) < 3_000


def test_an_empty_store_and_an_empty_selection_still_give_a_page(make: Make) -> None:
    document = markdown.render(make().report())
    assert "\n0 of 20 cells measured: " in document
    assert " Rows of ours, not in the paper's table: 0 of 4 cells measured: 4 not run.\n" in document
    empty = make().report()
    none = type(empty)(empty.table, empty.profile, (0,), {}, (), (), {})
    assert "No cell is selected" in markdown.render(none)


def test_rows_that_we_added_are_in_no_count_of_the_papers(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.07)
    bench.measure("other", "params", 50.0)
    bench.measure("other", "flops", 1.0)
    document = markdown.render(bench.report())
    assert "\n1 of 20 cells measured: " in document
    assert "ours, not in the paper's table: 2 of 4 cells measured: 2 not reproduced · 2 not run." in document
    assert "| 2 of ours | not reproduced | " in document
    assert "+ 2 of ours | not run | " in document
    text = terminal.render(bench.report())
    assert re.search(r"^cells: .*reproduced 1", text, re.M)
    assert re.search(r"^ours: ✗ not reproduced 2 · – not run 2$", text, re.M)
    own = make(published={"values": {}}, rows={"ppm": {**TABLE["rows"]["ppm"], "extra": True}}, claims=[])
    document = markdown.render(own.report())
    assert " of 4 cells measured: " in document
    assert "of ours" not in document


def test_the_same_store_gives_the_same_report(make: Make) -> None:
    bench = make()
    bench.measure("ppm", "params", 23.07)
    assert markdown.render(bench.report()) == markdown.render(bench.report())


def test_figures_have_their_text_alternative(make: Make) -> None:
    document = markdown.render(make().report(), figures={"a [curve]": "t/curves.svg"})
    assert "![a &#91;curve&#93;](t/curves.svg)" in document


def test_printed_gains_are_on_the_page(make: Make) -> None:
    values = {"ppm": {"score": 42.64}, "aspp": {"score": {"value": 43.19, "gain": 0.55}, "params": 42.21}}
    bench = make(published={"values": values})
    bench.measure("ppm", "score", 40.0)
    bench.measure("aspp", "score", 41.0)
    document = markdown.render(bench.report())
    assert "1 of 1 measured gains have the sign that the paper prints" in document
    assert "| ASPP, mIoU | PPM | +0.55 | +1.00 |" in document
    values["aspp"]["score"] = {"value": 43.19, "gain": 0.65}
    assert "no row of the table is +0.65 away" in markdown.render(make(published={"values": values}).report())


def test_what_a_cell_does_differently_is_under_rows(make: Make) -> None:
    rows = {**TABLE["rows"], "ppm": {**TABLE["rows"]["ppm"], "cells": {"score": {"options": {"channels": 64}}}}}
    assert "in score: channels 64" in markdown.render(make(rows=rows).report())
