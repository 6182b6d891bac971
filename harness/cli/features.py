"""`python -m harness features TABLE`: class tokens and features of trained rows, as arrays and as figures."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import data_dir, device_of, plan_of
from harness.cli.progress import Counter
from harness.errors import Exit, MissingError, UserError
from harness.files import write_text
from harness.text import plural

if TYPE_CHECKING:
    from harness.store.features import Features

MOST = 10_000
"""Pixels of one sample at most; with many classes each gets fewer."""


def features(options: Namespace) -> Exit:
    """Extracts, writes features.npz beside each evaluation and the figures beside the reports."""
    from harness.plan.trained_rows import rows_tested
    from harness.store import features as arrays
    from reports.figures.umap import embed

    plan, store = plan_of(options)
    if len(plan.tables) != 1:
        raise UserError("features are extracted of one table at a time")
    column, jobs = rows_tested(plan, store)
    source = _Source(jobs, options, store.cache)
    print(source.summary())
    found: dict[str, list[Features]] = {}
    wrong: list[UserError] = []  # told at the end: what the other rows give is drawn all the same
    for row, tests in jobs.items():
        for seed, (job, training) in enumerate(tests):
            try:
                made = source.extract(row, job, training)
            except UserError as error:
                wrong.append(error)
                break
            if seed == 0 and len(made.labels):  # of further seeds only numbers are shown
                try:
                    made = replace(made, embedding=embed(made.features))
                except MissingError as error:
                    wrong = wrong or [error]
            arrays.write(made, store.folder(job))
            found.setdefault(row, []).append(made)
            print(_line(f"{row}, seed {seed}" if len(tests) > 1 else row, made))
    stem = plan.tables[0].id if plan.profile.name == "paper" else f"{plan.tables[0].id}.{plan.profile.name}"
    for path in _drawn(plan.tables[0], column, found, store.reports / stem) if found else ():
        print(f"written: {path}")
    if wrong:
        raise type(wrong[0])("\n".join(dict.fromkeys(map(str, wrong))))
    return Exit.OK


class _Source:
    """The data that all rows are tested on, and the pixels that all of them are asked about."""

    def __init__(self, jobs: Mapping[str, Sequence[Any]], options: Namespace, cache: Path) -> None:
        from harness.data.files import locate, pairs
        from harness.data.selection import choose
        from harness.jobs.kinds import EvaluateConfig
        from harness.tasks.segmentation.features import chosen_classes, draw

        tests = [EvaluateConfig.model_validate(job.config) for found in jobs.values() for job, _ in found]
        if len({(c.data, c.protocol.split) for c in tests}) != 1:
            raise UserError("the chosen cells are tested on different data; choose one column (--columns)")
        self.device = device_of(options).kind
        self.split = tests[0].protocol.split
        self.root = locate(tests[0].data, data_dir=data_dir(options), cache=cache)
        every = pairs(self.root, self.split)
        names = self.root.dataset.classes
        self.classes = chosen_classes(names, options.class_names)
        self.per_class = max(1, min(options.pixels, MOST // len(self.classes)))
        self.total = len(every)
        self.sample = draw(choose(every, options.images), self.root, self.classes, self.per_class)
        absent = set(self.classes) - set(self.sample.labels.tolist())
        self.absent = [names[k] for k in sorted(absent)]
        if options.class_names and absent:
            raise UserError(
                f"--class {self.absent[0]}: no pixel of it in {plural(len(self.sample.images), 'image')} of "
                f"{self.split}; look at more (--images {self.total})"
            )

    def summary(self) -> str:
        names = f"; no pixel of {', '.join(self.absent)}" if self.absent else ""
        return (
            f"{self.root.dataset.name}, {self.split}: {len(self.sample.labels)} pixels, at most {self.per_class} of each of "
            f"{len(self.classes)} classes, from {len(self.sample.images)} of {self.total} images{names}"
        )

    def extract(self, row: str, job: Any, training: Path | None) -> Features:
        import numpy as np

        from harness.jobs.kinds import EvaluateConfig
        from harness.store.features import Features
        from harness.tasks.segmentation.evaluate import trained_model
        from harness.tasks.segmentation.features import classifier_of, extract
        from reports.figures.separability import separability

        config = EvaluateConfig.model_validate(job.config)
        model = trained_model(config, training, self.device)
        layer = classifier_of(model, row)
        how = {"normalisation": config.normalisation, "device": self.device}
        with Counter() as counter:
            seen, tokens = extract(
                model, layer, self.sample, self.root, config.protocol, **how,
                progress=lambda done, total: counter(f" {row}: image", done, total) if done < total else None,
            )  # fmt: skip
        settings = {"split": self.split, "per_class": self.per_class, "asked": self.classes}
        return Features(
            classes=np.array(self.root.dataset.classes),
            images=np.array([pair.id for pair in self.sample.images]),
            tokens=tokens,
            features=seen,
            labels=self.sample.labels,
            places=self.sample.places,
            counts=self.sample.counts,
            settings=settings,
            numbers=separability(seen, self.sample.labels)._asdict(),
        )


def _line(name: str, made: Features) -> str:
    from reports.figures.class_tokens import dependencies, diagonal

    own, first = diagonal(dependencies(made.tokens))
    return (
        f" ✓ {name:<28} {made.tokens.shape[1]} channels · within / between {made.numbers['ratio']:.3f} · silhouette "
        f"{made.numbers['silhouette']:.3f} · tokens: diagonal {own:.3f}, first in {first} of {len(made.classes)}"
    )


def _drawn(table: Any, column: str, found: Mapping[str, Sequence[Features]], folder: Path) -> list[Path]:
    from reports.figures import features, style

    written = []
    with style.styled():
        for name, figure, _ in features.drawn(table, column, found):
            write_text(folder / name, style.svg(figure))
            written.append(folder / name)
    return written
