"""What a column holds, by the words of its heading and the caption: metric, unit, dataset, split, way of testing."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data import catalogue
from harness.table.metrics import CONVENTIONS, METRICS

_METRICS = (  # the first that is found names the column
    ("fwiou", r"(?<![a-z])f\.?\s?w\.?\s?-?iou|frequency[- ]weighted"),
    ("miou", r"(?<![a-z-])m[-\s_]?iou|mean (iou|intersection|jaccard)"),
    ("macc", r"(?<![a-z])m[-\s_]?acc|mean (class |pixel )?acc"),
    ("aacc", r"(?<![a-z])aacc|pix(el)?[-\s]?acc|overall acc|(?<![a-z])oa(?![a-z])"),
    ("box_ap50", r"(box[- ]?ap|ap[-_^\s]*b(ox)?)[-_^\s]*50|ap50[-_^\s]*b"),
    ("box_ap75", r"(box[- ]?ap|ap[-_^\s]*b(ox)?)[-_^\s]*75|ap75[-_^\s]*b"),
    ("box_ap", r"box[- ]?(m?ap)(?![a-z0-9])|m?ap[-_^\s]*b(ox)?(?![a-z0-9])"),
    ("parameters", r"(?<![a-z])param(eter)?s?(?![a-z])|model size"),
    (
        "flops",
        r"(?<![a-z])[kmgt]?flop[s(]|(?<![a-z])flops?(?![a-z])|(?<![a-z])[mgt]?macs?(?![a-z])|mult(iply)?-adds?|madds",
    ),
    ("latency", r"latency|(inference|forward|run(ning)?)[- ]?time|^time(?![a-z])"),
    ("peak_memory", r"memory|(?<![a-z])mem\.?(?![a-z])"),
    ("train_throughput", r"train(ing)? (throughput|speed)"),
)
_ARROWS = re.compile(r"\(?[↑↓▲▼⬆⬇]\)?")
_DIFFERENCE = re.compile(r"[δΔ]|delta|(?<![a-z])gain|improve|(?<![a-z])drop(?![a-z])|increase|relative")
_UNITS = {  # what may stand beside a number or in a heading; the first is what the metric is printed in
    "parameters": ("M",),
    "flops": ("G", "GFLOPs", "GFLOPS", "GMACs"),
    "latency": ("ms",),
    "peak_memory": ("MiB", "MB", "M"),
    "train_throughput": ("images/s", "img/s", "imgs/s"),
}
_UNIT = r"(%|[KMGTBkm]|[MGK]i?B|ms|s|sec|µs|fps|images/s|imgs?/s|h(?:ours)?|[×x]?1e[69]|[×x]?10\^?[69])"
_HEADING_UNIT = re.compile(rf"[\(\[]\s*{_UNIT}\s*[\)\]]|[/,]\s*{_UNIT}\s*$")
_PREFIX_UNIT = re.compile(r"(?<![A-Za-z])([KMGT])(?:FLOP|MAC)", re.IGNORECASE)
_DESCRIPTOR = re.compile(
    r"backbone|encoder|stride|(?<![a-z])os(?![a-z])|crop|resolution|size|iter|epoch|batch|(?<![a-z])lr(?![a-z])|λ|lambda|year|"
    r"schedule|layers?|channel|(?<![a-z])dim|venue|avenue|pre-?train|source|weights?|stage|(?<![a-z])ref",
    re.IGNORECASE,
)
_BETWEEN = r"[\W_]*"  # of the parts of a dataset's name
# of other metrics, which this harness does not measure
_RESULT = re.compile(r"fps|throughput|speed|time|accuracy|dice|(?<![a-z])(ap|pq|f1|iou)(?![a-z])", re.IGNORECASE)
_SPLITS = (("test", r"(?<![a-z])test(?![a-z])"), ("val", r"(?<![a-z])val(idation)?(?![a-z])"))
_PROTOCOLS = (
    ("several scales", r"multi[- ]?scale|several scales|\((ms|m\.s\.)\)|(?<![a-z])ms(?![a-z])"),
    ("single scale", r"single[- ]?scale|\((ss|s\.s\.)\)|(?<![a-z])ss(?![a-z])"),
)


@dataclass(frozen=True)
class Meaning:
    """What a column holds. `metric` is None where `problem` says why it is not known; `assumed`: what no word says."""

    metric: str | None = None
    words: str = ""  # of the heading or the caption that tell the metric
    problem: str = ""
    assumed: str = ""
    datasets: tuple[str, ...] = ()  # in the catalogue that the words fit
    split: str | None = None
    protocol: str | None = None
    convention: str | None = None
    is_result: bool = False  # a result all the same where `metric` is None

    @property
    def units(self) -> tuple[str, ...]:
        """What may stand beside a number of the column."""
        return _UNITS.get(self.metric or "", ("%", "pp"))


def is_descriptor(heading: Sequence[str]) -> bool:
    """Whether a heading is a word for a setting of the rows, whatever stands below it."""
    return bool(_DESCRIPTOR.search(" ".join(heading))) and recognise(heading, "").metric is None


def recognise(heading: Sequence[str], caption: str) -> Meaning:
    """The meaning of a column under this heading (its texts from the top); arrows tell which numbers are better."""
    heading = [_ARROWS.sub("", text).strip() for text in heading]
    found = next(((text, names) for text in reversed(heading) if (names := _metrics_in(text))), None)
    joined = " ".join(heading)
    datasets = _datasets_in(joined)
    if _DIFFERENCE.search(joined.lower()):
        return Meaning(problem="a difference or a ratio of numbers", is_result=True)
    if found is not None:
        text, names = found
        if len(names) > 1:
            return Meaning(problem=f"'{text}' names several metrics ({', '.join(names)})", is_result=True)
        if problem := _unit_problem(names[0], joined):
            return Meaning(problem=problem, is_result=True)
        return _complete(Meaning(names[0], f"'{text}'", datasets=datasets), joined, caption)
    if not datasets:
        return Meaning(problem="no word of its heading names a metric", is_result=bool(_RESULT.search(joined)))
    in_caption = [name for name in _metrics_in(caption) if METRICS[name].kind == "evaluate"]
    if len(in_caption) == 1:
        return _complete(Meaning(in_caption[0], "the caption", datasets=datasets), joined, caption)
    task = next(iter({catalogue.find(name).task for name in datasets}))
    if task == "segmentation":
        meaning = Meaning("miou", "its dataset", assumed="no word names the metric; taken for mIoU", datasets=datasets)
        return _complete(meaning, joined, caption)
    return Meaning(problem="a dataset and no metric", is_result=True)


def given(metric: str, heading: Sequence[str], caption: str) -> Meaning:
    """The meaning of a column whose metric a person named."""
    joined = _ARROWS.sub("", " ".join(heading)).strip()
    return _complete(Meaning(metric, "--metric", datasets=_datasets_in(joined)), joined, caption)


def _complete(meaning: Meaning, heading: str, caption: str) -> Meaning:
    """With dataset, split and test of a score, from the heading or else the caption; with the convention of FLOPs."""
    metric, assumed = METRICS[meaning.metric or ""], [meaning.assumed] if meaning.assumed else []
    datasets, split, protocol, convention = meaning.datasets, None, None, None
    if metric.kind == "evaluate":
        datasets = datasets or _datasets_in(caption)
        split = _first(_SPLITS, re.sub(r"train\w*\s*[/+&]", "", heading.lower())) or _first(_SPLITS, caption.lower())
        protocol = _first(_PROTOCOLS, heading.lower())
        known = {s for name in datasets for s in catalogue.find(name).splits}
        split = split if not known or split in known else None
    elif metric.name == "flops":
        convention = next((name for name in CONVENTIONS if name in caption.lower()), None)
        if convention is None:
            convention = "fvcore"
            assumed.append(f"the counting convention is not said; any of {', '.join(CONVENTIONS)}")
    if metric.name in _UNITS and not _HEADING_UNIT.search(heading) and not _PREFIX_UNIT.search(heading):
        assumed.append(f"no unit in its heading; taken to be in {_UNITS[metric.name][0]}")
    return Meaning(meaning.metric, meaning.words, "", "; ".join(assumed), datasets, split, protocol, convention)


def _metrics_in(text: str) -> list[str]:
    """Metrics that a text names; of box AP the most special."""
    found = [name for name, pattern in _METRICS if re.search(pattern, text.lower())]
    boxes = [name for name in found if name.startswith("box")]
    return [name for name in found if name not in boxes[1:]]


def _unit_problem(metric: str, heading: str) -> str:
    """Why numbers under this heading are not in the metric's unit; '' where they are or it does not say."""
    if metric not in _UNITS:  # of a score, `(ms)` is no unit
        return ""
    found = _HEADING_UNIT.search(heading)
    prefix = _PREFIX_UNIT.search(heading) if metric == "flops" else None
    unit = prefix[1].upper() if prefix else (found[1] or found[2]).lstrip("×x") if found else None
    powers = {"10^6": "M", "1e6": "M", "106": "M", "10^9": "G", "1e9": "G", "109": "G"}
    if unit is None or powers.get(unit, unit) in _UNITS[metric]:
        return ""
    return f"in {unit}, but {METRICS[metric].title} is in {METRICS[metric].unit} here"


def _first(patterns: Sequence[tuple[str, str]], text: str) -> str | None:
    return next((name for name, pattern in patterns if re.search(pattern, text)), None)


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str], re.Pattern[str]]]:
    """(dataset, its whole name, its name without a number of images or classes) of the catalogue."""
    found = []
    for name in catalogue.names():
        if catalogue.find(name).splits.get("train", 0) is None:  # synthetic: in no paper
            continue
        parts = re.findall(r"[a-z]+|[0-9]+k?", name)
        stem = [part for part in parts if not part[0].isdigit()]
        whole, short = (rf"(?<![a-z]){_BETWEEN.join(p)}(?![a-z0-9])" for p in (parts, stem))
        found.append((name, re.compile(whole), re.compile(short)))
    return found


def _datasets_in(text: str) -> tuple[str, ...]:
    """Datasets whose name a text contains; where it leaves the number of images or classes out, all of that name."""
    text = re.sub(r"(?<=[0-9])k(?![a-z])", "k", text.lower())
    whole = [name for name, pattern, _ in _patterns() if pattern.search(text)]
    whole = [name for name in whole if not any(other != name and other.startswith(name) for other in whole)]
    return tuple(whole or [name for name, _, pattern in _patterns() if pattern.search(text)])
