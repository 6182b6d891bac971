"""Weights & Biases and MLflow beside curve.jsonl: the optional extras `wandb` and `mlflow`, set up by their own variables.

A training that goes on goes on in the same run there; what the run already has of iterations after the checkpoint stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.files import write_text
from harness.spec import flatten
from harness.training.tensorboard import scalars

PROJECT = "segmentation-harness"
_RUN = "mlflow_run.txt"
_LONGEST = 250  # letters of a value; what MLflow's oldest servers take


class Wandb:
    """A run per training, whose id is the job's key; WANDB_PROJECT, WANDB_MODE and so on are Weights & Biases' own."""

    def __init__(self, folder: Path, name: str, iteration: int, config: Mapping[str, Any]) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._run = wandb.init(
            project=project, name=name, id=folder.name, resume="allow", config=dict(config), dir=str(folder)
        )

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self._run.log(scalars(record), step=record["iteration"])

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run per training, whose id is kept in the job's folder; MLFLOW_TRACKING_URI and so on are MLflow's own."""

    def __init__(self, folder: Path, name: str, iteration: int, config: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        kept = folder / _RUN
        if iteration and kept.is_file():
            mlflow.start_run(run_id=kept.read_text(encoding="utf-8").strip())
            return
        run = mlflow.start_run(run_name=name)
        write_text(kept, run.info.run_id)
        mlflow.log_params({key: str(value)[:_LONGEST] for key, value in flatten(config).items()})

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self._mlflow.log_metrics(scalars(record), step=record["iteration"])

    def close(self) -> None:
        self._mlflow.end_run()
