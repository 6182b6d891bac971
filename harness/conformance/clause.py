"""Clauses of a contract, and what comes of checking them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from harness import ROOT
from harness.errors import UserError

Subject = TypeVar("Subject")


class Broken(Exception):
    """A clause does not hold; the message says what was seen, and what was expected."""


class NotApplicable(Exception):
    """A clause says nothing of this subject; the message says why."""


@dataclass(frozen=True)
class Clause(Generic[Subject]):
    """One thing that a contract promises. `check` raises Broken where it does not hold, NotApplicable where it asks nothing."""

    promise: str
    check: Callable[[Subject], None]

    @property
    def name(self) -> str:
        return self.check.__name__


@dataclass(frozen=True)
class Finding:
    """What came of one clause. `holds`: None where it does not apply; `message`: why not."""

    clause: Clause
    holds: bool | None
    message: str = ""

    def line(self) -> str:
        """The finding for people."""
        sign = {True: "✓", False: "✗", None: "–"}[self.holds]
        return f" {sign} {self.clause.promise}" + (f"\n     {self.message}" if self.message else "")


def findings(clauses: Sequence[Clause[Subject]], subject: Subject) -> Iterator[Finding]:
    """Checks one clause after another. What the subject itself raises breaks the clause, with the line where it arose."""
    for clause in clauses:
        try:
            clause.check(subject)
        except NotApplicable as reason:
            yield Finding(clause, None, str(reason))
        except Broken as error:
            yield Finding(clause, False, str(error))
        except UserError as error:
            yield Finding(clause, False, str(error))
        except Exception as error:  # whatever code of someone's own may raise
            yield Finding(clause, False, f"raises {type(error).__name__}: {_first_line(error)}{_place(error)}")
        else:
            yield Finding(clause, True)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else "without a message"


def _place(error: Exception) -> str:
    """Where an error arose: the innermost line that is neither a package's nor of these rooms."""
    ours = ROOT / "harness"
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [
        (file, line)
        for file, line in frames
        if ours not in file.parents and "site-packages" not in file.parts and file.is_file()
    ]
    return f" ({own[-1][0]}:{own[-1][1]})" if own else ""
