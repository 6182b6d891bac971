"""What the commands about trained models do: `panels` and `weights import`. Heavy imports stay inside the functions."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from harness.cli.options import cell_of, data_dir, device_of, literal, plan_of
from harness.errors import Exit, UserError


def panels(options: Namespace) -> Exit:
    """`panels`: images beside their truth and what the selected rows predict."""
    from harness.plan.trained_rows import first_repetitions
    from harness.tasks.segmentation.predictions import scenes
    from reports.figures import predictions, style

    plan, store = plan_of(options)
    if len(plan.tables) != 1:
        raise UserError("panels are made of one table at a time")
    (table,) = plan.tables
    place = {"data_dir": data_dir(options), "cache": store.cache, "device": device_of(options).kind}
    found, root = scenes(first_repetitions(plan, store), count=options.images, ids=options.image, **place)
    labels = {row: table.rows[row].label or row for row in found[0].predictions}
    out = (
        Path(options.out).expanduser() if options.out else store.reports / f"{table.id}.{plan.profile.name}.panels.png"
    )
    with style.styled():
        figure = predictions.draw(found, labels, root.dataset.classes, root.dataset.palette)
        print(f"written: {predictions.write(figure, out)}")
    return Exit.OK


def weights(options: Namespace) -> Exit:
    """`weights import`."""
    from methods.released.importer import import_foreign

    of_cell = options.method.count("/") >= 2  # TABLE/ROW/COLUMN, where TABLE may be a path
    model, named = _cell_model(options) if of_cell else (_named_model(options), None)
    classes = model.num_classes if of_cell else options.classes
    source = Path(options.checkpoint).expanduser()
    out = Path(options.out).expanduser() if options.out else named or Path(options.results) / "weights" / source.name
    made = import_foreign(source, options.source, model, out, num_classes=classes)
    print(f"written: {out} ({made.tensors} tensors, {made.parameters / 1e6:.2f} M parameters, {made.classes} classes)")
    if out == named:
        table, row, column = cell_of(options.method)
        print(f"next: python -m harness run {table} --rows {row} --columns {column}")
    else:
        print(f"next: name it in a row of a table, checkpoint: {out}")
    return Exit.OK


# -------------------------------------------------------------------------------------------------------------------


def _cell_model(options: Namespace):
    """The model of a cell, as its training would build it, and the file of weights that the cell names, or None."""
    from harness.jobs.kinds import Model
    from harness.plan.planner import Selection

    table, row, column = cell_of(options.method)
    given = [flag for flag in ("backbone", "output_stride", "classes") if getattr(options, flag) is not None]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')}: the cell {options.method} says it already; leave it out")
    options.tables, options.rows, options.columns, options.profile, options.seeds = [str(table)], [], [], "paper", 1
    made, _ = plan_of(options, Selection((literal(row),), (literal(column),)))
    configs = [job.config for cell in made.cells for job in cell.jobs if job.config["model"]["backbone"] is not None]
    if not configs:
        raise UserError(f"{options.method} is nothing that is trained: {made.cells[0].reason or 'it counts a module'}")
    model = Model.model_validate({**configs[0]["model"], "pretrained": False})
    return model, made.cells[0].cell.checkpoint


def _named_model(options: Namespace):
    """The model of `--method`, `--backbone` and `--output-stride`; how many classes it has, the checkpoint may say."""
    from harness.jobs.kinds import Model
    from harness.table.schema import MethodRef
    from harness.yamlfile import parse, validate

    document = parse(options.method, "--method")
    method = validate(document, document.data, MethodRef)
    backbone = options.backbone or "resnet50_v1c"
    stride = options.output_stride or (8 if backbone.startswith("resnet") else None)
    classes = {"num_classes": options.classes or 1}
    return Model(name=method.name, options=method.options, backbone=backbone, output_stride=stride, **classes)
