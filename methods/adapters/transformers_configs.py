"""Configurations of transformers' segmentation models: those that have a name here, and a check of any without the library.

A configuration is what transformers keeps as `config.json`: a mapping with `model_type` and the keys that differ from the
library's defaults. Keys are checked against the source text of the installed version, so that planning imports nothing.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import MissingError, UserError, nearest
from harness.recipes.common import Normalisation

INSTALL = "pip install 'segmentation-harness[transformers]', or `make setup` in a checkout"


class Architecture(NamedTuple):
    """The class of a model in transformers, where its backbone is, and what its published weights take as images."""

    model: str
    backbone: str
    normalisation: Normalisation


_MASKS = "model.pixel_level_module.encoder"
ARCHITECTURES = {
    "beit": Architecture("BeitForSemanticSegmentation", "beit", "symmetric"),
    "dpt": Architecture("DPTForSemanticSegmentation", "dpt", "symmetric"),
    "mask2former": Architecture("Mask2FormerForUniversalSegmentation", _MASKS, "imagenet"),
    "maskformer": Architecture("MaskFormerForInstanceSegmentation", _MASKS, "imagenet"),
    "segformer": Architecture("SegformerForSemanticSegmentation", "segformer", "imagenet"),
    "upernet": Architecture("UperNetForSemanticSegmentation", "backbone", "imagenet"),
}
_NOT_HERE = {
    "oneformer": "OneFormer is trained on sentences about each image, and their tokenizer's vocabulary is a download"
}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_SWIN_TINY = {
    "model_type": "swin",
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "drop_path_rate": 0.3,
    "out_features": _STAGES,
}
_SWIN_LARGE = {
    **_SWIN_TINY,
    "embed_dim": 192,
    "depths": [2, 2, 18, 2],
    "num_heads": [6, 12, 24, 48],
    "window_size": 12,
    "image_size": 384,
}
_MIT_B5 = {
    "model_type": "segformer",
    "depths": [3, 6, 40, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "decoder_hidden_size": 768,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Cheng et al. 2021, Sec. 4.1: 100 queries, six decoder layers, a loss after each (lambda 20 and 1, no-object 0.1)
    "maskformer_swin_large": {
        "model_type": "maskformer",
        "backbone_config": _SWIN_LARGE,
        "decoder_config": {"model_type": "detr", "num_queries": 100, "decoder_layers": 6, "dropout": 0.1},
        "use_auxiliary_loss": True,
    },
    # Cheng et al. 2022, Sec. 4.1: 100 queries for semantic segmentation, nine decoder layers after the queries' own
    # prediction, six layers of multi-scale deformable attention, 12544 points
    "mask2former_swin_tiny": {"model_type": "mask2former", "backbone_config": _SWIN_TINY},
    "mask2former_swin_large": {"model_type": "mask2former", "backbone_config": _SWIN_LARGE},
    # Xie et al. 2021, Table 6 of the supplement
    "segformer_b0": {"model_type": "segformer"},
    "segformer_b5": _MIT_B5,
    # Ranftl et al. 2021, Sec. 3 and 4.2: ViT-Large, layers 5, 12, 18, 24
    "dpt_large": {
        "model_type": "dpt",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "backbone_out_indices": [5, 11, 17, 23],
        "neck_hidden_sizes": [256, 512, 1024, 1024],
        "use_batch_norm_in_fusion_residual": True,
    },
    # Liu et al. 2021, Sec. 4.3
    "upernet_swin_large": {"model_type": "upernet", "backbone_config": _SWIN_LARGE, "auxiliary_in_channels": 768},
    # Bao et al. 2022, Sec. 3.2, at 640 x 640
    "beit_large": {
        "model_type": "beit",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": 640,
        "use_relative_position_bias": True,
        "layer_scale_init_value": 1e-5,
        "drop_path_rate": 0.2,
        "out_indices": [7, 11, 15, 23],
    },
}
_OURS = {"num_labels", "id2label", "label2id"}
"""Keys that say the classes: the dataset's, whatever a configuration has."""


def check(options: Mapping[str, Any]) -> None:
    """UserError unless the option `config` names a configuration, or is one that the installed transformers knows."""
    config = options["config"]
    if isinstance(config, str):
        if config not in PRESETS:
            raise UserError(
                f"'config': there is no configuration '{config}' here.{nearest(config, PRESETS)} "
                "Any other is given as a mapping: the content of its config.json"
            )
        config = PRESETS[config]
    model_type = config.get("model_type")
    if model_type in _NOT_HERE:
        raise UserError(f"'config': {_NOT_HERE[model_type]}; a job has no network")
    if model_type not in ARCHITECTURES:
        tail = nearest(str(model_type), ARCHITECTURES)
        raise UserError(f"'config': no segmentation model here has the model_type '{model_type}'.{tail}")
    _check_keys(config)


def _check_keys(config: Mapping[str, Any], where: str = "") -> None:
    known = fields(str(config["model_type"]))
    for key, value in config.items():
        if known and key not in known:
            raise UserError(
                f"'config': transformers' configuration of {config['model_type']} has no key '{where}{key}'."
                f"{nearest(key, known)}"
            )
        if isinstance(value, Mapping) and "model_type" in value:
            _check_keys(value, f"{where}{key}.")


@functools.cache
def fields(model_type: str) -> frozenset[str]:
    """The keys of a configuration, read from the library's source; empty where the source of this type is elsewhere.
    MissingError where transformers is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise MissingError(f"transformers is not installed: {INSTALL}")
    package = Path(spec.origin).parent
    folder = model_type.replace("-", "_")
    own = package / "models" / folder / f"configuration_{folder}.py"
    names = _annotated(own)
    if not names:
        return frozenset()
    general = _annotated(package / "configuration_utils.py")
    return frozenset({name.lstrip("_") for name in names | general} | _OURS | {"model_type", "torch_dtype"})


def _annotated(file: Path) -> set[str]:
    """Names that the classes of a file declare with a type, and the other names that they give these (attribute_map)."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except OSError:
        return set()
    names: set[str] = set()
    for definition in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                keys = (key.value for key in node.value.keys if isinstance(key, ast.Constant))
                named = [target.id for target in node.targets if isinstance(target, ast.Name)]
                names |= {str(key) for key in keys} if named == ["attribute_map"] else set()
    return names


def read(config: str | Mapping[str, Any], depth: int | None = None) -> dict[str, Any]:
    """The configuration of that name, or a copy of the mapping: without classes, without weights from the network, and with
    no more than `depth` blocks in a stage of the backbone."""
    mapping = copy.deepcopy(dict(PRESETS[config] if isinstance(config, str) else config))
    for node in _mappings(mapping):
        if "use_pretrained_backbone" in node:
            node["use_pretrained_backbone"] = False
        for key in _OURS & node.keys():
            del node[key]
    if depth is not None:
        for node in _mappings(mapping):
            _limit_depth(node, depth)
    return mapping


def _limit_depth(node: dict[str, Any], depth: int) -> None:
    """Leaves `depth` blocks in every stage, in place; a backbone of one stage keeps `depth` before each of its outputs."""
    if "depths" in node:
        node["depths"] = [min(count, depth) for count in node["depths"]]
    for key, first in (("backbone_out_indices", 0), ("out_indices", 1)):
        if key in node and "num_hidden_layers" in node:
            count = len(node[key])
            node["num_hidden_layers"] = min(node["num_hidden_layers"], count * depth)
            node[key] = [node["num_hidden_layers"] * (i + 1) // count - 1 + first for i in range(count)]


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _mappings(child)


@contextmanager
def explained_import() -> Iterator[None]:
    """Around an import of the library: MissingError with what to install, where it is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingError(f"{error.name} is not installed: {INSTALL}") from error
