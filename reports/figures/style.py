"""Style of all figures: colours distinguishable by colour-blind readers, and deterministic SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.text import line, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLOURS = ("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#56B4E9", "#949494")
"""seaborn's `colorblind` palette, without its two weakest contrasts on white."""

DASHES = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)))
"""Line styles for more lines than colours."""

MEASURED, FITTED, PUBLISHED, INK, FAINT = COLOURS[0], "#CFE3F1", "#B8B8B8", "#333333", "#DDDDDD"

_IN_THE_DARK = {
    "#ffffff": "#191f26",
    "#000000": "#e6e9ee",
    INK: "#e6e9ee",
    FAINT: "#39424d",
    "#999999": "#7c8590",
    PUBLISHED: "#8b95a1",
    FITTED: "#1f4a66",
    **dict(zip(COLOURS, ("#4aa8e0", "#f0ac3c", "#2fc596", "#f2843a", "#dc94ce", "#d8a679", "#7cc7f2", "#b0b0b0"))),
}
"""Colours where the reader's page is dark; the background turns dark as well, so that a figure is legible on any page."""

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#999999",
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: small files, searchable, and drawn with the reader's fonts
    "svg.hashsalt": "reports",  # the same figure gives the same bytes
}


@contextmanager
def styled() -> Iterator[None]:
    """Figures made inside look like all others. Loads matplotlib, without a display."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # a glyph that the measuring font lacks is drawn by the reader's own font
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def line_look(index: int) -> dict[str, Any]:
    """Colour and dashes of the line of the row at `index`: the first eight differ by colour, later ones by dashes too."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}


def canvas(width: float, height: float) -> Canvas:
    """An empty figure of so many inches, laid out so that nothing overlaps; belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def svg(figure: Canvas) -> str:
    """The figure as SVG text, without a date; the parts of it that are pixels are sharp on dense screens. It follows the
    reader's choice of light or dark."""
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    before, defs, after = out.getvalue().partition("<defs>")
    return f"{before}{_dark_rules()}{defs}{after}"


def _dark_rules() -> str:
    """Rules for the colours that matplotlib writes into `style` attributes."""
    rules = [
        f'[style*="{what}: {light.lower()}"] {{ {what}: {dark} !important }}'
        for light, dark in _IN_THE_DARK.items()
        for what in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>\n "


def few_ticks(axis: Any, most: int = 4) -> None:
    """At most so many labels on an axis of a small panel, so that they cannot touch."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2))


def iteration_ticks(axis: Any) -> None:
    """Iterations as 20k, 40k."""
    few_ticks(axis)
    axis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}")


def keep_percent(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis of percentages, without room for values that none can have."""
    return max(low, 0.0), min(high, 100.0)


def plain(text: str, length: int = 30) -> str:
    """A label in a text alternative: one line, cut."""
    return shorten(line(text), length)


def label(text: str, length: int = 30) -> str:
    """A label as matplotlib shows it literally: one line, cut, dollars not read as formulas."""
    return plain(text, length).replace("$", r"\$")
