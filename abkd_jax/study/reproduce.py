"""Stored cells beside cells that were trained anew."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tabulate

from abkd_jax.run.report.markdown import format_score
from abkd_jax.run.report.statistics import estimate
from abkd_jax.study.cells import Cell
from abkd_jax.types import METRICS

__all__ = ["Reproduction", "as_text", "compare", "made_by"]

NAMES = ("dataset", "regime", "student", "method")


class Reproduction(NamedTuple):
    """A stored cell beside a new one.

    Attributes:
        names: data set, regime, student and method.
        metric: name of the metric.
        stored: mean test score; None where no seed has one.
        new: likewise, of the students that were trained anew.
        within: whether the means differ by at most the larger standard deviation over the seeds.
        equal: number of seeds of equal test scores.
        seeds: number of seeds.
        alike: whether code, versions and hardware are those of the stored cell, so that all seeds should be equal.
    """

    names: tuple[str, ...]
    metric: str
    stored: float | None
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


def as_text(found: Sequence[Reproduction]) -> str:
    """Returns the comparison as text."""
    rows = []
    for one in found:
        metric = METRICS[one.metric]
        gap = "-"
        if one.stored is not None and one.new is not None:
            gap = format_score(one.new - one.stored, metric, sign="+")
        before, new = ("-" if mean is None else format_score(mean, metric) for mean in (one.stored, one.new))
        within, equal = "yes" if one.within else "no", f"{one.equal} of {one.seeds}"
        rows.append((" ".join(one.names), before, new, gap, within, equal))
    headers = ("cell", "stored", "new", "difference", "within deviation", "equal seeds")
    return tabulate.tabulate(rows, headers, disable_numparse=True)


def _compare(stored: Cell, new: Cell) -> Reproduction:
    before, after = stored["scores"]["test"], new["scores"]["test"]
    old, anew = ([score for score in scores if score is not None] for scores in (before, after))
    within = before == after or bool(old and anew and estimate(old).agrees(estimate(anew)))
    equal = sum(one == other for one, other in zip(before, after, strict=False))
    mean, new_mean = (estimate(scores).mean if scores else None for scores in (old, anew))
    alike = made_by(stored["provenance"]) == made_by(new["provenance"])
    return Reproduction(_names(stored), stored["metric"], mean, new_mean, within, equal, len(before), alike)


def _names(cell: Cell) -> tuple[str, ...]:
    return tuple(cell[name] for name in NAMES)


def made_by(provenance: dict[str, Any]) -> dict[str, Any]:
    """Returns what decides the bits of a score: code, versions and hardware."""
    return {name: provenance.get(name) for name in ("code", "versions", "hardware")}
