"""mIoU against FLOPs as an inline drawing: a point per system, filled where its mIoU was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harness.text import number, shorten
from reports.site.axes import Axis, drawing, horizontal, text, vertical

_WIDE, _HIGH = 860, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 846, 12, 356
_FEWEST = 3  # points of a drawing: fewer are read off the table faster
_LETTER = 6.4  # pixels of a label's letter
_COLOURS = 6


@dataclass(frozen=True)
class Cost:
    """GFLOPs of a model: how and at which size they are counted, and whether that was done here."""

    value: float
    of: str
    measured: bool


@dataclass(frozen=True)
class Point:
    name: str
    page: str  # from the site's root
    score: float
    measured: bool
    cost: Cost


def chart(points: Sequence[Point], title: str) -> dict[str, object] | None:
    """`drawing`, and `kinds`: how FLOPs were counted, in the order of the colours. None for too few points.

    FLOPs that are counted in different ways or at different sizes do not compare, so they differ in colour.
    """
    if len(points) < _FEWEST:
        return None
    kinds = list(dict.fromkeys(p.cost.of for p in sorted(points, key=lambda p: p.cost.of)))
    most = max(p.cost.value for p in points)
    low, high = min(p.score for p in points), max(p.score for p in points)
    room = 0.08 * ((high - low) or 1.0)
    x = Axis(0.0, 1.06 * most, _LEFT, _RIGHT)
    y = Axis(max(0.0, low - room), min(100.0, high + room), _BOTTOM, _TOP)
    parts = [*vertical(y, _LEFT, _RIGHT), *horizontal(x, _BOTTOM, grid_from=_TOP, most=8)]
    labels = _Labels([(x(p.cost.value), y(p.score)) for p in points])
    for point in sorted(points, key=lambda p: (not p.measured, -p.score)):
        parts.append(_point(point, x(point.cost.value), y(point.score), kinds.index(point.cost.of) % _COLOURS, labels))
    parts.append(text(_RIGHT, _HIGH - 6, "FLOPs (G)", "end", "soft"))
    parts.append(text(_LEFT + 4, _TOP + 8, "mIoU (%)", "start", "soft"))
    words = f"mIoU at one scale against FLOPs on {title}: {len(points)} systems"
    return {"drawing": drawing(_WIDE, _HIGH, parts, words), "kinds": kinds}


def _point(point: Point, x: float, y: float, colour: int, labels: _Labels) -> str:
    said = f"{point.name}: {number(point.score, 4)} %, {number(point.cost.value, 4)} G ({point.cost.of})"
    look = "measured" if point.measured else "published"
    name = shorten(point.name, 24)
    place = labels.place(x, y, len(name) * _LETTER)
    label = text(*place, name, look="soft name") if place is not None else ""
    return (
        f'<a href="../{escape(point.page)}" class="l{colour}"><circle class="point {look}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{escape(said)}</title></circle>{label}</a>"
    )


class _Labels:
    """Finds a free place for each label above, below or beside its point; none where every place is taken."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self.taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]

    def place(self, x: float, y: float, wide: float) -> tuple[float, float] | None:
        """The middle of the label's base line."""
        for dx, dy in ((0, -9), (0, 18), (wide / 2 + 9, 4), (-wide / 2 - 9, 4)):
            box = (x + dx - wide / 2, y + dy - 11, x + dx + wide / 2, y + dy + 2)
            inside = box[0] > _LEFT and box[2] < _RIGHT and box[1] > _TOP and box[3] < _BOTTOM
            if inside and not any(_meet(box, other) for other in self.taken):
                self.taken.append(box)
                return x + dx, y + dy
        return None


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
