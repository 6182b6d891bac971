"""Every random number generator a training draws from: seeded together, saved and restored together."""

from __future__ import annotations

import json
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy (its global generator) and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> str:
    """The state of this process's generators, on a GPU of the current device's too, as JSON."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": [name, keys.tolist(), position, has_gauss, gauss],
        "torch": torch.get_rng_state().tolist(),
        "cuda": torch.cuda.get_rng_state().tolist() if torch.cuda.is_initialized() else None,
    }
    return json.dumps(state, separators=(",", ":"))


def restore(state: str) -> None:
    """Puts every generator back where `capture` found it."""
    states = json.loads(state)
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, *numpy_rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *numpy_rest))
    torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(torch.tensor(states["cuda"], dtype=torch.uint8))
