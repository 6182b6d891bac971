"""`weights import`: a released checkpoint under the harness's names. `weights download`: what backbones start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options
from harness.cli.group import action, command_group
from harness.errors import Exit, MissingError, UserError

if TYPE_CHECKING:
    from harness.jobs.kinds import Model


@command_group("weights", "import --help")
def command() -> None:
    pass


@action(
    command,
    "import",
    "convert a released checkpoint, so that a table's row can name it as its 'checkpoint' and train nothing",
    "--from sssegmentation ckpt.pth --method idrnet_released/fcn_idrnet/ade20k",
)
@click.argument("checkpoint", metavar="CKPT", type=options.PathType())
@click.option("--from", "source", required=True, metavar="TOOLBOX", help="who wrote it: sssegmentation")
@click.option(
    "--method",
    required=True,
    metavar="METHOD",
    help="TABLE/ROW/COLUMN of a cell, or a method as a table's row names it",
)
@click.option("--backbone", help="where METHOD is no cell (resnet50_v1c)")
@click.option("--output-stride", type=options.PositiveInt(), metavar="N", help="of that backbone (8 for ResNets)")
@click.option("--classes", type=options.PositiveInt(), metavar="N", help="how many (default: read off the checkpoint)")
@click.option(
    "--out", type=options.PathType(), metavar="FILE", help="where to (what the cell names, else results/weights/CKPT)"
)
@options.folders_and_device
def import_weights(
    checkpoint: Path,
    source: str,
    method: str,
    backbone: str | None,
    output_stride: int | None,
    classes: int | None,
    out: Path | None,
    data: Path | None,
    results: Path,
    device: str,
) -> Exit:
    from methods.released.importer import import_foreign

    cell_file = None  # the file of weights that the cell names
    if method.count("/") >= 2:  # TABLE/ROW/COLUMN, where TABLE may be a path
        for flag, value in (("backbone", backbone), ("output-stride", output_stride), ("classes", classes)):
            if value is not None:
                raise UserError(f"--{flag}: the cell {method} says it already; leave it out")
        model, cell_file = _cell_model(method, data, results, device)
        classes = model.num_classes
    else:
        model = _method_model(method, backbone, output_stride, classes)
    file = out or cell_file or results / "weights" / checkpoint.name
    summary = import_foreign(checkpoint, source, model, file, num_classes=classes)
    size = f"{summary.tensors} tensors, {summary.parameters / 1e6:.2f} M parameters, {summary.classes} classes"
    print(f"written: {file} ({size})")
    if file == cell_file:
        table, row, column = options.cell_of(method)
        print(f"next: python -m harness run {table} --rows {row} --columns {column}")
    else:
        print(f"next: name it in a row of a table, checkpoint: {file}")
    return Exit.OK


def _cell_model(name: str, data: Path | None, results: Path, device: str) -> tuple[Model, Path | None]:
    """The model of a cell, as its training would build it, and the file of weights that the cell names, or None."""
    from harness.cli.inspection import plan_to_read
    from harness.jobs.kinds import Model

    table, row, column = options.cell_of(name)
    request = options.cell_request(table, row, column, data=data, results=results, device=device)
    plan, _ = plan_to_read(request, default=False)
    configs = [job.config for cell in plan.cells for job in cell.jobs if job.config["model"]["backbone"] is not None]
    if not configs:
        raise UserError(f"{name} is nothing that is trained: {plan.cells[0].reason or 'it counts a module'}")
    model = Model.model_validate({**configs[0]["model"], "pretrained": False})
    return model, plan.cells[0].cell.checkpoint


def _method_model(text: str, backbone: str | None, output_stride: int | None, classes: int | None) -> Model:
    """The model of `--method`, `--backbone` and `--output-stride`; how many classes it has, the checkpoint may say."""
    from harness.jobs.kinds import Model
    from harness.table.schema import MethodRef
    from harness.yamlfile import parse, validate

    document = parse(text, "--method")
    method = validate(document, document.data, MethodRef)
    backbone = backbone or "resnet50_v1c"
    stride = output_stride or (8 if backbone.startswith("resnet") else None)
    return Model(
        name=method.name, options=method.options, backbone=backbone, output_stride=stride, num_classes=classes or 1
    )


@action(
    command,
    "download",
    "fetch the pretrained weights of backbones that timm publishes into Hugging Face's cache, where plans and jobs find them",
    "resnet50_v1c",
)
@click.argument("backbones", metavar="BACKBONE...", nargs=-1, required=True)
def download_weights(backbones: tuple[str, ...]) -> Exit:
    from methods import pretrained
    from methods.backbones import build_backbone

    for name in backbones:
        build_backbone(name, pretrained=True)  # as a job loads it
        file = pretrained.offline(name) or pretrained.cached(pretrained.timm_weights(name) or "")
        if file is None:
            raise MissingError(
                f"'{name}' was loaded, but no file of it lies where plans look: HF_HUB_CACHE, else HF_HOME/hub"
            )
        print(f"{name}: {file}")
    return Exit.OK
