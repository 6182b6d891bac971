"""Whether the data of a job are those that papers report on: images of its splits against the published numbers.

A key holds how many images each split had, so that this can also be told of a result whose data are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.data import catalogue
from harness.errors import UserError
from harness.jobs.job import Job
from harness.jobs.outside_names import without_folder


class Gap(NamedTuple):
    """A split with another number of images than published."""

    dataset: str
    split: str
    images: int
    published: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.split}: {self.images} of {self.published} images"


def count_text(counts: Mapping[str, int]) -> str:
    """Images per split as a key holds them: `test 233, train 367, val 101`."""
    return ", ".join(f"{split} {count}" for split, count in sorted(counts.items()))


def counts_of(job: Job) -> dict[str, dict[str, int]]:
    """{dataset: {split: images}} of the data that the job's key was made of; without embedded scenes and absent data."""
    counts: dict[str, dict[str, int]] = {}
    for name, facts in (job.parts.get("data") or {}).items():
        text = facts.get("images", "") if isinstance(facts, Mapping) else ""
        pairs = [part.rpartition(" ") for part in str(text).split(", ") if part]
        counts[name] = {split: int(count) for split, _, count in pairs if count.isdigit()}
    return counts


def gaps(job: Job) -> Iterator[Gap]:
    """The splits that the job trains or tests on and that have another number of images than published."""
    for name, counts in counts_of(job).items():
        try:
            published = catalogue.find(_name_in_config(job, name)).splits
        except UserError:  # a result of a dataset that is declared no longer
            continue
        for split in sorted(_splits(job)):
            number = published.get(split)
            if number is not None and counts.get(split, number) != number:
                yield Gap(name, split, counts[split], number)


def _name_in_config(job: Job, name: str) -> str:
    """The name by which a dataset of the job's key is found: with its folder, where it is declared outside the checkout."""
    found = str((job.config.get("data") or {}).get("name", ""))
    return found if without_folder(found) == name else name


def too_small(job_kind: str, config: Mapping, counts: Mapping[str, int]) -> str:
    """Why a training cannot make one batch of its split's images; '' where it can, or where they are not known."""
    if job_kind != "train":
        return ""
    split, batch = config["recipe"]["train_split"], config["recipe"]["batch_size"]
    if counts.get(split, batch) >= batch:
        return ""
    return f"dataset '{config['data']['name']}', split '{split}': {counts[split]} images are fewer than one batch of {batch}"


def _splits(job: Job) -> set[str]:
    recipe, protocol = job.config.get("recipe") or {}, job.config.get("protocol") or {}
    splits = [protocol.get("split"), recipe.get("train_split")]
    if recipe.get("evaluate_every"):
        splits.append((recipe.get("test") or {}).get("split"))
    return {split for split in splits if split is not None}
