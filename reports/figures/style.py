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
    """The figure as SVG text, without a date; the parts of it that are pixels are sharp on dense screens."""
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=200, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def plain(text: str, length: int = 30) -> str:
    """A label in a text alternative: one line, cut."""
    return shorten(line(text), length)


def label(text: str, length: int = 30) -> str:
    """A label as matplotlib shows it literally: one line, cut, dollars not read as formulas."""
    return plain(text, length).replace("$", r"\$")
