"""The hook for logs of a training beside curve.jsonl: TensorBoard, Weights & Biases, MLflow, or a class of one's own.

HARNESS_LOGGERS names them, apart by commas (`run --logger` and a profile's `loggers` set it). It is a setting of the run and
not of the recipe: logging changes no number and no key. A logger is called as `Logger(folder, name, iteration, config)` with the
job's folder, a name for people, the iterations done and the job's configuration as JSON; it has `append(records)`, which takes
lines of the curve, and `close()`. Only the first process of a training logs.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import MissingError, UserError, nearest

log = logging.getLogger("harness.training")

VARIABLE = "HARNESS_LOGGERS"
TENSORBOARD_VARIABLE = "HARNESS_TENSORBOARD"
KNOWN = {
    "tensorboard": ("torch.utils.tensorboard", "harness.training.tensorboard:TensorBoard"),
    "wandb": ("wandb", "harness.training.trackers:Wandb"),
    "mlflow": ("mlflow", "harness.training.trackers:MLflow"),
}
"""{name: (the module that it needs, its class here)}; each is an extra of that name."""


def names() -> list[str]:
    """The loggers that are asked for, each once; HARNESS_TENSORBOARD=1 asks for that one, too."""
    asked = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return list(dict.fromkeys([*asked, *(["tensorboard"] if _says_tensorboard() else [])]))


def _says_tensorboard() -> bool:
    return os.environ.get(TENSORBOARD_VARIABLE, "") not in ("", "0")


def check_name(name: str) -> None:
    """UserError for a name that is neither known nor a class in a file."""
    if ".py:" not in name and name not in KNOWN:
        raise UserError(f"logger '{name}' is not known.{nearest(name, KNOWN)}, or path/to/file.py:Class")


def opener(folder: Path, name: str, config: Mapping[str, Any]) -> Callable[[int], Several] | None:
    """What opens all loggers asked for, called with the iterations done; None where none is asked for.

    MissingError where the package of one is absent, UserError for an unknown one: before any data is read.
    """
    classes = [(asked, _class_of(asked)) for asked in names()]
    if not classes:
        return None

    def opened(iteration: int) -> Several:
        return Several(
            [Tolerant(asked, functools.partial(one, folder, name, iteration, config)) for asked, one in classes]
        )

    return opened


def _class_of(name: str) -> Callable[..., Any]:
    check_name(name)
    if name not in KNOWN:
        return _class_in_file(name)
    needed, place = KNOWN[name]
    try:
        importlib.import_module(needed)
    except ImportError as error:
        variable = TENSORBOARD_VARIABLE if name == "tensorboard" and _says_tensorboard() else VARIABLE
        raise MissingError(
            f"{variable} asks for {name}, but it is not installed ({error}). Install it with pip install -e '.[{name}]', or "
            f"unset {variable}; curve.jsonl is written either way"
        ) from None
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _class_in_file(name: str) -> Callable[..., Any]:
    path, _, attribute = name.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"logger '{name}': there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"harness_logger_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"logger '{name}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(getattr(module, attribute, None)):
        raise UserError(f"logger '{name}': {file} has no class '{attribute}'")
    return getattr(module, attribute)


class Several:
    """Loggers side by side."""

    def __init__(self, loggers: Sequence[Any]) -> None:
        self.loggers = loggers

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        for one in self.loggers:
            one.append(records)

    def close(self) -> None:
        for one in self.loggers:
            one.close()


class Tolerant:
    """A logger whose failure ends no training: a server that does not answer is said once in the job's log, and left alone.

    A UserError (a disk that is full, where the logger writes to the job's folder) ends it as every other output does.
    """

    def __init__(self, name: str, open_logger: Callable[[], Any]) -> None:
        self.name, self._logger = name, None
        self._logger = self._try(open_logger)

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        if self._logger is not None and records:
            self._try(self._logger.append, records)

    def close(self) -> None:
        if self._logger is not None:
            self._try(self._logger.close)
        self._logger = None

    def _try(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except UserError:
            raise
        except Exception as error:
            log.warning("logger %s gave up: %s: %s; curve.jsonl goes on", self.name, type(error).__name__, error)
            self._logger = None
            return None
