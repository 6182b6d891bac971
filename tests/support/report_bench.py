"""A small table with every kind of row, and a store that is filled by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.jobs.job import Job, Measurement
from harness.plan.planner import Plan
from harness.recipes.profile import Profile, Synthetic
from harness.store.store import Failure, Store
from harness.table.schema import Table
from reports.table_report import TableReport, build

PAPER = Profile(name="paper", about="as published", synthetic=Synthetic())
ENVIRONMENT = {
    "commit": "4e1c2aa0" * 5,
    "dirty": False,
    "python": "3.11.7",
    "packages": {"torch": "2.15.0"},
    "device": "cuda: Test GPU",
    "driver": "NVIDIA 580.1",
    "threads": 2,
    "system": "Linux",
    "host": "somewhere-private",
}
TABLE: dict[str, Any] = {
    "paper": "pspnet",
    "table": 5,
    "title": "Context modules",
    "about": "Small.",
    "defaults": {"num_classes": 11, "backbone": "resnet18", "output_stride": 16, "input": [[1, 32, 8, 8]]},
    "columns": {
        "params": {"label": "Params", "metric": "parameters"},
        "flops": {"label": "FLOPs", "metric": "flops", "convention": "mmcv-hooks"},
        "time": {"label": "Time", "metric": "latency", "relative_to": "ppm"},
        "score": {"label": "mIoU", "metric": "miou", "recipe": "mini/scenes", "split": "val", "statistic": "mean"},
    },
    "rows": {
        "ppm": {"label": "PPM", "method": "pspnet", "module": {"name": "ppm", "evidence": "confirmed"}},
        "aspp": {"label": "ASPP", "method": "deeplabv3", "module": {"name": "aspp", "evidence": "fitted"}},
        "ocr": {"label": "OCR", "method": "ocrnet", "module": {"name": "ocr", "evidence": "inferred"}},
        "other": {
            "label": "ASPP, wider",
            "method": {"name": "deeplabv3", "channels": 64},
            "compared_with": "aspp",
            "extra": True,
            "notes": "The released one.",
        },
        "quoted": {"label": "Quoted", "cited": "another paper"},
        "later": {"label": "Later", "awaits": "a method"},
    },
    "published": {
        "source": {"arxiv": "1612.01105", "table": 5},
        "values": {
            "ppm": {"params": 23.07, "flops": 309.45, "time": 20.0, "score": 42.64},
            "aspp": {"params": 42.21, "flops": 674.47, "time": 40.0, "score": 43.19},
            "ocr": {"params": 15.12, "flops": 242.48, "time": 16.0, "score": 42.47},
            "quoted": {"score": 41.5},
            "later": {"score": 44.0},
        },
    },
    "claims": [{"better": "aspp", "than": "ppm", "on": ["score"]}],
    "notes": ["One note."],
}
RECIPE = {
    "scenes": {
        "dataset": "camvid",
        "iterations": 10,
        "augmentation": {"resize": [64, 48], "crop": [32, 32]},
        "source": "Sec. 4",
        "differs": {"schedule.power": "the text says 1.0"},
    }
}


@dataclass
class ReportBench:
    """A table file, its plan and a store in a temporary folder."""

    folder: Path
    table: Table
    plan: Plan
    store: Store

    def jobs(self, row: str, column: str) -> Sequence[Job]:
        return next(c.jobs for c in self.plan.cells if (c.row, c.column) == (row, column))

    def measure(self, row: str, column: str, *values: float, **more: float) -> None:
        """Stores one printed value per repetition, as finished jobs with the trainings they need."""
        name = self.table.column(column).metric.name
        by = {"parameters": 1e6, "flops": 1e9}.get(name, 1.0)
        for job, value in zip(self.jobs(row, column), values):
            for key in job.needs:
                self.train(self.plan.jobs[key])
            known = self.store.result(job)
            kept = {m.name: m for m in known.measurements} if known is not None else {}
            convention = "mmcv-hooks" if name == "flops" else ""
            kept[name] = Measurement(name, value * by, "", convention)
            kept |= {k: Measurement(k, v) for k, v in more.items()}
            self.store.finish(job, list(kept.values()), ENVIRONMENT, started=1.79e9)

    def train(self, job: Job) -> None:
        if self.store.result(job) is not None:
            return
        self.store.finish(job, [Measurement("final_loss", 1.5)], ENVIRONMENT, started=1.79e9)
        lines = (json.dumps({"iteration": i, "lr": 0.1, "loss": 3 / (i + 1), "terms": {}}) for i in range(10))
        (self.store.folder(job) / "curve.jsonl").write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")

    def fail(self, row: str, column: str, failure: Failure, which: int = 0) -> None:
        self.store.fail(self.jobs(row, column)[which], failure)

    def outdate(self, row: str, column: str) -> None:
        """Makes what is stored of a cell a measurement of other code."""
        for job in self.jobs(row, column):
            result = self.store.result(job)
            assert result is not None
            shutil.rmtree(self.store.folder(job))
            code = {**job.parts["code"], "methods.layers": "0" * 64}
            older = replace(job, key="f" * 64, parts={**job.parts, "code": code})
            self.store.finish(older, result.measurements, ENVIRONMENT, started=1.7e9)

    def report(self) -> TableReport:
        return build(self.plan, self.table, self.store)


Make = Callable[..., ReportBench]
