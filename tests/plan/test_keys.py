"""What a key is made of: code that is found by name, what is used of a dataset, packages, weights; and who gets it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.data import catalogue
from harness.data.synthetic import synthesize
from harness.jobs.job import Job
from harness.jobs.key import Code, changes
from harness.jobs.kinds import ComplexityConfig, Data, EvaluateConfig, Model
from harness.plan.keys import KeyParts
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import TestProtocol
from harness.scheduler.worker import Request

CODE = Code()  # read once for all tests


def evaluation_on(name: str, *, model: Model | None = None, **options) -> EvaluateConfig:
    model = model or Model(name="fcn", num_classes=11, backbone="resnet18")
    given = {"protocol": TestProtocol(), "profile": "own", "seed": 0}
    return EvaluateConfig(model=model, data=Data(name=name), **given, **options)


def parts_of(config, folder: Path, kind: str = "evaluate") -> tuple[dict, list[str]]:
    return KeyParts(CODE, folder / "data", folder / "cache").of(kind, config)


def test_code_that_an_option_names_counts(tmp_path: Path):
    """It is built by name and imported nowhere, as a method outside the checkout may do."""
    (tmp_path / "mine.py").write_text(
        "from methods.registry import build, register\n"
        "from methods.segmentor import EncoderDecoder\n\n\n"
        "@register('mine')\n"
        "def mine(backbone, num_classes, *, context='ppm'):\n"
        "    return EncoderDecoder(backbone, build(context, backbone.channels, kind='context'), num_classes)\n"
    )

    def contexts(name: str) -> set[str]:
        model = Model(name=f"{tmp_path}/mine.py:mine", options={"context": name}, num_classes=2, backbone="resnet18")
        parts, _ = parts_of(
            ComplexityConfig(model=model, input=((1, 3, 8, 8),), convention="x"), tmp_path, "complexity"
        )
        assert any(module.startswith("external_method_mine") for module in parts["code"])
        return {module for module in parts["code"] if "contexts." in module}

    assert contexts("ppm") == {"methods.contexts.ppm"}
    assert contexts("ccnet") == {"methods.contexts.bottleneck", "methods.contexts.ccnet"}


@pytest.mark.parametrize(
    ("backbone", "families", "packages"),
    [
        ("resnet50", {"_common", "_timm_pyramid", "resnet"}, {"timm"}),
        ("swin_large", {"_common", "_timm_pyramid", "_padded_swin", "swin"}, {"timm"}),
        ("timm/convnext_tiny", {"_common", "_timm_pyramid", "_padded_swin", "timm_models"}, {"timm"}),
        ("unheard of", set(), set()),  # said where the model is built
    ],
)
def test_the_family_of_the_backbone_alone_counts(backbone: str, families: set, packages: set, tmp_path: Path):
    config = evaluation_on("camvid", model=Model(name="fcn", num_classes=11, backbone=backbone))
    parts, _ = parts_of(config, tmp_path)
    found = {module.rpartition(".")[2] for module in parts["code"] if module.startswith("methods.backbones.")}
    assert (found, set(parts.get("packages", {}))) == (families, packages)


@pytest.mark.parametrize(("layout", "reader"), [("prepared", False), ("official", True)])
def test_the_layout_on_disk_decides_who_reads_labels(layout: str, reader: bool, tmp_path: Path):
    scenes = Synthetic(train_images=1, test_images=1, size=(16, 24))
    synthesize("coco_stuff10k", tmp_path / "data", scenes=scenes, layout=layout)
    parts, blocked = parts_of(evaluation_on("coco_stuff10k"), tmp_path)
    assert blocked == []
    assert parts["data"]["coco_stuff10k"]["layout"] == layout
    assert ("harness.data.annotations.matlab" in parts["code"]) == reader


def test_absent_data_are_a_fact_and_a_reason(tmp_path: Path):
    parts, (reason,) = parts_of(evaluation_on("lip"), tmp_path)
    assert parts["data"]["lip"]["files"] == "absent"
    assert "dataset 'lip' is not there" in reason.text
    assert (
        "data"
        not in parts_of(
            ComplexityConfig(model=Model(name="fcn", num_classes=2), input=((1, 3, 8, 8),), convention="x"),
            tmp_path,
            "complexity",
        )[0]
    )


def test_a_changed_declaration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synthesize("lip", tmp_path / "data", scenes=Synthetic(train_images=1, test_images=1, size=(16, 24)))
    before, _ = parts_of(evaluation_on("lip"), tmp_path)
    dataset = catalogue.find("lip")
    layouts = tuple(replace(layout, labels={**layout.labels, 99: 255}) for layout in dataset.layouts)
    changed = replace(dataset, layouts=layouts, mirror_pairs=(), title="other", palette=dataset.palette[::-1])
    monkeypatch.setattr("harness.data.catalogue.lip.DATASET", changed)
    after, _ = parts_of(evaluation_on("lip"), tmp_path)
    assert changes(before, after) == ["data    label mapping of lip changed", "data    mirror pairs of lip changed"]


def test_a_job_gets_the_parts_of_its_key(tmp_path: Path):
    job = Job("train", {}, "k", "i", {"code": {"methods.fcn": "1"}, "data": {"lip": {"files": "f"}, "cihp": "g"}})
    request = Request(job, str(tmp_path), None, "cpu", 1)
    assert request.context(tmp_path, []).parts == job.parts
    assert job.data_digests == {"lip": "f", "cihp": "g"}
