"""Pretrained weights in a plan: which ones, by tag and content, and what is said where they are not here."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.scheduler.run import queue
from harness.store.store import Store
from tests.plan.test_planner import planned, table


def put_into_cache(cache: Path, weights: str, content: bytes) -> Path:
    """As Hugging Face's library keeps what timm downloads."""
    folder = cache / f"models--timm--{weights}"
    file = folder / "snapshots" / "c0ffee" / "model.safetensors"
    file.parent.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c0ffee")
    file.write_bytes(content)
    return file


def training_of(backbone: str, profile: str = "smoke"):
    wanted = table("a: {method: fcn, model: {pretrained: true}}", more=f"defaults: {{backbone: {backbone}}}")
    plan = planned(wanted, profile=profile)
    return plan, plan.jobs[plan.cells[0].jobs[0].needs[0]]


def test_the_key_holds_the_tag_and_the_content_of_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def weights() -> dict[str, str]:
        return training_of("resnet18", "paper")[1].parts["weights"]

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert weights() == {"file": "absent"}
    put_into_cache(tmp_path / "hub", "resnet18.tv_in1k", b"1")
    assert weights() == {"timm": "resnet18.tv_in1k", "sha256": hashlib.sha256(b"1").hexdigest()}
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    assert weights()["timm"] == "resnet18.tv_in1k"
    (tmp_path / "resnet18.pth").write_bytes(b"2")
    assert weights() == {"file": hashlib.sha256(b"2").hexdigest()}


@pytest.mark.parametrize("variable", ["HF_HOME", "XDG_CACHE_HOME"])
def test_the_cache_is_where_hugging_faces_library_keeps_it(variable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    put_into_cache(tmp_path / ("huggingface/hub" if variable == "XDG_CACHE_HOME" else "hub"), "resnet18.tv_in1k", b"1")
    assert training_of("resnet18", "paper")[1].parts["weights"]["timm"] == "resnet18.tv_in1k"


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        ("resnet18", r"weights of 'resnet18' \(timm's resnet18.tv_in1k\) are not here; .* weights download resnet18 "),
        ("timm/test_resnet", "'timm/test_resnet' does not say which of timm's weights: name their tag"),
        ("timm/test_resnet.r160_in1k", r"\(timm's test_resnet.r160_in1k\) are not here"),
        ("hfgd_resnet50", "its authors alone published any"),
    ],
)
def test_weights_that_are_not_here_are_said_before_anything_runs(backbone: str, reason: str, tmp_path: Path):
    """Downloaded by a job they would be in no key, and eight jobs would download them at once."""
    plan, training = training_of(backbone, "paper")
    assert re.search(reason, plan.blocked[training.key])
    assert training.key in queue(plan, Store(tmp_path)).blocked


def test_download_puts_them_where_plans_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    import timm

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    create = timm.create_model

    def download(model: str, *, pretrained: bool, **options):
        assert pretrained
        put_into_cache(tmp_path / "hub", model, b"1")
        return create(model, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", download)
    assert main.main(["weights", "download", "resnet18"]) == 0
    assert capsys.readouterr().out.startswith(f"resnet18: {tmp_path / 'hub'}")
    assert training_of("resnet18", "paper")[1].parts["weights"]["timm"] == "resnet18.tv_in1k"
    assert main.main(["weights", "download", "resnet5"]) == 2
    assert main.main(["weights", "download", "hfgd_resnet50"]) == 3
