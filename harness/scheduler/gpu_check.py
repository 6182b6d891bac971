"""Whether torch can compute on the GPUs that the driver lists: asked once, before the first of a run's jobs."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

from harness import environment
from harness.errors import MissingError


def ensure_usable(device: environment.Device, server: ForkServerContext) -> None:
    """MissingError that says why torch cannot use the GPU: a driver too old for it, a container without the driver."""
    receiver, sender = server.Pipe(duplex=False)
    process = server.Process(target=_compute, args=(sender,))
    process.start()
    sender.close()
    try:
        torch_version, reason = receiver.recv()
    except EOFError:
        process.join()
        torch_version, reason = "", f"the process that tried ended with exit code {process.exitcode}"
    process.join()
    if reason:
        driver = f" (driver {environment.driver()})" if environment.driver() else ""
        raise MissingError(
            f"the driver lists {device.name}{driver}, but torch {torch_version} cannot compute on it: {reason}. Install a driver "
            "and a torch that go together (what follows the + of its version is the CUDA it is built for; in a container, give "
            "it the GPUs, as with apptainer --nv), or run on CPUs: --device cpu"
        )


def _compute(sender: Connection) -> None:
    """Runs in a process of its own: a GPU that a process has once touched stays with it."""
    import torch

    try:
        (torch.ones(1, device="cuda") + 1).item()
        reason = ""
    except Exception as error:  # torch's own, and a driver's, of any kind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    sender.send((torch.__version__, reason))
