"""IDRNet's Table 5, columns Time and GPU memory: the modules at 1 × 2048 × 128 × 128, float32 products with TF32 off and on.

    PYTHONPATH=. python benchmarks/gpu_table5.py OUT.csv [--device cpu --side 16 --passes 3]

CUDA events around each of 100 passes after 20; memory is what a pass takes beyond input and weights. The published figures are
of an RTX 3090 Ti, so what can be compared are ratios between rows: each line has its own and the published one, to the row OCR.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import torch

from harness import ROOT
from harness.environment import Device
from harness.jobs.kinds import LatencyConfig
from harness.plan.planner import PlannedCell, Planner, Selection
from harness.recipes.profile import Profile
from harness.table.load import load
from harness.tasks.complexity import latency
from harness.tasks.complexity.measure import _inputs, _module
from harness.training.tf32 import fp32_products

FIELDS = ("row", "tf32", "milliseconds", "q25", "q75", "mib", "time_to_ocr", "published_time_to_ocr")
FIELDS += ("memory_to_ocr", "published_memory_to_ocr", "device", "torch", "error")
WARM_UP = 20


def cells(side: int | None) -> dict[str, dict[str, PlannedCell]]:
    """{row: {time, memory: its cell}} of the table's rows, at its own input or (`side`) at a smaller one."""
    planner = Planner(
        Profile(name="paper", about="", features_side=side), cache=Path("/dev/null/cache"), device=Device("cuda", "", 1)
    )
    plan = planner.plan([load(ROOT / "tables" / "idrnet_table5.yaml")], Selection((), ("time", "memory")))
    rows: dict[str, dict[str, PlannedCell]] = {}
    for cell in plan.cells_to_measure():
        rows.setdefault(cell.row, {})[cell.column] = cell
    return rows


def measure(config: LatencyConfig, device: str, passes: int, *, tf32: bool) -> dict[str, float]:
    """Quartiles in ms and MiB of one module."""
    torch.manual_seed(0)
    with torch.device(device):
        module = _module(config.model, config.input).eval()
        inputs = _inputs(config.model, config.input)

    def forward() -> object:
        return module(*inputs)

    with torch.inference_mode(), fp32_products(tf32=tf32):
        peak = latency.peak_bytes(forward, device)
        latency.timed(forward, device, WARM_UP if device == "cuda" else 0, after=lambda i: None)
        timing = latency.timed(forward, device, passes, after=lambda i: None)
    quartiles = {name: timing.quantile(q) for name, q in (("milliseconds", 0.5), ("q25", 0.25), ("q75", 0.75))}
    return {**quartiles, "mib": peak / 2**20}


def lines(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    card = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    rows = cells(arguments.side)
    first = next(iter(rows))
    for tf32 in (False, True) if arguments.device == "cuda" else (False,):
        reference: dict[str, float] = {}
        for row, of_row in rows.items():
            line: dict[str, object] = dict.fromkeys(FIELDS, "")
            line |= {"row": row, "tf32": tf32, "device": card, "torch": torch.__version__}
            try:
                config = LatencyConfig.model_validate(of_row["time"].jobs[0].config)
                figures = measure(config, arguments.device, arguments.passes, tf32=tf32)
                reference = reference or figures
                line |= figures
                for column, figure in (("time", "milliseconds"), ("memory", "mib")):
                    line[f"{column}_to_ocr"] = figures[figure] / reference[figure]
                    ours, ocr = of_row[column].cell.published, rows[first][column].cell.published
                    if ours is not None and ocr is not None and not of_row[column].cell.compared_row:
                        line[f"published_{column}_to_ocr"] = ours.value / ocr.value
            except Exception as error:  # a line of its own; the next one may well work
                line["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            if arguments.device == "cuda":
                torch.cuda.empty_cache()
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--side", type=int, help="of the feature map (128)")
    parser.add_argument("--passes", type=int, default=100)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for line in lines(arguments):
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in line.items()})
            file.flush()
            print({k: v for k, v in line.items() if v != ""}, flush=True)


if __name__ == "__main__":
    main()
