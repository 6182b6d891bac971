"""`panels`: images beside their truth and what the selected rows predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import command as register
from harness.errors import Exit, UserError

if TYPE_CHECKING:
    from harness.plan.request import PlanRequest


@register("panels", "tables/camvid.yaml --columns miou")
@options.plan_request
@click.option("--images", type=options.PositiveInt(), default=3, metavar="N", help="how many, evenly spread (3)")
@click.option("--image", "image_ids", multiple=True, metavar="ID", help="this image instead; repeats")
@click.option(
    "--out", type=options.PathType(), metavar="FILE", help="where to (results/reports/TABLE.PROFILE.panels.png)"
)
def command(request: PlanRequest, images: int, image_ids: tuple[str, ...], out: Path | None) -> Exit:
    from harness.cli.inspection import plan_to_read
    from harness.plan.trained_rows import first_repetitions

    plan, store = plan_to_read(request)
    if len(plan.tables) != 1:
        raise UserError("panels are made of one table at a time")
    (table,) = plan.tables
    jobs = first_repetitions(plan, store)
    from harness.tasks.segmentation.predictions import scenes  # loads torch: only for what is trained
    from reports.figures import predictions, style

    pictures, root = scenes(
        jobs,
        count=images,
        ids=image_ids,
        data_dir=request.data,
        cache=store.cache,
        device=request.resolve_device().kind,
    )
    labels = {row: table.rows[row].label or row for row in pictures[0].predictions}
    file = out or store.reports / f"{table.id}.{plan.profile.name}.panels.png"
    with style.styled():
        figure = predictions.draw(pictures, labels, root.dataset.classes, root.dataset.palette)
        print(f"written: {predictions.write(figure, file)}")
    return Exit.OK
