"""A small table whose rows name files of weights, its profile and recipe, and a model that fits them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from harness.environment import Device
from harness.jobs.kinds import Model
from harness.plan.planner import Plan, PlannedCell, Planner
from harness.table import recipes
from harness.table.load import load
from methods.build import build_model

PROFILE = """
name: own
about: scenes, but the table's own model
comparable: false
recipe: {pretrained: false}
synthetic: {train_images: 2, test_images: 2, size: [64, 96]}
"""
RECIPES = """
tiny:
  dataset: camvid
  batch_size: 2
  iterations: 1
  augmentation: {resize: [96, 64], crop: [64, 64]}
  test: {split: val, resize: [96, 64]}
"""
TABLE = """
paper: own
title: Given weights
metric: miou
defaults: {backbone: resnet18, output_stride: 16, recipe: own/tiny}
columns:
  miou: {}
  macc: {metric: macc}
  speed: {metric: train_throughput}
  params: {metric: parameters, input: [[1, 3, 64, 64]]}
rows:
  given: {method: {name: fcn, channels: 8}, checkpoint: "weights/{column}.pth"}
  cell: {method: {name: fcn, channels: 8}, cells: {miou: {checkpoint: weights/miou.pth}}}
"""


def fcn18() -> nn.Module:
    """The model of TABLE's rows, with weights of its own."""
    torch.manual_seed(3)
    options = {"num_classes": 11, "backbone": "resnet18", "output_stride": 16}
    return build_model(Model(name="fcn", options={"channels": 8}, **options))


def fill(folder: Path) -> Path:
    """Writes the table, its profile and its recipe into `folder`."""
    for name, text in {"profiles/own": PROFILE, "recipes/own": RECIPES, "table": TABLE}.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def planned(folder: Path, profile: str = "own", repetitions: tuple[int, ...] = (0,)) -> Plan:
    found = recipes.profile(profile, near=folder)
    planner = Planner(found, repetitions, cache=folder / "cache", device=Device("cpu", "test", 1))
    return planner.plan([load(folder / "table.yaml")])


def cell(plan: Plan, row: str, column: str) -> PlannedCell:
    (found,) = [c for c in plan.cells if (c.row, c.column) == (row, column)]
    return found
