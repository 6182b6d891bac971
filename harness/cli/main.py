"""The command line: parse, call, print. What the commands do is in `harness.cli.commands`."""

from __future__ import annotations

import argparse
import io
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from harness.errors import Exit, UserError

_EXITS = """exit codes:
  0 everything selected is measured   1 a cell failed             2 a file or argument is wrong
  3 a dataset or weights are missing  4 results cannot be written 5 nothing to measure
  75 Slurm took only some jobs (--detach): run it again    130 interrupted, the same command resumes"""


def parser() -> argparse.ArgumentParser:
    """The parser of `python -m harness`; every command's help ends with an example."""
    top = argparse.ArgumentParser(
        prog="python -m harness",
        description="Run a published table and get the same table back, measured, beside the published one.",
        epilog=f"example:\n  python -m harness run tables/idrnet_table2.yaml --profile smoke\n\n{_EXITS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, about: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"example:\n  python -m harness {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _table_commands(add)
    _paper_commands(add)
    _nightly_command(add)
    why = add("why", "explain why a cell is or is not measured", "why idrnet_table2/fcn_idrnet/ade20k --profile smoke")
    why.add_argument("cell", metavar="TABLE/ROW/COLUMN")
    _profile(why)
    _place(why)

    things = ("tables", "methods", "contexts", "datasets", "recipes", "profiles", "metrics", "conventions")
    listing = add("list", "list what there is", "list methods")
    listing.add_argument("what", nargs="?", choices=things, help="default: all of them")

    _data_commands(add("data", "prepare, verify, show and synthesize datasets", "data verify camvid --data ~/datasets"))

    _weights_commands(add("weights", "bring weights that others trained under our names", "weights import --help"))

    doctor = add("doctor", "check this machine: packages, devices, datasets, folders", "doctor --data ~/datasets")
    _place(doctor)
    _cluster(doctor)
    return top


def _table_commands(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    run = add("run", "measure tables and report them", "run tables/idrnet_table5.yaml --rows '*net' --columns flops")
    run.add_argument("--retry-failed", action="store_true", help="repeat jobs that failed before")
    run.add_argument("--detach", action="store_true", help="with --on: submit, and return at once")
    plan = add("plan", "show what a run would do, without doing it", "plan tables/idrnet_table2.yaml --seeds 3")
    for command in (run, plan):
        command.add_argument(
            "--jobs", type=_positive, metavar="N", help="jobs at once (default: one per GPU, or per CPU)"
        )
        _cluster(command)
        command.add_argument("--budget", type=_hours, metavar="HOURS", help="refuse a plan that needs more GPU-hours")

    plan.add_argument("--decide", action="store_true", help="list the seeds that would decide cells, cheapest first")

    status = add("status", "show how every cell stands", "status tables/idrnet_table2.yaml --profile smoke")
    cancel = add("cancel", "cancel what was submitted to Slurm", "cancel tables/idrnet_table2.yaml --profile smoke")
    report = add("report", "report what is measured", "report tables/idrnet_table5.yaml --format csv")
    formats = ("markdown", "csv", "text", "latex")
    report.add_argument("--format", choices=formats, default="markdown", help="markdown writes files, the others print")
    for command in (run, report):
        command.add_argument("--no-figures", action="store_true", help="write the report without figures")
    panels = add(
        "panels", "draw images beside their truth and what rows predict", "panels tables/camvid.yaml --columns miou"
    )
    panels.add_argument("--images", type=_positive, default=3, metavar="N", help="how many, evenly spread (3)")
    panels.add_argument("--image", action="append", default=[], metavar="ID", help="this image instead; repeats")
    panels.add_argument("--out", metavar="FILE", help="where to (results/reports/TABLE.PROFILE.panels.png)")
    about = "draw how trained rows tell classes apart: class tokens, and features of pixels under UMAP"
    features = add("features", about, "features tables/camvid.yaml --columns miou")
    features.add_argument("--images", type=_positive, default=100, metavar="N", help="how many, evenly spread (100)")
    features.add_argument("--pixels", type=_positive, default=200, metavar="N", help="of each class at most (200)")
    only = "pixels of these classes only; repeats"
    features.add_argument("--class", action="append", default=[], dest="class_names", metavar="NAME", help=only)
    for command in (run, plan, status, cancel, report, panels, features):
        _selection(command)
        _place(command)


def _paper_commands(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    codes = "\n\nexit codes: 0 nothing found, 1 there are findings, 2 a file is wrong"
    about = "check what papers print: tables against themselves, the text and each other"
    audit = add("audit", about, f"audit tables/ecenet_table1.yaml{codes}")
    audit.add_argument("tables", nargs="*", metavar="TABLE", help="findings about these tables (default: all of them)")
    formats = ("text", "markdown", "csv")
    audit.add_argument("--format", choices=formats, default="text", help="how to print the findings (text)")
    site = add("site", "write all tables as pages that open from a folder", "site --profile smoke")
    site.add_argument("tables", nargs="*", metavar="TABLE", help="table files (default: all of them)")
    site.add_argument("--out", metavar="DIR", help="where to (results/reports/site); what is there is replaced")
    site.add_argument("--no-figures", action="store_true", help="write the site without figures")
    _profile(site)
    _place(site)
    again = add("reproduce", "print the commands that make a report again", "reproduce results/reports/camvid.md")
    again.add_argument("report", metavar="REPORT", help="a Markdown report")


def _nightly_command(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    about = "measure what the nightly file says, and tell what has become worse since when"
    nightly = add("nightly", about, "nightly slurm/nightly.yaml")
    nightly.add_argument("file", metavar="FILE", help="what to do every night, e.g. slurm/nightly.yaml")
    nightly.add_argument("--date", metavar="YYYY-MM-DD", help="the night's date (today)")
    _place(nightly)


def _data_commands(data: argparse.ArgumentParser) -> None:
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, about: str, example: str) -> argparse.ArgumentParser:
        form = argparse.RawDescriptionHelpFormatter
        epilog = f"example:\n  python -m harness data {name} {example}"
        action = actions.add_parser(name, help=about, description=about, epilog=epilog, formatter_class=form)
        action.add_argument("name", metavar="DATASET", help="see python -m harness list datasets")
        return action

    prepare = add(
        "prepare", "bring a download below the data folder, converted", "lip --from ~/downloads --data ~/datasets"
    )
    prepare.add_argument("--from", dest="source", required=True, metavar="DOWNLOAD", help="archive, or folder")
    verify = add("verify", "read every file and list everything that is wrong", "ade20k --data ~/datasets")
    verify.add_argument("--accept", action="store_true", help="take the present contents as right from now on")
    show = add("show", "write a contact sheet of images with their labels", "camvid --split val --out camvid.png")
    show.add_argument("--split", default="train", help="which split (train)")
    show.add_argument("--out", metavar="FILE", help="where to (results/DATASET_SPLIT.png)")
    show.add_argument("--images", type=_positive, default=12, metavar="N", help="how many (12)")
    synthesize = add("synthesize", "write small scenes in a dataset's own layout", "cityscapes --out /tmp/scenes")
    synthesize.add_argument("--out", required=True, metavar="DIR", help="a data folder: DIR/DATASET is written")
    synthesize.add_argument("--layout", help="which of the dataset's layouts (its first)")
    for action in (prepare, verify, show, synthesize):
        _place(action)


def _weights_commands(weights: argparse.ArgumentParser) -> None:
    actions = weights.add_subparsers(dest="action", metavar="ACTION", required=True)
    about = "convert a released checkpoint, so that a table's row can name it as its 'checkpoint' and train nothing"
    example = (
        "example:\n  python -m harness weights import --from sssegmentation ckpt.pth"
        " --method idrnet_released/fcn_idrnet/ade20k"
    )
    form = argparse.RawDescriptionHelpFormatter
    action = actions.add_parser("import", help=about, description=about, epilog=example, formatter_class=form)
    action.add_argument("checkpoint", metavar="CKPT", help="file of tensors (.pth or .safetensors)")
    action.add_argument("--from", dest="source", required=True, metavar="TOOLBOX", help="who wrote it: sssegmentation")
    cell = "TABLE/ROW/COLUMN of a cell, or a method as a table's row names it"
    action.add_argument("--method", required=True, metavar="METHOD", help=cell)
    action.add_argument("--backbone", help="where METHOD is no cell (resnet50_v1c)")
    action.add_argument("--output-stride", type=_positive, metavar="N", help="of that backbone (8 for ResNets)")
    action.add_argument("--classes", type=_positive, metavar="N", help="how many (default: read off the checkpoint)")
    action.add_argument("--out", metavar="FILE", help="where to (what the cell names, else results/weights/CKPT)")
    _place(action)


def _selection(command: argparse.ArgumentParser) -> None:
    command.add_argument("tables", nargs="+", metavar="TABLE", help="a table file, e.g. tables/idrnet_table2.yaml")
    command.add_argument("--rows", action="append", default=[], metavar="GLOB", help="only these rows; repeats")
    command.add_argument("--columns", action="append", default=[], metavar="GLOB", help="only these columns; repeats")
    _profile(command)


def _profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="paper", metavar="NAME", help="paper (default), short or smoke")
    command.add_argument("--seeds", type=_positive, default=1, metavar="N", help="repetitions of each training (1)")


def _cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--on", metavar="CLUSTER", help="a Slurm cluster: its file, e.g. slurm/clusters/local.yaml")


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of hours")
    return hours


def _place(command: argparse.ArgumentParser) -> None:
    data, results = os.environ.get("HARNESS_DATA"), os.environ.get("HARNESS_RESULTS", "results")
    command.add_argument("--data", default=data, metavar="DIR", help="one folder per dataset (or HARNESS_DATA)")
    command.add_argument("--results", default=results, metavar="DIR", help="all state (results, or HARNESS_RESULTS)")
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where jobs run (auto)")


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return number


class _Piped(io.FileIO):
    """Output into a pipe whose reader may leave, as `| head` does: what nobody reads is dropped.

    The command goes on to its own end and exit code, for measurements must not depend on who looks on.
    """

    def write(self, data) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def _lenient(stream: TextIO) -> TextIO:
    """A stream that shows ? for signs that its terminal lacks, and whose reader may leave."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:  # a stream in memory
        return stream
    if number > 2 or not stat.S_ISFIFO(os.fstat(number).st_mode):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Piped(number, "wb", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, errors="replace", line_buffering=stream.line_buffering)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; see `Exit`. Bad input never ends in a traceback."""
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)
    options = parser().parse_args(arguments)
    from harness.cli import commands

    try:
        return int(getattr(commands, options.command)(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return int(error.exit)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)
