"""Whether torch can compute on the GPUs that the driver lists: asked once, before the first of a run's jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from harness import environment
from harness.errors import MissingError
from harness.files import read_json, temporary_path, write_json
from harness.jobs.job import Job
from harness.scheduler.fork_server import ForkServer
from harness.scheduler.number_formats import check_number_formats


def ensure_usable(device: environment.Device, server: ForkServer, folder: Path, jobs: Iterable[Job]) -> None:
    """MissingError that says why torch cannot use the GPU: a driver too old for it, a container without the driver; or which
    number format of these jobs it lacks.

    `folder`: where the process that tries may write.
    """
    report = temporary_path(folder / "gpu_check.json")
    number, code = server.start(f"{__name__}:compute", [str(report)], os.environ), None
    while code is None:
        server.wait([number], 1.0)
        code = server.exit_code(number)
    answer = read_json(report) or {"reason": f"the process that tried ended with exit code {code}"}
    report.unlink(missing_ok=True)
    torch_version, reason = answer.get("torch", ""), answer["reason"]
    if reason:
        driver = f" (driver {environment.driver()})" if environment.driver() else ""
        raise MissingError(
            f"the driver lists {device.name}{driver}, but torch {torch_version} cannot compute on it: {reason}. Install a driver "
            "and a torch that go together (what follows the + of its version is the CUDA it is built for; in a container, give "
            "it the GPUs, as with apptainer --nv), or run on CPUs: --device cpu"
        )
    check_number_formats(jobs, tuple(answer["capability"]), device.name)


def compute(report: str) -> int:
    """Writes the version of torch, and why it cannot compute ('' where it can), and the GPU's compute capability.

    Runs in a process of its own: a GPU that a process has once touched stays with it.
    """
    import torch

    capability = (0, 0)
    try:
        (torch.ones(1, device="cuda") + 1).item()
        capability, reason = torch.cuda.get_device_capability(), ""
    except Exception as error:  # torch's own, and a driver's, of any kind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    write_json(Path(report), {"torch": torch.__version__, "reason": reason, "capability": capability}, durable=False)
    return 0
