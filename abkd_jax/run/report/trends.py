"""Trends in the logs of a run: collapse of the layer alignment, shares of the gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np

__all__ = ["Collapse", "GradientShare", "Record", "Trend", "collapse", "gradient_shares", "is_finite"]

COLLAPSED_SHARE = 0.01  # of the first dissimilarity, below which the alignment counts as collapsed
SHARE_PREFIX = "gradient_share/"  # of the keys of logged shares, before the name of the term

Record = Mapping[str, Any]


class Trend(NamedTuple):
    """Mean over seeds of a logged quantity at the first and at the last logged epoch."""

    first: float
    last: float


class Collapse(NamedTuple):
    """Indicators of a collapse of the layer alignment of a method; None where a quantity was not logged.

    Attributes:
        method: its name.
        variance: variance of the projected teacher layers.
        dissimilarity: D.
        unexplained: D / variance.
        row_entropy: entropy of the attention rows, 1 uniform, 0 one-hot.
        seeds: number of seeds.
        not_finite: how many of them are in no mean, because their variance is not finite at one end.
    """

    method: str
    variance: Trend | None
    dissimilarity: Trend | None
    unexplained: Trend | None
    row_entropy: Trend | None
    seeds: int | None = None
    not_finite: int = 0

    @property
    def verdict(self) -> str:
        """Returns `"collapsed"` if D fell below 1 % of its first value, else `"no collapse"`; `"unknown"` without D."""
        d = self.dissimilarity
        if d is None or not (math.isfinite(d.first) and math.isfinite(d.last)):
            return "unknown"
        return "collapsed" if d.last < COLLAPSED_SHARE * d.first else "no collapse"


class GradientShare(NamedTuple):
    """Share of one term in the gradient of a method.

    Attributes:
        method: its name.
        term: name of the term; "task" is the loss on the labels.
        share: in [0, 1]; the terms of a method sum to 1. None where no seed has a finite one.
        seeds: number of seeds.
        not_finite: how many of them are not in the mean, because the share is not finite at one end.
    """

    method: str
    term: str
    share: Trend | None
    seeds: int | None = None
    not_finite: int = 0


def is_finite(value: Any) -> TypeGuard[float]:
    """Returns whether a stored value is a finite number; null and NaN mean undefined or diverged.

    Examples:
        >>> [is_finite(value) for value in (0.5, 3, None, float("nan"))]
        [True, True, False, False]
    """
    return isinstance(value, int | float) and math.isfinite(value)


def collapse(metrics: Sequence[Record]) -> list[Collapse]:
    """Returns the indicators of a collapse for every method that logs `"abkd/attended_variance"`.

    A fall of the dissimilarity D alone does not show that the student has learned: trained projections can map both
    sides to constants, or onto one easy direction. The variance of the projected teacher, and D over it, show which.
    A seed whose first or last value of a quantity is not finite is left out of the mean of that quantity.

    Args:
        metrics: one mapping per method, seed and epoch: `"method"`, `"seed"`, `"epoch"` and the logged scalars.
    """
    rows = []
    for method, log in _by_method(metrics).items():
        if any("abkd/attended_variance" in row for row in log):
            variance, seeds, not_finite = _trend(log, "abkd/attended_variance")
            others = (
                _trend(log, f"abkd/{name}")[0]
                for name in ("attended_dissimilarity", "attended_unexplained", "row_entropy")
            )
            rows.append(Collapse(method, variance, *others, seeds=seeds, not_finite=not_finite))
    return rows


def gradient_shares(metrics: Sequence[Record]) -> list[GradientShare]:
    """Returns the shares of the gradient of every method that it logs as `"gradient_share/<term>"`.

    Args:
        metrics: as for `collapse`.

    Examples:
        >>> row = {"method": "abkd", "seed": 0}
        >>> log = [row | {"epoch": 0, "gradient_share/abkd": 0.5}, row | {"epoch": 9, "gradient_share/abkd": 0.25}]
        >>> gradient_shares(log)[0].share
        Trend(first=0.5, last=0.25)
    """
    rows = []
    for method, log in _by_method(metrics).items():
        keys = dict.fromkeys(key for row in log for key in row if key.startswith(SHARE_PREFIX))
        rows += [GradientShare(method, key.removeprefix(SHARE_PREFIX), *_trend(log, key)) for key in keys]
    return rows


def _by_method(metrics: Sequence[Record]) -> dict[str, list[Record]]:
    methods: dict[str, list[Record]] = {}
    for row in metrics:
        methods.setdefault(row["method"], []).append(row)
    return methods


def _trend(log: Sequence[Record], key: str) -> tuple[Trend | None, int, int]:
    """Returns the trend, the number of seeds, and how many are left out because an end is not finite."""
    by_seed: dict[int, dict[int, Any]] = {}
    for row in log:
        if key in row:
            by_seed.setdefault(row["seed"], {})[row["epoch"]] = row[key]
    ends = [(values[min(values)], values[max(values)]) for values in by_seed.values()]
    kept = [pair for pair in ends if all(map(is_finite, pair))]
    if not kept:
        return None, len(ends), len(ends)
    first, last = (float(np.mean(values)) for values in zip(*kept, strict=True))
    return Trend(first, last), len(ends), len(ends) - len(kept)
