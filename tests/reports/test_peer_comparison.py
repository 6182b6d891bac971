"""Numbers beside another toolbox's: as Markdown in a file, as text on a terminal."""

from __future__ import annotations

from reports.peer_comparison import markdown_lines, terminal_lines

ROWS = [
    ("cell", "metric", "published", "ours", "mmsegmentation", "difference"),
    ("idrnet_table2/fcn/cityscapes", "mean IoU (%)", "75.16", "74.90 (n = 3)", "75.01 (n = 3)", "-0.11"),
    ("ecenet_table3/a_row_with_a_rather_long_name_of_its_own/ms", "mean IoU (%)", "–", "–", "–", "–"),
]


def test_a_terminal_gets_numbers_below_each_other_and_no_markdown() -> None:
    lines = terminal_lines(ROWS, 160)
    assert len(lines) == 3
    assert "|" not in "".join(lines)
    assert {line.index(text) + len(text) for line, text in zip(lines, ("published", "75.16", "–"))} == {
        lines[0].index("published") + len("published")
    }
    assert lines[1].split() == " ".join(ROWS[1]).split()


def test_where_that_is_too_wide_names_stand_above_their_numbers_and_nothing_is_cut() -> None:
    lines = terminal_lines(ROWS, 80)
    assert max(map(len, lines)) <= 80
    assert [lines[1], lines[3]] == [ROWS[1][0], ROWS[2][0]]
    assert lines[2].split() == " ".join(ROWS[1][1:]).split()
    assert {lines[0].index("difference") + len("difference"), *map(len, (lines[2], lines[4]))} == {len(lines[0])}


def test_the_file_stays_markdown() -> None:
    assert markdown_lines(ROWS)[:2] == [f"| {' | '.join(ROWS[0])} |", "|---|---|---:|---:|---:|---:|"]
