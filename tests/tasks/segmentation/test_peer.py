"""mmsegmentation's own Runner as the control of our core: the same first weights, its own transforms, loop and test."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.data import catalogue
from harness.data.files import locate
from harness.errors import Interrupted, UserError
from harness.jobs.context import Context, Progress
from harness.jobs.kinds import KINDS, Data, Model, PeerConfig
from harness.recipes.profile import Synthetic
from harness.recipes.segmentation import Recipe
from harness.store.store import Store
from harness.tasks.segmentation.evaluate import confusion_of, measurements
from harness.training.random_state import seed_everything
from methods.build import build_model
from methods.peers import mmsegmentation as peer
from reports.peer_comparison import comparison_rows, markdown_lines, terminal_lines
from tests.plan.test_planner import planned, table

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mmseg") is None, reason="the extra mmseg is not installed")

CLASSES = catalogue.find("synthetic").num_classes
TINY = {  # no batch norm: a training whose rate is next to nothing leaves it as it is
    "type": "EncoderDecoder",
    "backbone": {"type": "MixVisionTransformer", "embed_dims": 8, "num_layers": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1],
                 "drop_path_rate": 0.0},
    "decode_head": {"type": "FCNHead", "in_channels": 8, "in_index": 3, "channels": 8, "num_convs": 0, "num_classes": 5,
                    "concat_input": False, "dropout_ratio": 0, "norm_cfg": None},
}  # fmt: skip
RECIPE = Recipe.model_validate(
    {
        "dataset": "synthetic",
        "batch_size": 2,
        "iterations": 3,
        "optimizer": {
            "name": "adamw",
            "lr": 1e-12,
            "weight_decay": 0.0,
            "decay_norm_and_bias": False,
            "clip_norm": 1.0,
        },
        "schedule": {"power": 1.0, "warmup_iterations": 2},
        "augmentation": {"resize": [96, 64], "crop": [48, 64]},
        "test": {"resize": [120, 80], "mode": "slide", "window": [64, 64], "stride": [40, 40], "via_input": True},
    }
)
CONFIG = PeerConfig(
    peer="mmsegmentation",
    model=Model(name=peer.METHOD, options={"config": TINY}, num_classes=CLASSES, backbone="own"),
    data=Data(name="synthetic", synthetic=Synthetic(train_images=4, test_images=3, size=(64, 96))),
    recipe=RECIPE,
    protocol=RECIPE.test,
    profile="smoke",
    seed=3,
)


def context(folder: Path, **others: object) -> Context:
    return replace(Context(folder / "job", folder / "cache", None, "cpu", 1), **others)


@pytest.mark.slow
def test_both_score_the_same_weights_alike(tmp_path: Path):
    """A training that moves nothing: what is left of the difference is reading, resizing, windows and the score itself."""
    (tmp_path / "job").mkdir()
    said: list[Progress] = []
    theirs = KINDS["peer"].run(CONFIG.model_dump(), context(tmp_path, progress=said.append))
    assert [(p.done, p.total) for p in said] == [(1, 3), (2, 3), (3, 3)]
    seed_everything(CONFIG.seed)
    model = build_model(CONFIG.model).eval()
    where = context(tmp_path)
    root = locate(CONFIG.data, data_dir=None, cache=where.cache)
    matrix, _ = confusion_of(model, root, CONFIG.protocol, where)
    ours = {m.name: m.value for m in measurements(matrix, ())}
    assert {m.name for m in theirs} == {"miou", "aacc", "macc"}
    for measured in theirs:
        assert measured.value == pytest.approx(ours[measured.name], abs=0.0051), measured.name


@pytest.mark.slow
def test_a_peer_ends_where_the_job_is_asked_to_stop(tmp_path: Path):
    (tmp_path / "job").mkdir()
    with pytest.raises(Interrupted, match="starts over"):
        KINDS["peer"].run(CONFIG.model_dump(), context(tmp_path, should_stop=lambda: True))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"test": {"scales": [0.5, 1.0]}}, "the test has several scales or flips"),
        ({"loss": {"name": "ohem"}}, "the recipe has a loss of its own"),
        ({"augmentation": {"crop": [48, 64], "resize": None}}, "images are resized to a list of scales"),
        ({"optimizer": {"layer_decay": 0.9}}, "rates decay per layer"),
    ],
)
def test_what_the_peer_cannot_do_is_said(changes: dict, reason: str, tmp_path: Path):
    recipe = Recipe.model_validate({**RECIPE.model_dump(exclude_unset=True), **changes})
    config = CONFIG.model_copy(update={"recipe": recipe, "protocol": recipe.test})
    with pytest.raises(UserError, match=f"mmsegmentation cannot run this row as its recipe says: {reason}"):
        KINDS["peer"].run(config.model_dump(), context(tmp_path))
    assert [*peer.refusals(peer.METHOD, RECIPE, RECIPE.test, mirrors_labels=False)] == []


def test_rows_of_other_methods_are_left_out_and_toolboxes_have_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    results = ("--profile", "smoke", "--results", str(tmp_path))
    assert main(["compare-with", "mmsegmentation", "tables/camvid.yaml", "--rows", "fcn", *results]) == 5
    said = capsys.readouterr().out
    assert "not by mmsegmentation: camvid/fcn/miou: the method is 'fcn'; the peer takes rows of" in said
    assert "camvid/fcn/params: a peer measures miou, aacc, macc alone" in said
    assert main(["compare-with", "mmsegmentatio", "tables/camvid.yaml", *results]) == 2
    assert "unknown toolbox 'mmsegmentatio'. Did you mean 'mmsegmentation'?" in capsys.readouterr().err


def test_both_numbers_and_their_difference_stand_side_by_side(tmp_path: Path):
    from harness.jobs.job import Measurement
    from harness.plan.peers import add_peers
    from harness.plan.request import PlanRequest

    row = "a: {method: {name: adapters/mmsegmentation, config: segformer_mit-b0_8xb2-160k_ade20k-512x512}}"
    plan = planned(table(row, columns="a: {recipe: idrnet/ade20k}\nm: {recipe: idrnet/ade20k, test: {flip: true}}"))
    store = Store(tmp_path)
    peers, reasons = add_peers(
        plan, PlanRequest((), profile="smoke", results=tmp_path, device="cpu"), store, "mmsegmentation"
    )
    assert reasons == ["t/a/m: the test has several scales or flips"]
    assert [cell.jobs[0].kind for cell in plan.cells] == ["evaluate", "peer"]
    train = plan.jobs[plan.cells[0].jobs[0].needs[0]]
    assert peers[0].jobs[0].config["seed"] == train.config["seed"]
    assert "methods.peers.mmsegmentation" in peers[0].jobs[0].parts["code"]
    assert {"mmseg", "mmengine"} <= peers[0].jobs[0].parts["packages"].keys()
    rows = comparison_rows(plan, store, "mmsegmentation", peers)
    assert markdown_lines(rows)[2].endswith("| – | – | – | – |")
    for cell, value in zip(plan.cells, (41.5, 40.25)):
        store.finish(cell.jobs[0], [Measurement("miou", value, "%")], {}, 0.0)
    rows = comparison_rows(plan, store, "mmsegmentation", peers)
    assert markdown_lines(rows)[2] == "| t/a/a | mean IoU (%) | – | 41.50 | 40.25 | +1.25 |"
    assert terminal_lines(rows, 80)[1].split()[-3:] == ["41.50", "40.25", "+1.25"]
