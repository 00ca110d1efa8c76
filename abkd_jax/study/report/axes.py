"""Axes of the figures of a study: what is far below everything else is named at their border."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["WIDTH", "at_the_border", "least_drawn"]

WIDTH = 4.2  # inches of a figure; text of 8 points stays readable on a phone
REACH = 3.0  # of the distance from the best to the median, what is drawn below the best
BORDER = 0.15  # of the width of the axes, for texts


def least_drawn(scores: Sequence[float]) -> float:
    """Returns the score below which a few would press all others together; higher is better.

    Examples:
        >>> round(least_drawn([0.75, 0.84, 0.85, 0.86, 0.87]), 4)
        0.81
    """
    best, median = float(np.max(scores)), float(np.median(scores))
    return best - REACH * (best - median) if best > median else float(np.min(scores))


def at_the_border(axis: Any, texts: Mapping[int, str], factor: float) -> None:
    """Writes texts in rows of an axis at the border behind which their scores are.

    Args:
        axis: of matplotlib, all else drawn.
        texts: by row.
        factor: from stored scores to drawn ones; negative where lower is better, with that border on the right.
    """
    low, high = axis.get_xlim()
    room = BORDER * (high - low) if texts else 0.0
    end, side, inwards = (low - room, "left", 3) if factor > 0 else (high + room, "right", -3)
    for row, text in texts.items():
        said = f"\u2190 {text}" if factor > 0 else f"{text} \u2192"
        options = {"textcoords": "offset points", "ha": side, "va": "center", "fontsize": "small", "color": "0.35"}
        axis.annotate(said, (end, row), (inwards, 0), **options)
    axis.set_xlim(min(low, end), max(high, end))
