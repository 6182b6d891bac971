"""The nightly file: every error at once, and no accepted level for a cell that does not exist."""

from __future__ import annotations

import pytest

from harness import ROOT
from harness.errors import Problems
from harness.nightly.config import load


def test_the_shipped_file_is_right():
    assert load(ROOT / "slurm/nightly.yaml").slice.gpu_hours > 0


def test_every_error_of_a_nightly_file_at_once(write):
    with pytest.raises(Problems) as caught:
        load(write("n.yaml", "slice: {gpu_hours: 0}\nsuspekts: 1\nnotify: mail\n"))
    assert {p.key for p in caught.value.problems} == {"slice.gpu_hours", "suspekts", "notify"}


def test_an_accepted_level_names_a_cell_and_a_date(write):
    """A mistyped one would silence its cell for ever."""
    text = f"slice:\n  tables: ['{ROOT / 'tables/idrnet_table2.yaml'}']\n  accepted:\n    {{}}: {{}}\n"
    made = load(write("n.yaml", text.format("idrnet_table2/fcn/lip", "2026-01-08")))
    assert made.slice.accepted == {"idrnet_table2/fcn/lip": "2026-01-08"}
    with pytest.raises(Problems, match=r"n.yaml:4: .*no.* this cell. Did you mean 'idrnet_table2/fcn/lip'"):
        load(write("n.yaml", text.format("idrnet_table2/fnc/lip", "2026-01-08")))
    with pytest.raises(Problems, match=r"n.yaml:4: .*'soon' is not a date; write YYYY-MM-DD"):
        load(write("n.yaml", text.format("idrnet_table2/fcn/lip", "soon")))
