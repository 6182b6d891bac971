"""The minimal example, run as its README says: a table, a recipe and a method that the checkout does not know of."""

from __future__ import annotations

import re
import shutil

import pytest

from harness import ROOT
from harness.table.load import load
from tests.support.checkout import Checkout

COMMAND = ("run", "examples/minimal.yaml", "--profile", "smoke")


@pytest.fixture
def example(checkout: Checkout) -> Checkout:
    """A copy of the checkout with the example in it."""
    shutil.copytree(ROOT / "examples", checkout.root / "examples", dirs_exist_ok=True)
    return checkout


def test_the_readme_gives_this_command():
    assert f"python -m harness {' '.join(COMMAND)}" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


def test_the_table_names_a_method_outside_the_registry():
    table = load(ROOT / "examples" / "minimal.yaml")
    assert table.rows["parsenet"].method is not None
    assert table.rows["parsenet"].method.name == str(ROOT / "examples/parsenet.py:parsenet")


@pytest.mark.slow
def test_the_example_is_measured_once_and_an_edit_of_its_method_measures_that_row_again(example: Checkout):
    printed = example(*COMMAND, "--no-figures")
    assert "4 of 4 cells measured" in printed
    assert "parsenet better than fcn" in printed
    assert (example.results / "reports" / "minimal.smoke.md").is_file()
    assert "6 already measured, 0 to run" in example("plan", *COMMAND[1:])

    method = example.root / "examples" / "parsenet.py"
    method.write_text(method.read_text(encoding="utf-8").replace("F.normalize(x, dim=1)", "x"), encoding="utf-8")
    assert "3 already measured, 3 to run" in example("plan", *COMMAND[1:])
    why = example("why", "examples/minimal.yaml/parsenet/scenes", *COMMAND[2:])
    assert "not measured" in why
    assert re.search(r"parsenet\S*\.py changed", why)
