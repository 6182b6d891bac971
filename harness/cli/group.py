"""Click classes of the command line: a group that imports a command when it is called, help that ends with an example.

A command is one file, `harness/cli/NAME.py`, whose attribute `command` is a `click.Command`, and one line in `COMMANDS`.
"""

from __future__ import annotations

import importlib
import keyword
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import click

from harness.errors import nearest

PROGRAM = "python -m harness"

COMMANDS = {
    "run": "measure tables and report them",
    "plan": "show what a run would do, without doing it",
    "status": "show how every cell stands",
    "cancel": "cancel what was submitted to Slurm",
    "report": "report what is measured",
    "export": "write results as a bundle that travels, or all measurements as one table",
    "import": "take the results of bundles into the results folder",
    "merge": "take the results of other results folders into this one",
    "compare": "compare two results folders, bundles or commits, cell by cell",
    "panels": "draw images beside their truth and what rows predict",
    "features": "draw how trained rows tell classes apart: class tokens, and features of pixels under UMAP",
    "compare-with": "train and test rows by another toolbox too, and show its numbers beside ours",
    "audit": "check what papers print: tables against themselves, the text and each other",
    "site": "write tables, all or those named, as pages that open from a folder",
    "reproduce": "print the commands that make a report again",
    "nightly": "measure what the nightly file says, and report what has become worse and since when",
    "why": "explain why a cell is or is not measured",
    "logs": "print what the jobs of a cell printed",
    "clean": "delete what no number needs: sizes first, then it asks",
    "list": "list what there is",
    "new": "write a commented file to start from: a table, recipe, method or other part",
    "test": "check a method, backbone or dataset against its contract, clause by clause",
    "schema": "write JSON Schemas and the key reference of the YAML files",
    "data": "prepare, verify, show and synthesize datasets",
    "recipe": "print the recipe of a configuration of mmsegmentation",
    "weights": "bring weights that others trained under the harness's names",
    "doctor": "check this machine: packages, devices, datasets, folders",
}
"""{name: one line of help} of every command, in the order of the help."""


class _ExampleHelp(click.Command):
    """Writes the epilog's paragraphs as wide as the help: sentences wrapped, examples so that they can be copied."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for paragraph in self.epilog.split("\n\n") if self.epilog else ():
            formatter.write_paragraph()
            title, *indented = paragraph.split("\n")
            if not title.endswith(":") or not all(line.startswith("  ") for line in indented):
                formatter.write_text(paragraph)
                continue
            formatter.write(f"{title}\n")
            for line in indented:
                formatter.write(_copyable(line, formatter.width) if line.startswith(f"  {PROGRAM}") else f"{line}\n")


def _copyable(command_line: str, width: int) -> str:
    """A command line in lines of at most `width` columns, each but the last continued by a backslash, as a shell takes it."""
    lines = [" "]
    for word in shlex.split(command_line, posix=False):  # quotes stay, and what is between them
        if len(lines[-1]) + len(word) + 3 > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines) + "\n"


def missing_lines(error: click.MissingParameter) -> list[str]:
    """What an argument or option is that a command needs and did not get, which names are known for it, and an example of the
    command."""
    parameter, context = error.param, error.ctx
    if parameter is None or context is None:
        return []
    names = [item.value for item in parameter.shell_complete(context, "") if item.type == "plain"]
    about = getattr(parameter, "help", None)
    lines = [f"{parameter.make_metavar(context)} is {about}"] if about else []
    lines += [nearest("", names, label="known").lstrip()] if names else []
    example = (context.command.epilog or "").partition("\n\n")[0].removeprefix("example:").strip()
    return [*lines, f"For example: {example}"] if example else lines


class Command(_ExampleHelp):
    """A command whose help ends with an example."""


class Group(_ExampleHelp, click.Group):
    """A group that lists its commands in the order of the file; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            tail = nearest(args[0], names, label="commands are")
            raise click.UsageError(f"unknown command '{args[0]}'.{tail}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group that knows its commands by name and imports `harness.cli.NAME` (`NAME_` for a word of Python) when it is called."""

    def __init__(self, *, summaries: Mapping[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self.summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.summaries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.summaries:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        return importlib.import_module(f"harness.cli.{module.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*self.summaries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [CompletionItem(n, help=text) for n, text in self.summaries.items() if n.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def command(name: str, example: str, *, notes: str = "") -> Callable[[Callable[..., Any]], Command]:
    """Decorator: the function as the command `name` of `COMMANDS`, with an example and notes at the end of its help."""
    return click.command(name, cls=Command, **_texts(name, COMMANDS[name], example, notes))


def command_group(name: str, example: str) -> Callable[[Callable[..., Any]], Group]:
    """Decorator: the function as the command `name` of `COMMANDS` that has commands of its own."""
    return click.group(name, cls=Group, subcommand_metavar="ACTION ...", **_texts(name, COMMANDS[name], example))


def action(parent: Group, name: str, summary: str, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: the function as the command `name` of the group `parent`."""
    return parent.command(name, cls=Command, **_texts(f"{parent.name} {name}", summary, example))


def _texts(name: str, summary: str, example: str, notes: str = "") -> dict[str, str]:
    return {
        "help": f"{summary[0].upper()}{summary[1:]}.",
        "short_help": summary,
        "epilog": f"example:\n  {PROGRAM} {name} {example}".rstrip() + (f"\n\n{notes}" if notes else ""),
    }
