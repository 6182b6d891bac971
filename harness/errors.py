"""Exceptions for users and the exit code of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `python -m harness`; scripts and the nightly rely on them."""

    OK = 0
    FAILED = 1  # at least one selected cell could not be measured
    INPUT = 2  # a file or an argument is wrong; nothing was run
    MISSING = 3  # a dataset, weights or an optional package is not there
    OUTPUT = 4  # results cannot be written (permissions, full disk)
    NOTHING = 5  # the selection contains no cell, or nothing was measured
    RESUMABLE = 75  # a job stopped on request after a checkpoint; run it again to go on (sysexits' EX_TEMPFAIL)
    INTERRUPTED = 130  # Ctrl-C; the same command resumes


class UserError(Exception):
    """An error that the user can correct. The message says what is wrong, where, what is allowed and what to do next."""

    exit = Exit.INPUT
    cause = "error"  # of a job that ends with it, in a word


class MissingError(UserError):
    """A dataset, weights or an optional package is absent."""

    exit = Exit.MISSING


class OutputError(UserError):
    """The results folder cannot be written."""

    exit = Exit.OUTPUT


class DataError(UserError):
    """A file of a dataset is corrupt or does not say what the dataset's declaration promises."""

    exit = Exit.FAILED


class OutOfMemory(UserError):
    """A job needs more memory than its device has."""

    exit = Exit.FAILED
    cause = "out of memory"


class Interrupted(Exception):
    """A job was asked to stop, has saved its state, and can be resumed."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a file: `file:line: key: message`."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class Problems(UserError):
    """Everything wrong in a set of files, all at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        files = ", ".join(dict.fromkeys(p.file for p in self.problems))
        count = len(self.problems)
        lines = [str(p) for p in self.problems]
        super().__init__("\n".join([*lines, f"{count} error{'s' if count != 1 else ''} in {files}"]))


def nearest(name: object, choices: Iterable[str], *, label: str = "available") -> str:
    """` Did you mean 'x'? available: a, b, c`: the tail of an error about an unknown name."""
    import difflib  # only for what went wrong

    names = sorted(choices)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    listing = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return f"{hint} {label[:1].upper()}{label[1:]}: {listing or 'none'}"
