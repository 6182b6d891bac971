"""Tiny configurations of transformers, one per architecture, and the library's own model with the weights of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.jobs.kinds import Model
from methods.adapters.transformers_configs import ARCHITECTURES
from methods.build import build_model
from methods.segmentor import IGNORE, Segmentor

CLASSES = 5
SWIN = {
    "model_type": "swin",
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 4, 8],
    "window_size": 4,
    "image_size": 64,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_VISION_TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
}
MASKS: dict[str, dict[str, Any]] = {
    "mask2former": {
        "backbone_config": SWIN,
        "feature_size": 32,
        "mask_feature_size": 32,
        "hidden_dim": 32,
        "encoder_feedforward_dim": 32,
        "dim_feedforward": 32,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "num_attention_heads": 4,
        "num_queries": 6,
        "train_num_points": 64,
    },
    "maskformer": {
        "backbone_config": SWIN,
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
        "use_auxiliary_loss": True,
        "decoder_config": {
            "model_type": "detr",
            "d_model": 32,
            "decoder_layers": 2,
            "decoder_ffn_dim": 32,
            "decoder_attention_heads": 4,
            "encoder_attention_heads": 4,
            "num_queries": 6,
        },
    },
}
PIXELS: dict[str, dict[str, Any]] = {
    "segformer": {"depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32], "decoder_hidden_size": 16},
    "dpt": {**_VISION_TRANSFORMER, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 16, 24, 32]}
    | {"fusion_hidden_size": 16, "use_batch_norm_in_fusion_residual": True},
    "upernet": {"backbone_config": SWIN, "hidden_size": 16, "auxiliary_in_channels": 64, "auxiliary_channels": 16},
    "beit": {**_VISION_TRANSFORMER, "out_indices": [1, 2, 3, 4], "use_relative_position_bias": True}
    | {"auxiliary_channels": 16},
}
SMALL = {kind: {"model_type": kind, **config} for kind, config in (MASKS | PIXELS).items()}


def build(kind: str, *, seed: int = 0, method: str = "adapters/transformers", **options: Any) -> Segmentor:
    torch.manual_seed(seed)
    given = {"config": SMALL[kind], **options}
    return build_model(Model(name=method, options=given, num_classes=CLASSES, backbone="own"))


def batch(size: tuple[int, int] = (64, 64), count: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    targets = torch.randint(CLASSES, (count, *size))
    targets[:, :7] = IGNORE
    return torch.randn(count, 3, *size), targets


def bare_model(kind: str, ours: Segmentor) -> nn.Module:
    """The library's model, built by the library, with the weights of ours."""
    import transformers

    settings = transformers.AutoConfig.for_model(**SMALL[kind], num_labels=CLASSES)
    bare = getattr(transformers, ARCHITECTURES[kind].model)(settings)
    bare.load_state_dict(ours.model.state_dict())
    return bare


def bare_loss(kind: str, bare: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The library's own loss, of labels that its own image processor makes."""
    if kind in PIXELS:
        return bare(images, labels=targets).loss
    from transformers.models.mask2former.image_processing_mask2former import (
        convert_segmentation_map_to_binary_masks_fast as to_masks,
    )

    masks, classes = zip(*(to_masks(target, ignore_index=IGNORE) for target in targets))
    hidden = kind == "maskformer"  # without it, its own auxiliary loss fails
    return bare(images, mask_labels=list(masks), class_labels=list(classes), output_hidden_states=hidden).loss
