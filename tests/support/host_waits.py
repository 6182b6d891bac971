"""How often the host would wait for an accelerator: counted on any machine, for `tests/` and `benchmarks/`."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Synchronisations(TorchDispatchMode):
    """Counts operations whose result's value or shape the host must wait for on an accelerator."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name.removeprefix("aten::")
        masks = name.startswith("index") and any(
            i is not None and i.dtype == torch.bool for i in (args[1] if isinstance(args[1], list | tuple) else [])
        )
        self.count += masks or name.lstrip("_").startswith(tuple(w.lstrip("_") for w in self.waits))
        return function(*args, **(kwargs or {}))
