"""`recipe from-mmsegmentation`: the recipe that a configuration of mmsegmentation has, as an entry of a recipe file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.group import action, command_group
from harness.errors import Exit


@command_group("recipe", "from-mmsegmentation --help")
def command() -> None:
    pass


@action(
    command,
    "from-mmsegmentation",
    "print a configuration's recipe, and what of it a recipe cannot say",
    "pspnet_r50-d8_4xb2-40k_cityscapes-512x1024",
)
@click.argument("config", metavar="CONFIG")
def from_mmsegmentation(config: str) -> Exit:
    import yaml

    from methods.adapters import mmsegmentation_configs as configs
    from methods.adapters.mmsegmentation_recipe import translate

    file = Path(config)
    path = file if file.suffix == ".py" and file.is_file() else configs.find(config)
    whole = configs.read(path)
    translation = translate(whole, path.stem)
    print(_as_yaml(yaml, {path.stem: translation.recipe}))
    if path == file:
        print("# the row: the method's option `config` is the configuration's model")
        print(_as_yaml(yaml, {"method": {"name": "adapters/mmsegmentation", "config": whole["model"]}}))
    for sentence in translation.missing:
        print(f"not in the recipe: {sentence}", file=sys.stderr)
    return Exit.OK


def _as_yaml(yaml: Any, value: dict[str, Any]) -> str:
    """As recipe files are written: nested blocks, short lists in one line, in the order given."""
    return yaml.safe_dump(_plain(value), sort_keys=False, default_flow_style=None, width=110)


def _plain(value: Any) -> Any:
    """Tuples as lists, and texts for what YAML has no word for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
