"""One rank of a training for the tests of several GPUs, as torchrun starts it; a script.

    RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_PORT=… python tests/support/gpu_ranks.py JOB.json FOLDER DEVICE TASK

TASK: `train` (dropout off; leaves RANK.json with a digest of the buffers), `gather` (100 kB of text from every rank),
`raise` (rank 1 fails in the third step).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch import nn

from harness.jobs.kinds import TrainConfig
from harness.tasks.segmentation.train import build_training
from harness.training import checkpoint, distributed
from tests.support.gpu_cases import context


def main() -> None:
    job, folder, device, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    with distributed.process_group(device) as place:
        if task == "gather":
            texts = distributed.gather_texts(f"{place.rank}" * (100_000 + place.rank))
            assert texts == [f"{rank}" * (100_000 + rank) for rank in range(place.world)]
            return
        config = TrainConfig.model_validate_json(job.read_bytes())
        run = build_training(config, context(folder, folder.parent / "cache", device=device))
        for module in run.model.modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                module.p = 0.0
        if task == "raise":
            steps, step = [], run._step

            def failing(batch, factor):
                steps.append(factor)
                if place.rank == 1 and len(steps) == 3:
                    raise RuntimeError("rank 1 fails")
                return step(batch, factor)

            run._step = failing  # type: ignore[method-assign]
        run.run()
        state = {name: buffer for name, buffer in run.model.named_buffers() if "head" in name or "running" in name}
        (folder / f"{place.rank}.json").write_text(json.dumps(checkpoint.digest(state)))


if __name__ == "__main__":
    main()
