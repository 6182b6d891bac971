"""The jobs `complexity` and `latency`, and the measure of peak memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.errors import Interrupted, UserError
from harness.jobs import kinds
from harness.jobs.context import Context
from harness.table import metrics
from harness.tasks.complexity import conventions, latency, measure
from harness.training.tf32 import fp32_products
from methods import registry
from methods.build import build_model


def context(folder, **changes):
    given = {"cache": folder, "data_dir": None, "device": "cpu", "threads": 1, **changes}
    return Context(folder=folder, **given)


def values(measurements):
    return {m.name: m.value for m in measurements}


def test_every_convention_of_the_tables_has_a_counter():
    assert set(conventions.COUNTERS) == set(metrics.CONVENTIONS)


@pytest.mark.slow
def test_a_whole_model_s_parameters_include_the_auxiliary_head(tmp_path):
    """UPerNet on ResNet-101 as ECENet's Table 1 prints it: 258 G and 85.5 M (83.1 M at test time)."""
    options = {"auxiliary_channels": 256}
    model = kinds.Model(name="upernet", options=options, num_classes=150, backbone="resnet101_v1c", output_stride=32)
    found = {}
    for convention in ("mmcv-hooks", "mmcv-model"):
        config = kinds.ComplexityConfig(model=model, input=((1, 3, 512, 512),), convention=convention)
        found[convention] = values(measure.count(config, context(tmp_path)))
    assert found["mmcv-model"]["flops"] == found["mmcv-hooks"]["flops"]
    printed = {name: (f"{v['flops'] / 1e9:.0f}", f"{v['parameters'] / 1e6:.1f}") for name, v in found.items()}
    assert printed == {"mmcv-hooks": ("258", "83.1"), "mmcv-model": ("258", "85.5")}


def test_an_unknown_convention_is_named_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'fvcore'"):
        conventions.find("fvcor")


@pytest.mark.slow
def test_peak_memory_is_what_is_alive_at_once():
    x = torch.zeros(64, 1024)  # 256 KiB
    unit = x.numel() * x.element_size()
    out = []
    assert latency.peak_bytes(lambda: out.append(torch.zeros_like(x)), "cpu") == unit
    # relu(x) lives while its double is made, and is released after: two at once, never three
    assert latency.peak_bytes(lambda: out.append(torch.relu(torch.add(torch.relu(x), x))), "cpu") == 2 * unit
    assert latency.peak_bytes(lambda: x.add_(x), "cpu") == 0


@pytest.mark.slow
def test_peak_memory_of_a_layer_leaves_out_input_and_weights():
    layer, x = nn.Linear(256, 64, bias=False), torch.zeros(128, 256)
    with torch.no_grad():
        assert latency.peak_bytes(lambda: layer(x), "cpu") == 128 * 64 * 4


def test_share_of_others_leaves_out_this_process_and_short_times(monkeypatch):
    clock = iter([(100.0, 200.0, 10.0), (106.0, 210.0, 12.0), (100.0, 200.0, 10.0), (100.5, 200.5, 10.0)])
    monkeypatch.setattr(latency.CpuContention, "_read", staticmethod(lambda: next(clock)))
    assert latency.CpuContention().percent() == 40.0  # 6 s of 10 s were used, 2 s by this process
    assert latency.CpuContention().percent() is None
    monkeypatch.setattr(latency.CpuContention, "_read", staticmethod(lambda: None))
    assert latency.CpuContention().percent() is None


def test_timed_runs_as_often_as_asked_and_interpolates_quantiles():
    calls, done = [], []
    timing = latency.timed(lambda: calls.append(1), "cpu", 5, after=done.append)
    assert (len(calls), done, len(timing.milliseconds)) == (5, [1, 2, 3, 4, 5], 5)
    assert latency.Timing((4.0, 1.0, 2.0)).quantile(0.5) == 2.0
    assert latency.Timing((4.0, 1.0, 2.0)).quantile(0.25) == 1.5


@pytest.mark.parametrize("convention", sorted(conventions.COUNTERS))
def test_count_of_a_context(convention, tmp_path):
    config = kinds.ComplexityConfig(
        model=kinds.Model(kind="context", name="fcn", options={"channels": 8}, num_classes=5),
        input=((1, 16, 10, 10),),
        convention=convention,
    )
    counted = values(measure.count(config, context(tmp_path)))
    macs = 16 * 8 * 9 * 100
    hooks = 2 * 800 + 800
    each = {"mmcv-hooks": hooks, "mmcv-model": hooks, "fvcore": 2 * 800, "tf-profiler": (800 + 5 * 8) / 2}
    assert counted == {"parameters": 16 * 8 * 9 + 16, "flops": macs + each[convention]}


def test_count_of_a_whole_model_leaves_the_auxiliary_head_out(tmp_path):
    model = kinds.Model(
        name="fcn", options={"channels": 8}, num_classes=5, backbone="resnet18", output_stride=8, pretrained=True
    )
    config = kinds.ComplexityConfig(model=model, input=((1, 3, 64, 64),), convention="mmcv-hooks")
    counted = values(measure.count(config, context(tmp_path)))
    head = 512 * 8 * 9 + 16 + 8 * 5 + 5
    assert counted["parameters"] == 11_176_512 + head
    assert counted["flops"] > 64 * head


@pytest.mark.slow
def test_time_measures_and_reports_progress(tmp_path):
    seen = []
    model = kinds.Model(kind="context", name="ppm", options={"channels": 4}, num_classes=5)
    config = kinds.LatencyConfig(model=model, input=((1, 8, 12, 12),), device="cpu: any", repeats=3)
    measured = measure.time(config, context(tmp_path, progress=seen.append))
    found = values(measured)
    assert 0 < found["latency_q25"] <= found["latency"] <= found["latency_q75"]
    assert found["peak_memory"] > 0
    assert "1 thread," in measured[0].convention
    assert [p.done for p in seen] == [1, 2, 3, 4]


@pytest.mark.slow
def test_products_are_plain_while_timed_and_as_before_afterwards(tmp_path, monkeypatch):
    timed, seen = latency.timed, []

    def timed_and_seen(*arguments, **options):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return timed(*arguments, **options)

    monkeypatch.setattr(latency, "timed", timed_and_seen)
    model = kinds.Model(kind="context", name="fcn", options={"channels": 4}, num_classes=5)
    config = kinds.LatencyConfig(model=model, input=((1, 8, 12, 12),), device="cpu: any")
    with fp32_products(tf32=True):
        measure.time(config, context(tmp_path))
        assert set(seen) == {(False, False)}
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32


@pytest.mark.slow
def test_time_stops_when_asked(tmp_path):
    model = kinds.Model(kind="context", name="fcn", options={"channels": 4}, num_classes=5)
    config = kinds.LatencyConfig(model=model, input=((1, 8, 12, 12),), device="cpu: any")
    with pytest.raises(Interrupted):
        measure.time(config, context(tmp_path, should_stop=lambda: True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "pspnet", "options": {"chanels": 3}}, "no option 'chanels'"),
        ({"name": "pspnt"}, "Did you mean 'pspnet'"),
        ({"name": "fcn"}, "needs a backbone"),
        ({"kind": "context", "name": "ppm", "backbone": "resnet18"}, "is no segmentor"),
        ({"name": "fcn", "backbone": "resnet19"}, "Did you mean 'resnet18'"),
        ({"name": "fcn", "backbone": "resnet18", "output_stride": 4}, "not one of 8, 16, 32"),
    ],
)
def test_a_model_that_cannot_be_built_says_why(changes, message):
    with pytest.raises(UserError, match=message):
        build_model(kinds.Model(**{"num_classes": 5, **changes}))


def test_the_backbone_is_built_first():
    """Under one seed, two methods start from the same backbone weights."""
    models = []
    for name in ("fcn", "pspnet"):
        torch.manual_seed(0)
        models.append(
            build_model(kinds.Model(name=name, options={"channels": 4}, num_classes=3, backbone="resnet18")).backbone
        )
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        assert torch.equal(a, b)


def test_a_context_that_needs_classes_is_given_them():
    module = build_model(kinds.Model(kind="context", name="ocr", num_classes=7), feature_channels=[16])
    assert module.coarse.out_channels == 7
    assert "num_classes" in registry.find("ocr", "context").options
