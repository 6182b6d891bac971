"""Every method's first fifty losses are what they were (golden.py says how to change them)."""

import json

import pytest

from methods import registry
from tests.support import golden

NEAR = 5
"""Steps compared where processor or torch differ: later, rounding has grown into other decisions."""


@pytest.mark.slow
@pytest.mark.parametrize("method", registry.names("method"))
def test_losses_are_the_golden_ones(method):
    path = golden.FOLDER / f"{method}.json"
    assert path.exists(), f"write one: python tests/support/golden.py --reason 'a new method' {method}"
    expected = json.loads(path.read_text(encoding="utf-8"))
    terms = golden.losses(method)
    assert len(expected["terms"]) == golden.STEPS
    if expected["environment"] == golden.environment():
        assert terms == expected["terms"]
    else:
        for ours, theirs in zip(terms[:NEAR], expected["terms"]):
            assert ours == pytest.approx(theirs, rel=1e-3)


def test_no_curve_of_a_method_that_is_gone():
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == set(registry.names("method"))


def test_golden_trainings_learn():
    """A curve that goes nowhere would guard nothing."""
    for path in golden.FOLDER.glob("*.json"):
        main = [terms["main"] for terms in json.loads(path.read_text(encoding="utf-8"))["terms"]]
        assert sum(main[-10:]) < 0.97 * sum(main[:10]), path.stem
