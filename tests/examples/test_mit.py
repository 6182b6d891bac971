"""The example of a backbone outside the checkout: the released network, found by its path from the table that names it."""

from __future__ import annotations

import re

import pytest
import torch

from harness import ROOT
from harness.errors import MissingError, UserError
from methods.backbones import build_backbone, find
from methods.weights import write

B0 = f"{ROOT}/examples/mit.py:mit_b0"


RENAMES = (  # the authors' names, which are the example's, to those of transformers 5
    (r"patch_embed(\d)\.norm", r"patch_embed\1.layer_norm"),
    (r"patch_embed(\d)", r"stages.\1.patch_embeddings"),
    (r"block(\d)\.(\d)", r"stages.\1.blocks.\2"),
    (r"^norm(\d)", r"stages.\1.layer_norm"),
    (r"attn\.norm", "attn.sequence_reduction.layer_norm"),
    (r"attn\.sr", "attn.sequence_reduction.sequence_reduction"),
    (r"attn\.(q|k|v)\.", r"attn.\1_proj."),
    (r"attn\.proj", "attn.o_proj"),
    (r"attn\.", "attention."),
    (r"\.norm1", ".layernorm_before"),
    (r"\.norm2", ".layernorm_after"),
)


def transformers_name(name: str) -> str:
    for pattern, new in RENAMES:
        name = re.sub(pattern, new, name)
    return re.sub(r"stages\.(\d)", lambda match: f"stages.{int(match[1]) - 1}", name)


@pytest.mark.slow
def test_it_computes_what_transformers_computes():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    ours, state = build_backbone(B0).eval(), {}
    for name, value in ours.state_dict().items():
        if ".attn.kv." in name:
            key, val = value.chunk(2)
            state[transformers_name(name.replace(".kv.", ".k."))] = key
            state[transformers_name(name.replace(".kv.", ".v."))] = val
        else:
            state[transformers_name(name)] = value
    theirs = transformers.SegformerModel(transformers.SegformerConfig()).eval()
    theirs.load_state_dict(state)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images, output_hidden_states=True).hidden_states
        maps = ours(images)
        assert len(maps) == len(expected) == 4
        for a, b in zip(maps, expected):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_its_weights_come_from_a_file_and_from_nowhere_else(tmp_path):
    source = build_backbone(B0)
    write({**source.state_dict(), "head.weight": torch.zeros(3, 256)}, tmp_path / "mit_b0.safetensors")
    loaded = build_backbone(B0, pretrained=str(tmp_path / "mit_b0.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters()))
    with pytest.raises(MissingError, match=r"no pretrained weights to download.*mit_b0\.safetensors"):
        build_backbone(B0, pretrained=True)


def test_what_is_wrong_with_its_name_is_said():
    with pytest.raises(UserError, match=r"mit\.py declares no such name in NAMES\. Did you mean 'mit_b1'"):
        find(f"{ROOT}/examples/mit.py:mit_b11")
    with pytest.raises(UserError, match=r"backbone 'no\.py:x': there is no file .*no\.py"):
        find("no.py:x")
    with pytest.raises(UserError, match="no adjustable output stride"):
        build_backbone(B0, output_stride=8)
