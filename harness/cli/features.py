"""`features`: class tokens and features of trained rows, as arrays and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, MissingError, UserError
from harness.files import write_text
from harness.text import plural

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest
    from harness.store.features import Features

MAX_PIXELS = 10_000
"""Pixels of one sample at most; with many classes each gets fewer."""


@register("features", "tables/camvid.yaml --columns miou")
@options.plan_request
@click.option("--images", type=options.PositiveInt(), default=100, metavar="N", help="how many, evenly spread (100)")
@click.option("--pixels", type=options.PositiveInt(), default=200, metavar="N", help="of each class at most (200)")
@click.option("--class", "class_names", multiple=True, metavar="NAME", help="pixels of these classes only; repeats")
def command(request: PlanRequest, images: int, pixels: int, class_names: tuple[str, ...]) -> Exit:
    """Extracts, writes features.npz beside each evaluation and the figures beside the reports."""
    from harness.cli.inspection import plan_to_read
    from harness.plan.trained_rows import rows_tested
    from harness.store import features as arrays
    from reports.figures.umap import embed

    plan, store = plan_to_read(request)
    if len(plan.tables) != 1:
        raise UserError("features are extracted of one table at a time")
    column, jobs = rows_tested(plan, store)
    source = _Source(jobs, request, store.cache, images, pixels, class_names)
    print(source.summary())
    by_row: dict[str, list[Features]] = {}
    errors: list[UserError] = []  # raised at the end: what the other rows give is drawn all the same
    for row, tests in jobs.items():
        for repetition, (job, training) in enumerate(tests):
            try:
                features = source.extract(row, job, training)
            except UserError as error:
                errors.append(error)
                break
            if repetition == 0 and len(features.labels):  # of further repetitions only numbers are shown
                try:
                    features = replace(features, embedding=embed(features.features))
                except MissingError as error:
                    errors = errors or [error]
            arrays.write(features, store.folder(job))
            by_row.setdefault(row, []).append(features)
            print(_line(f"{row}, repetition {repetition + 1}" if len(tests) > 1 else row, features))
    stem = plan.tables[0].id if plan.profile.name == "paper" else f"{plan.tables[0].id}.{plan.profile.name}"
    for path in _write_figures(plan.tables[0], column, by_row, store.reports / stem) if by_row else ():
        print(f"written: {path}")
    if errors:
        raise type(errors[0])("\n".join(dict.fromkeys(map(str, errors))))
    return Exit.OK


class _Source:
    """The data that all rows are tested on, and the pixels at which the features of all of them are taken."""

    def __init__(
        self,
        jobs: Mapping[str, Sequence[Any]],
        request: PlanRequest,
        cache: Path,
        images: int,
        pixels: int,
        class_names: Sequence[str],
    ) -> None:
        from harness.data.files import locate, pairs
        from harness.data.selection import choose
        from harness.jobs.kinds import EvaluateConfig
        from harness.tasks.segmentation.features import chosen_classes, draw

        tests = [EvaluateConfig.model_validate(job.config) for row_jobs in jobs.values() for job, _ in row_jobs]
        if len({(c.data, c.protocol.split) for c in tests}) != 1:
            raise UserError("the chosen cells are tested on different data; choose one column (--columns)")
        self.device = request.resolve_device().kind
        self.split = tests[0].protocol.split
        self.root = locate(tests[0].data, data_dir=request.data, cache=cache)
        every = pairs(self.root, self.split)
        names = self.root.dataset.classes
        self.classes = chosen_classes(names, class_names)
        self.per_class = max(1, min(pixels, MAX_PIXELS // len(self.classes)))
        self.total = len(every)
        self.sample = draw(choose(every, images), self.root, self.classes, self.per_class)
        absent = set(self.classes) - set(self.sample.labels.tolist())
        self.absent = [names[k] for k in sorted(absent)]
        if class_names and absent:
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

        from harness.cli.progress import Counter
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
            vectors, tokens = extract(
                model, layer, self.sample, self.root, config.protocol, **how,
                progress=lambda done, total: counter(f" {row}: image", done, total) if done < total else None,
            )  # fmt: skip
        settings = {"split": self.split, "per_class": self.per_class, "asked": self.classes}
        return Features(
            classes=np.array(self.root.dataset.classes),
            images=np.array([pair.id for pair in self.sample.images]),
            tokens=tokens,
            features=vectors,
            labels=self.sample.labels,
            places=self.sample.places,
            counts=self.sample.counts,
            settings=settings,
            numbers=separability(vectors, self.sample.labels)._asdict(),
        )


def _line(name: str, features: Features) -> str:
    from reports.figures.class_tokens import dependencies, diagonal

    own, first = diagonal(dependencies(features.tokens))
    return (
        f" ✓ {name:<28} {features.tokens.shape[1]} channels · within / between {features.numbers['ratio']:.3f} · silhouette "
        f"{features.numbers['silhouette']:.3f} · tokens: diagonal {own:.3f}, first in {first} of {len(features.classes)}"
    )


def _write_figures(table: Any, column: str, by_row: Mapping[str, Sequence[Features]], folder: Path) -> list[Path]:
    from reports.figures import features, style

    written = []
    with style.styled():
        for name, figure, _ in features.draw_rows(table, column, by_row):
            write_text(folder / name, style.svg(figure))
            written.append(folder / name)
    return written
