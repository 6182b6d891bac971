"""What every registered method owes the machine: the clauses of `python -m harness test`, on each of them.

The backbone is a tiny one with the pyramid of a dilated ResNet (strides 4, 8, 8, 8), so that the suite runs in seconds. A new
method is proved by this suite as soon as it is registered; `-k NAME` takes one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.conformance.clause import Clause, NotApplicable
from harness.conformance.method import CLAUSES, MethodSubject, count, it_can_be_counted
from harness.errors import UserError
from harness.tasks.complexity import conventions
from methods import registry

METHODS = [name for name in registry.names() if not registry.find(name).own_backbone]  # those are tested apart

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "clause", [c for c in CLAUSES if c.check is not it_can_be_counted], ids=lambda clause: clause.name
)
def test_it_holds(clause: Clause, name: str):
    try:
        clause.check(MethodSubject(name))
    except NotApplicable as reason:
        pytest.skip(f"{name}: {reason}")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("convention", sorted(conventions.COUNTERS))
def test_complexity_can_be_exported(name: str, convention: str):
    """Counted as a person would ask for it, on a real backbone; the counts of conventions differ, but not by much."""
    try:
        parameters, flops = count(MethodSubject(name), convention)
    except UserError as error:  # a convention may refuse an operator whose count nobody has published
        if "count this model under another convention" not in str(error):
            raise
        pytest.skip(str(error))
    backbone_parameters, backbone_flops = 11_176_512, 0.55e9
    assert backbone_parameters < parameters < 1.5 * backbone_parameters
    assert backbone_flops < flops < 2 * backbone_flops
