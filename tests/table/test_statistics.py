"""What a score is of several runs: which numbers of runs a table file may say, and where."""

from __future__ import annotations

import pytest

from tests.support.table_text import problems, table

GOOD = """\
paper: ours
table: 1
title: A table
metric: miou
defaults: {backbone: resnet50_v1c, output_stride: 8}
columns:
  ade: {label: ADE20K, recipe: idrnet/ade20k}
  city: {label: Cityscapes, recipe: idrnet/cityscapes}
rows:
  fcn: {label: FCN, method: fcn}
published:
  values:
    fcn: {ade: 36.90, city: 75.16}
"""


@pytest.mark.parametrize(
    ("before", "after", "line", "key"),
    [
        ("published:\n", "published:\n  runs: 5\n", 12, "published.runs"),
        ("published:\n", "published:\n  statistic: mean\n  of: 5\n", 13, "published.of"),
        ("recipe: idrnet/ade20k}", "recipe: idrnet/ade20k, runs: 3}", 7, "columns.ade.runs"),
        ("recipe: idrnet/ade20k}", "recipe: idrnet/ade20k, statistic: mean, of: 3}", 7, "columns.ade.of"),
        ("method: fcn}", "method: fcn, statistic: best, runs: 3}", 10, "rows.fcn.runs"),
        ("method: fcn}", "method: fcn, of: 3}", 10, "rows.fcn.of"),
    ],
)
def test_a_number_of_runs_goes_with_its_statistic(before: str, after: str, line: int, key: str):
    ((at, where, message),) = problems(GOOD.replace(before, after, 1))
    assert (at, where) == (line, key)
    assert "goes with 'statistic:" in message


def test_runs_stand_in_a_column_or_a_row_too():
    text = GOOD.replace("recipe: idrnet/ade20k}", "recipe: idrnet/ade20k, statistic: best, of: 4}")
    assert table(text).columns["ade"].of == 4
    text = GOOD.replace("method: fcn}", "method: fcn, statistic: mean, runs: 3}")
    assert table(text).rows["fcn"].runs == 3
    ((_, _, message),) = problems(GOOD.replace("method: fcn}", "method: fcn, statistic: mean, runs: 1}"))
    assert "greater than 1" in message
