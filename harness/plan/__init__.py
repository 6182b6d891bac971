"""The room `plan`, which can be called: importing it puts this package where the function `harness.plan` was."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import harness

_plan = vars(harness)["plan"]  # the function: this package takes its name only after it is imported


class _CallableRoom(ModuleType):
    """`harness.plan("camvid")` before and after `import harness.plan.planner`."""

    def __call__(self, *tables: Any, **options: Any) -> Any:
        return _plan(*tables, **options)


sys.modules[__name__].__class__ = _CallableRoom
