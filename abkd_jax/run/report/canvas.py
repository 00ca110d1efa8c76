"""Style of the figures, safe for colour-blind readers and in grey, and their encoding as PNG."""

import importlib.util
import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from abkd_jax.types import InputError

__all__ = ["COLOURS", "LINE_STYLES", "MISSING", "can_draw", "canvas", "footer", "png", "svg"]

MISSING = "figures need matplotlib, which is not installed: pip install 'abkd_jax[report]'"
DOTS_PER_INCH = 150
FOOTER_CHARACTERS, FOOTER_LINE = 22, 0.1  # characters per inch of width; height of a line in inches
# The palette of Okabe and Ito (jfly.uni-koeln.de/color); the line styles tell the methods apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # names of data sets may have dollar signs
}


def can_draw() -> bool:
    """Returns whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@contextmanager
def canvas(width: float, height: float) -> Iterator[Any]:
    """Yields a figure of that size in inches on the Agg canvas, without a window or global state.

    Raises:
        InputError: matplotlib is not installed.
    """
    if not can_draw():
        raise InputError(MISSING)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)
        yield figure


def footer(figure: Any, *parts: str) -> None:
    """Writes the data set, the seeds and the like below a figure; empty parts are left out."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(", ".join(filter(None, parts)), max(20, int(FOOTER_CHARACTERS * width)))
    room = FOOTER_LINE * (len(lines) + 0.5) / height
    figure.text(0.995, 0.004, "\n".join(lines), ha="right", va="bottom", fontsize="x-small", color="0.35")
    figure.get_layout_engine().set(rect=(0.0, room, 1.0, 1.0 - room))


def png(figure: Any) -> bytes:
    """Returns a figure as a PNG file."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def svg(figure: Any) -> bytes:
    """Returns a figure as an SVG file with its text as text; the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"svg.fonttype": "none", "svg.hashsalt": "abkd_jax"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
