"""The command line: parses arguments, calls a command (one file each in this folder) and returns its exit code.

Completion of commands, options, tables, rows, columns, profiles, datasets and clusters in the shell, for the installed
script `harness`:

    eval "$(_HARNESS_COMPLETE=bash_source harness)"      # bash, in ~/.bashrc; zsh: zsh_source
    _HARNESS_COMPLETE=fish_source harness | source       # fish
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from harness.cli.group import COMMANDS, PROGRAM, LazyGroup, missing_lines
from harness.cli.streams import tolerant_stream
from harness.errors import Exit, UserError

_SCRIPT, _COMPLETE = "harness", "_HARNESS_COMPLETE"

_EPILOG = f"""example:
  {PROGRAM} run tables/idrnet_table2.yaml --profile smoke

exit codes:
    0  everything selected is measured
    1  a cell failed
    2  a file or argument is wrong
    3  a dataset or weights are missing
    4  results cannot be written
    5  nothing to measure
   75  Slurm took only some jobs (--detach): run it again
  130  interrupted, the same command resumes

completion in bash (zsh_source and fish_source for other shells):
  eval "$({_COMPLETE}=bash_source {_SCRIPT})\""""


def _print_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import version

    from harness import environment

    commit, dirty = environment.commit()
    at = f" at {commit[:12]}{' with uncommitted changes' if dirty else ''}" if commit else ""
    click.echo(f"segmentation-harness {version('segmentation-harness')}{at}")
    context.exit()


GROUP = LazyGroup(
    name="harness",
    help="Run a published table and get the same table back, measured, beside the published one.",
    epilog=_EPILOG,
    summaries=COMMANDS,
    subcommand_metavar="COMMAND ...",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="print the version and the commit",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; see `Exit`. Bad input never ends in a traceback."""
    sys.stdout, sys.stderr = tolerant_stream(sys.stdout), tolerant_stream(sys.stderr)
    words = sys.argv[1:] if arguments is None else [*arguments]
    try:
        if arguments is None and _COMPLETE in os.environ:
            return _complete(os.environ[_COMPLETE])
        with GROUP.make_context(PROGRAM, words) as context:
            _forget_damaged()
            try:
                return int(GROUP.invoke(context))
            finally:
                _print_damaged()
    except click.exceptions.Exit as end:  # --help, --version
        return int(end.exit_code)
    except click.ClickException as error:
        message = io.StringIO()
        error.show(message)
        more = missing_lines(error) if isinstance(error, click.MissingParameter) else []
        _print_error("\n".join([message.getvalue().removesuffix("\n"), *more]))
        return int(Exit.INPUT)
    except UserError as error:
        _print_error(str(error))
        return int(error.exit)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return int(Exit.INTERRUPTED)


def _forget_damaged() -> None:
    """What this process read before the command is none of it."""
    if "harness.files" in sys.modules:
        sys.modules["harness.files"].DAMAGED.clear()


def _print_damaged() -> None:
    """Says which records of the results folder were left out, since they could not be read."""
    from harness.files import DAMAGED

    entries = [f"{path}: {why}" for path, why in sorted(DAMAGED.items())]
    DAMAGED.clear()
    if entries:
        count = "1 record of the results is" if len(entries) == 1 else f"{len(entries)} records of the results are"
        more = [f"and {len(entries) - 5} more"] if len(entries) > 5 else []
        _print_error("\n  ".join([f"warning: {count} left out", *entries[:5], *more]))


def _print_error(message: str) -> None:
    """A message on standard error; control characters of what it quotes are shown, not obeyed."""
    from harness.text import printable  # only where something is wrong

    print(printable(message), file=sys.stderr)


def _complete(instruction: str) -> int:
    """What the shell's completion asks for: its script, or the words that may come next."""
    from click.shell_completion import shell_complete

    return shell_complete(GROUP, {}, _SCRIPT, _COMPLETE, instruction)
