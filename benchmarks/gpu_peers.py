"""The same training by this harness and by mmengine's Runner on a GPU, in one call: images/s and peak memory of both.

    PYTHONPATH=. python benchmarks/gpu_peers.py OUT.csv [--rounds 3]

What benchmarks/training_peers.py compares on a CPU, at its size; both sides run alternately, each in a process.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PEERS = Path(__file__).with_name("training_peers.py")
ITERATIONS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sides = ["ours", *(["mmengine"] if importlib.util.find_spec("mmseg") else [])]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder, arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("who", "dataset", "layout", "round", "images_per_s", "MiB", "error"))
        for dataset in ("cityscapes", "ade20k"):
            for turn in range(arguments.rounds):
                for layout in ("contiguous", "channels_last"):
                    for who in sides:
                        command = [sys.executable, str(PEERS), who, dataset, layout, folder, str(ITERATIONS)]
                        environ = {**os.environ, "PEERS_ON_GPU": "1"}
                        done = subprocess.run(command, capture_output=True, text=True, env=environ)
                        line = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
                        error = "" if line else (done.stderr.strip().splitlines() or ["no output"])[-1][:200]
                        failed |= not line
                        values = (line.get("per_second", ""), line.get("MiB", ""), error)
                        writer.writerow((who, dataset, layout, turn, *values))
                        file.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
