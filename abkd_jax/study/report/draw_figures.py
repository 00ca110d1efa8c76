"""Figure of differences between methods that were tuned again and again: what of the table's own draw lasts."""

from collections.abc import Mapping, Sequence

import numpy as np

from abkd_jax.run.report.canvas import COLOURS, canvas, footer, svg
from abkd_jax.study.report.statistics import bootstrap_interval

__all__ = ["draws_figure"]

WIDTH = 7.6  # inches; half of it are the names of the rows
ROW = 0.36  # inches, two lines of text


def draws_figure(rows: Mapping[str, Sequence[float]]) -> bytes:
    """Draws the difference of every draw, that of the table marked, with their mean and its 95 % interval.

    Args:
        rows: differences in points by what they are of, the table's own first in each; the first row is on top.

    Returns:
        An SVG file.
    """
    with canvas(WIDTH, ROW * len(rows) + 0.9) as figure:
        axis = figure.subplots()
        axis.axvline(0.0, color="black", linewidth=1.0)
        for row, values in enumerate(rows.values()):
            first, *again = values
            interval = bootstrap_interval([values])
            if interval:
                axis.plot(interval, [row, row], color="0.75", linewidth=6.0, solid_capstyle="butt")
            axis.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color="black")
            axis.plot(again, [row] * len(again), "o", markersize=4, alpha=0.7, color=COLOURS[0])
            axis.plot(first, row, "D", markersize=5, color=COLOURS[1])
        axis.set_yticks(range(len(rows)), labels=list(rows))
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlabel("difference of the mean test scores, points")
        footer(figure, "orange: the draw of the table; blue: drawn again; black: mean of all draws with 95 % interval")
        return svg(figure)
