"""Stored cells beside cells that were trained anew."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tabulate

from abkd_jax.run.report.markdown import format_score
from abkd_jax.study.cells import Cell
from abkd_jax.types import METRICS

__all__ = ["Reproduction", "compare", "table"]

NAMES = ("dataset", "regime", "student", "method")


class Reproduction(NamedTuple):
    """A stored cell beside a new one.

    Attributes:
        names: data set, regime, student and method.
        metric: name of the metric.
        stored: mean test score.
        new: likewise; None where the cell was not trained anew.
        within: whether the means differ by at most the larger standard deviation over the seeds.
        equal: number of seeds of equal test scores.
        seeds: number of seeds.
        alike: whether code, versions and hardware are those of the stored cell, so that all seeds should be equal.
    """

    names: tuple[str, ...]
    metric: str
    stored: float
    new: float | None
    within: bool
    equal: int
    seeds: int
    alike: bool

    @property
    def reproduced(self) -> bool:
        """Tells whether the new scores are those that were stored, as far as they can be."""
        return self.within and (not self.alike or self.equal == self.seeds)


def compare(stored: Sequence[Cell], new: Sequence[Cell]) -> list[Reproduction]:
    """Returns each stored cell of which a new one was trained, in the order of the stored ones."""
    anew = {_names(cell): cell for cell in new}
    return [_compare(cell, anew[_names(cell)]) for cell in stored if _names(cell) in anew]


def table(found: Sequence[Reproduction]) -> str:
    """Returns the comparison as text."""
    rows = []
    for one in found:
        metric = METRICS[one.metric]
        gap = "-" if one.new is None else format_score(one.new - one.stored, metric, sign="+")
        new = "-" if one.new is None else format_score(one.new, metric)
        within, equal = "yes" if one.within else "no", f"{one.equal} of {one.seeds}"
        rows.append((" ".join(one.names), format_score(one.stored, metric), new, gap, within, equal))
    headers = ("cell", "stored", "new", "difference", "within deviation", "equal seeds")
    return tabulate.tabulate(rows, headers, disable_numparse=True)


def _compare(stored: Cell, new: Cell) -> Reproduction:
    before, after = ([cell["scores"]["test"][k] for k in range(len(cell["seeds"]))] for cell in (stored, new))
    means = [_mean(scores) for scores in (before, after)]
    spread = max(_spread(before), _spread(after))
    difference = abs(means[0] - means[1])
    equal = sum(one == other for one, other in zip(before, after, strict=False))
    alike = _made_by(stored) == _made_by(new)
    new_mean = None if np.isnan(means[1]) else means[1]
    within = bool(difference <= spread) or before == after
    return Reproduction(_names(stored), stored["metric"], means[0], new_mean, within, equal, len(before), alike)


def _names(cell: Cell) -> tuple[str, ...]:
    return tuple(cell[name] for name in NAMES)


def _made_by(cell: Cell) -> dict[str, Any]:
    return {name: cell["provenance"].get(name) for name in ("code", "versions", "hardware")}


def _mean(scores: Sequence[float | None]) -> float:
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else float("nan")


def _spread(scores: Sequence[float | None]) -> float:
    known = [score for score in scores if score is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
