"""What the adapters cost: a step through one over the bare model's, and the start of a job with mmsegmentation over one without.

CPU seconds, the least of several, both sides taken in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from harness import ROOT
from harness.jobs.context import Context
from harness.jobs.kinds import ComplexityConfig, Model
from harness.table.load import load
from harness.table.metrics import scale
from harness.tasks.complexity import measure
from methods.build import build_model
from reports import verdict
from tests.support.ratios import cpu_seconds, record, report

pytest.importorskip("mmseg")
ADAPTER = Model(
    name="adapters/mmsegmentation",
    options={"config": "fcn_r18-d8_4xb2-80k_cityscapes-512x1024"},
    num_classes=19,
    backbone="own",
)
OURS = Model(name="fcn", num_classes=19, backbone="resnet18", output_stride=8)
_START = """\
import harness.scheduler.preload
from harness.jobs.kinds import Model
from methods.build import build_model
build_model(Model.model_validate_json({!r}))
"""
_SERVER = """\
import importlib, json, os, sys
import harness.scheduler.preload
from harness.jobs.kinds import Model
from harness.scheduler.fork_server import LIBRARIES
from methods.build import build_model
importlib.import_module(*LIBRARIES["mmseg"])
seconds = [[] for _ in sys.argv[1:]]
for _ in range(3):
    for taken, model in zip(seconds, sys.argv[1:]):
        process = os.fork()
        if process == 0:
            build_model(Model.model_validate_json(model))
            os._exit(0)
        _, status, usage = os.wait4(process, 0)
        assert status == 0
        taken.append(usage.ru_utime + usage.ru_stime)
print(json.dumps([min(taken) for taken in seconds]))
"""


def test_a_step_through_mmsegmentations_adapter_costs_at_most_a_hundredth_more(benchmark):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    torch.set_num_threads(1)
    torch.manual_seed(0)
    segmentor = build_model(ADAPTER)
    images, targets = torch.randn(2, 3, 128, 128), torch.randint(19, (2, 128, 128))
    samples = []
    for target in targets:
        sample = SegDataSample(metainfo={"img_shape": (128, 128)})
        sample.gt_sem_seg = PixelData(data=target[None])
        samples.append(sample)

    def through_the_adapter() -> None:
        segmentor.zero_grad(set_to_none=True)
        sum(segmentor.losses(images, targets).values()).backward()

    def bare() -> None:
        segmentor.zero_grad(set_to_none=True)
        losses, _ = segmentor.model.parse_losses(segmentor.model.loss(images, samples))
        losses.backward()

    ours, peer = cpu_seconds(through_the_adapter, bare, rounds=30)
    report(benchmark, "a step of FCN on ResNet-18", ours, peer, "at most 1.01")
    record(benchmark, lambda: None)
    assert ours / peer <= 1.01


def test_a_step_through_transformers_adapter_costs_at_most_a_hundredth_more(benchmark):
    """SegFormer at 150 classes, where the library's own loss resizes as many logits as ours."""
    pytest.importorskip("transformers")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    segformer = Model(name="adapters/transformers", options={"config": "segformer_b0"}, num_classes=150, backbone="own")
    segmentor = build_model(segformer)
    images, targets = torch.randn(2, 3, 128, 128), torch.randint(150, (2, 128, 128))

    def through_the_adapter() -> None:
        segmentor.zero_grad(set_to_none=True)
        sum(segmentor.losses(images, targets).values()).backward()

    def bare() -> None:
        segmentor.zero_grad(set_to_none=True)
        segmentor.model(images, labels=targets).loss.backward()

    ours, peer = cpu_seconds(through_the_adapter, bare, rounds=30)
    report(benchmark, "a step of SegFormer-B0", ours, peer, "at most 1.01")
    record(benchmark, lambda: None)
    assert ours / peer <= 1.01


@pytest.mark.parametrize("row", ["dpt_vit_b", "setr_pup_vit_l", "segmenter_vit_l", "upernet_knet_swin_l"])
def test_counts_of_quoted_rows_print_the_published_digits(benchmark, row, tmp_path):
    """Half a minute each, so not among the tests: ECENet's Table 1."""
    table = load(ROOT / "tables" / "ecenet_table1.yaml")
    cells = [table.cell(row, column) for column in ("gflops", "params")]
    shapes, options = cells[0].shapes, dict(cells[0].options)
    assert shapes is not None
    model = Model(name=ADAPTER.name, options=options, num_classes=150, backbone="own")
    config = ComplexityConfig(model=model, input=shapes, convention=cells[0].convention)
    context = Context(folder=tmp_path, cache=tmp_path, data_dir=None, device="cpu", threads=1)
    measured = {m.name: m.value for m in measure.count(config, context)}
    for cell in cells:
        if cell.published is not None:
            value = measured[cell.metric.name] / scale(cell.metric, cell.convention)
            assert verdict.exact(value, cell.published.text, cell.rounding).word == verdict.REPRODUCED, (
                cell.name,
                value,
            )
    record(benchmark, lambda: None)


def process_seconds(model: Model) -> float:
    """CPU seconds of a process that loads what a job loads and builds its model."""
    with open(os.devnull, "w") as null:
        files = [(os.POSIX_SPAWN_DUP2, null.fileno(), number) for number in (1, 2)]
        arguments = [sys.executable, "-c", _START.format(model.model_dump_json())]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pid = os.posix_spawn(sys.executable, arguments, environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_utime + usage.ru_stime


def test_under_a_warm_server_a_job_with_mmsegmentation_starts_in_at_most_twice_the_time_of_one_without(benchmark):
    models = [model.model_dump_json() for model in (ADAPTER, OURS)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _SERVER, *models], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, peer = json.loads(done.stdout.splitlines()[-1])
    report(benchmark, "start of a job under a warm server", ours, peer, "at most 2")
    record(benchmark, lambda: None)
    assert ours / peer <= 2


def test_a_process_with_mmsegmentation_starts_in_at_most_twice_the_time_of_one_without(benchmark):
    rounds = [(process_seconds(ADAPTER), process_seconds(OURS)) for _ in range(2)]
    ours, peer = (min(side) for side in zip(*rounds))
    report(benchmark, "start of a process, as under Slurm", ours, peer, "at most 2")
    record(benchmark, lambda: None)
    assert ours / peer <= 2
