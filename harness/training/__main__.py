"""One training on several processes or nodes: `torchrun --nproc-per-node 8 -m harness.training JOB.json --folder DIR`.

JOB.json is the configuration of a train job. Under Slurm, `srun python -m harness.training JOB.json --folder DIR` with one
task per GPU does the same. SIGTERM, SIGUSR1 and SIGUSR2 (preemption, end of the time limit) save a checkpoint and exit with
code 75; the same command goes on from it. Rank 0 prints the measurements, one JSON line each.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from harness.cli.progress import progress_line
from harness.errors import Exit, Interrupted, UserError
from harness.jobs.context import Context, Progress
from harness.jobs.kinds import TrainConfig
from harness.training.distributed import place

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str] | None = None) -> int:
    """Runs the training and gives the exit code (harness.errors.Exit)."""
    parser = argparse.ArgumentParser(
        "harness.training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("job", type=Path, help="configuration of a train job, JSON")
    parser.add_argument(
        "--folder", type=Path, required=True, help="where checkpoints and curve go; shared by all nodes"
    )
    parser.add_argument(
        "--cache", type=Path, help="synthetic scenes, manifests; shared by all nodes (default: FOLDER/cache)"
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("HARNESS_DATA"), help="one folder per dataset")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda where there is one")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each process")
    options = parser.parse_args(arguments)
    try:
        config = _read(options.job)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit
    import torch

    from harness.tasks.segmentation.train import train

    first, seen = place().rank == 0, []
    for number in STOPPING:
        signal.signal(number, lambda number, frame: seen.append(number))
    context = Context(
        folder=options.folder,
        cache=options.cache or options.folder / "cache",
        data_dir=Path(options.data) if options.data else None,
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        threads=options.threads,
        progress=partial(_print, time.monotonic()) if first else lambda progress: None,
        should_stop=lambda: bool(seen),
    )
    try:
        measured = train(config, context)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return Exit.RESUMABLE
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit
    if first:
        for measurement in measured:
            print(json.dumps(measurement._asdict()))
    return Exit.OK


def _read(path: Path) -> TrainConfig:
    """The configuration in a file; UserError with every field that does not fit."""
    try:
        return TrainConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, issue['loc'])) or 'whole file'}: {issue['msg']}" for issue in error.errors()]
        raise UserError("\n".join([f"{path}: not a train job's configuration:", *lines])) from None


def _print(started: float, progress: Progress) -> None:
    print(progress_line(progress, time.monotonic() - started), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
