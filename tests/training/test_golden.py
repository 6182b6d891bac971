"""Every method's first losses are what they were (tests/support/golden.py says how to change them)."""

import json
import os
import subprocess
import sys

import pytest

from harness import ROOT
from methods import registry
from tests.support import golden

COMPARED = 10
"""Steps compared. Later a batch norm over two samples, which is a sign, turns rounding into other decisions."""

NEAR = 1e-6
"""Relative; curves are written in float32's precision, and instruction sets differ by less over these steps."""

TINY = 1e-8
"""Absolute: of a term that is a small difference of large ones."""

LEAST = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""What a processor without AVX would compute with; set before torch is loaded."""

# a method that brings its own backbone is held by the library that it comes from: test_mmsegmentation.py, test_transformers.py
METHODS = [name for name in registry.names("method") if not registry.find(name).own_backbone]


def expected(method: str) -> list[dict[str, float]]:
    path = golden.FOLDER / f"{method}.json"
    assert path.exists(), f"write one: python tests/support/golden.py --reason 'a new method' {method}"
    terms = json.loads(path.read_text(encoding="utf-8"))["terms"]
    assert len(terms) == golden.STEPS
    return terms[:COMPARED]


def assert_near(terms: list[dict[str, float]], method: str) -> None:
    for step, (ours, theirs) in enumerate(zip(terms, expected(method), strict=True)):
        assert ours == pytest.approx(theirs, rel=NEAR, abs=TINY), f"{method}, step {step}"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_losses_are_the_golden_ones(method):
    assert_near(golden.losses(method, COMPARED), method)


@pytest.mark.slow
def test_losses_are_the_golden_ones_on_the_least_capable_processor():
    """Every method in one process that may use no AVX at all."""
    code = (
        "import json, sys; from tests.support import golden; "
        f"print(json.dumps({{m: golden.losses(m, {COMPARED}) for m in sys.argv[1:]}}))"
    )
    command = [sys.executable, "-c", code, *METHODS]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **LEAST}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for method, terms in json.loads(done.stdout.splitlines()[-1]).items():
        assert_near(terms, method)


def test_a_changed_learning_rate_is_seen(monkeypatch: pytest.MonkeyPatch):
    """By one part in a thousand: far above what rounding moves."""
    plain = golden.learning_rate_factor
    monkeypatch.setattr(golden, "learning_rate_factor", lambda *schedule: 1.001 * plain(*schedule))
    with pytest.raises(AssertionError, match="fcn, step"):
        assert_near(golden.losses("fcn", COMPARED), "fcn")


def test_no_curve_of_a_method_that_is_gone():
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == set(METHODS)


def test_golden_trainings_learn():
    """A curve that goes nowhere would guard nothing."""
    for path in golden.FOLDER.glob("*.json"):
        totals = [sum(terms.values()) for terms in json.loads(path.read_text(encoding="utf-8"))["terms"]]
        assert sum(totals[-10:]) < 0.97 * sum(totals[:10]), path.stem
