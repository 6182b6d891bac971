"""Clauses of a contract, and what comes of checking them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from harness import ROOT
from harness.errors import MissingError, UserError

Subject = TypeVar("Subject")


class Broken(Exception):
    """A clause does not hold; the message says what was seen, and what was expected."""


class NotApplicable(Exception):
    """A clause says nothing of this subject; the message says why."""


@dataclass(frozen=True)
class Clause(Generic[Subject]):
    """One thing that a contract promises. `check` raises Broken where it does not hold, NotApplicable where it asks nothing.
    `needed`: where it does not hold, the clauses after it could only repeat why."""

    promise: str
    check: Callable[[Subject], None]
    needed: bool = False

    @property
    def name(self) -> str:
        return self.check.__name__


@dataclass(frozen=True)
class Finding:
    """What came of one clause. `holds`: None where it is not judged; `message`: why not; `missing`: what is not there for it."""

    clause: Clause
    holds: bool | None
    message: str = ""
    missing: MissingError | None = None

    def line(self) -> str:
        """The finding for people."""
        sign = {True: "✓", False: "✗", None: "–"}[self.holds]
        return f" {sign} {self.clause.promise}" + (f"\n     {self.message}" if self.message else "")


def findings(clauses: Sequence[Clause[Subject]], subject: Subject) -> Iterator[Finding]:
    """Checks one clause after another, up to a broken one that the others need. What the subject itself raises breaks the
    clause, with the line where it arose; what is missing here (a package, a dataset) leaves it unjudged."""
    for clause in clauses:
        finding = _finding(clause, subject)
        yield finding
        if clause.needed and not finding.holds:
            return


def _finding(clause: Clause[Subject], subject: Subject) -> Finding:
    try:
        clause.check(subject)
    except NotApplicable as reason:
        return Finding(clause, None, str(reason))
    except MissingError as error:
        return Finding(clause, None, missing=error)
    except (Broken, UserError) as error:
        return Finding(clause, False, str(error))
    except Exception as error:  # whatever code of someone's own may raise
        return Finding(clause, False, f"raises {type(error).__name__}: {_first_line(error)}{_place(error)}")
    return Finding(clause, True)


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
