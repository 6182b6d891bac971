"""What Mask2Former+IDRNet may be told: a configuration of transformers, and those of IDRNet's options that concern queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UserError
from methods import registry
from methods.adapters import transformers_configs
from methods.idrnet.options import Options, resolve

_NOT_IDRNETS = ("config", "depth")


def check(options: Mapping[str, Any]) -> None:
    """UserError unless `config` is a Mask2Former's and the rest are choices of IDRNet."""
    transformers_configs.check(options)
    config = options["config"]
    model_type = (transformers_configs.PRESETS[config] if isinstance(config, str) else config)["model_type"]
    if model_type != "mask2former":
        raise UserError(f"'config': class queries are Mask2Former's, and this is a {model_type}")
    resolve_for_queries(options)


def resolve_for_queries(options: Mapping[str, Any]) -> Options:
    """IDRNet's options as released, with what is given here in place of its own; UserError for a wrong choice."""
    defaults = registry.find("idrnet").options or {}
    given = {name: value for name, value in options.items() if name not in _NOT_IDRNETS}
    return resolve({**defaults, **given})
