"""Why jobs cannot run here: each reason whole, in a line, and grouped over the jobs of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.text import plural

_DATA = (
    "data: --data DIR or HARNESS_DATA names the folder that holds one folder per dataset; python -m harness list datasets NAME "
    "prints what belongs into it; --profile smoke needs none"
)
_WEIGHTS = (
    "weights: $HARNESS_WEIGHTS/NAME.safetensors (or .pth) is where a file of them is looked for, NAME as above; or the recipe "
    "names one (pretrained: path/to/weights.pth) or starts from random weights (pretrained: false)"
)


@dataclass(frozen=True)
class Reason:
    """One reason. `what`: what is missing, in a line; `source`: where it is had from; `detail`: what to do about it, in
    sentences; `advice`: what to do about all of its sort. Each but the first may be ''."""

    what: str
    detail: str = ""
    source: str = ""
    advice: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.what}. {self.detail}" if self.detail else self.what

    @property
    def summary(self) -> str:
        """A line."""
        return f"{self.what}; get it from {self.source}" if self.source else self.what


def no_data(text: str, source: str) -> Reason:
    """A dataset is absent, as harness.data.files says it."""
    what, marker, contents = text.partition(". It must contain")
    return Reason(what, f"{marker[2:]}{contents}", source, _DATA)


def no_weights(text: str, detail: str) -> Reason:
    """The weights of a backbone are absent; `detail`: where those of this one belong."""
    return Reason(text, detail, advice=_WEIGHTS)


def lines(jobs: Iterable[Iterable[Reason]]) -> list[str]:
    """How many jobs cannot run here, a line per reason with the number of jobs that it holds for, and what to do.

    `jobs`: the reasons of each job that cannot run; a job with two is counted in the lines of both.
    """
    reasons = [[*own] for own in jobs]
    if not reasons:
        return []
    counts = Counter(reason for own in reasons for reason in dict.fromkeys(own))
    found = [f"{plural(len(reasons), 'job')} cannot run here:"]
    found += [f"  {plural(count, 'job')}: {reason.summary}" for reason, count in counts.items()]
    return [*found, *dict.fromkeys(f"  {reason.advice}" for reason in counts if reason.advice)]
