"""Metrics: the kind of job that measures each, the printed unit, and the FLOP counting conventions."""

from __future__ import annotations

from dataclasses import dataclass

from harness.jobs.kinds import KINDS


@dataclass(frozen=True)
class Metric:
    """`scale` turns a stored value into the printed unit by division; `better` is `higher` or `lower`.

    `abbreviation` is the usual short form of `title`.
    """

    name: str
    title: str
    kind: str
    unit: str
    better: str = "higher"
    scale: float = 1.0
    decimals: int = 2
    abbreviation: str = ""

    @property
    def exact(self) -> bool:
        """Whether the number is a count, which has no noise and must agree to the printed digit."""
        return self.kind == "complexity"

    @property
    def trains(self) -> bool:
        """Whether the number needs a trained model: a score or the training itself, not a count or a time."""
        return KINDS[self.kind].trains

    @property
    def portable(self) -> bool:
        """Whether the number means the same on another machine."""
        return self.kind not in ("latency",) and self.name != "train_throughput"


METRICS = {
    m.name: m
    for m in (
        Metric("miou", "mean IoU", "evaluate", "%", abbreviation="mIoU"),
        Metric("macc", "mean class accuracy", "evaluate", "%"),
        Metric("aacc", "pixel accuracy", "evaluate", "%"),
        Metric("fwiou", "frequency-weighted IoU", "evaluate", "%"),
        Metric("parameters", "trainable parameters", "complexity", "M", "lower", 1e6),
        Metric("flops", "FLOPs", "complexity", "G", "lower", 1e9),
        Metric("latency", "forward time", "latency", "ms", "lower"),
        Metric("peak_memory", "peak memory", "latency", "MiB", "lower"),
        Metric("train_throughput", "training throughput", "train", "images/s", decimals=1),
        Metric("box_ap", "box AP (COCO, mean over IoU 0.50 to 0.95)", "evaluate", "%", decimals=1),
        Metric("box_ap50", "box AP at IoU 0.50", "evaluate", "%", decimals=1),
        Metric("box_ap75", "box AP at IoU 0.75", "evaluate", "%", decimals=1),
        Metric("box_ap_small", "box AP of small objects", "evaluate", "%", decimals=1),
        Metric("box_ap_medium", "box AP of medium objects", "evaluate", "%", decimals=1),
        Metric("box_ap_large", "box AP of large objects", "evaluate", "%", decimals=1),
    )
}


@dataclass(frozen=True)
class Convention:
    """A named way of counting FLOPs. `giga` is what its authors call a G."""

    name: str
    about: str
    giga: float = 1e9


CONVENTIONS = {
    c.name: c
    for c in (
        Convention(
            "mmcv-hooks", "module hooks as mmcv's get_model_complexity_info: 1 MAC = 1, attention products not seen"
        ),
        Convention(
            "mmcv-model", "as mmcv-hooks, and the parameters of a whole model: those of its auxiliary head count, too"
        ),
        Convention(
            "fvcore", "operators as fvcore's FlopCountAnalysis: 1 MAC = 1, attention as explicit matrix products"
        ),
        Convention("tf-profiler", "float operations of TensorFlow 1's profiler, halved, G = 1024³", 1024.0**3),
    )
}


def scale(metric: Metric, convention: str | None) -> float:
    """The divisor from a stored value to the metric's printed unit."""
    if metric.name == "flops" and convention in CONVENTIONS:
        return CONVENTIONS[convention].giga
    return metric.scale


MARGINS = {"miou": 0.5, "fwiou": 0.5, "macc": 1.0, "aacc": 0.3}
"""Differences too small to matter, in points: below the gains that the field's papers report as such. Class accuracy
varies about twice as much as IoU, pixel accuracy about half as much."""

_DATASET_MARGINS = {
    ("miou", "camvid"): 1.0,
    ("macc", "camvid"): 2.0,
}  # 101 validation images: each has a large influence
_DEFAULT_MARGIN = 0.01  # of the published value, for a metric that has no margin of its own


def equivalence_margin(metric: str, dataset: str, published: float) -> float:
    """The difference below which two values of a metric on a dataset count as equal."""
    margin = _DATASET_MARGINS.get((metric, dataset), MARGINS.get(metric))
    return margin if margin is not None else _DEFAULT_MARGIN * abs(published)
