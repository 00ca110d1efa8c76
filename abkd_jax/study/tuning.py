"""Trials: the settings among which the validation nodes choose those of a method, the same number for every method."""

from typing import Any, NamedTuple

import numpy as np
from scipy.stats import qmc

from abkd_jax.configs.options import MethodConfig
from abkd_jax.run.report.statistics import mean_score
from abkd_jax.study.methods import Recipe

__all__ = ["Trial", "ranking", "trials"]


class Trial(NamedTuple):
    """One setting.

    Attributes:
        numbers: by path, as `lanes.with_numbers` has them.
        start: initialisation of the students.
    """

    numbers: dict[str, float]
    start: str


def trials(recipe: Recipe, count: int, draw: int = 0) -> list[Trial]:
    """Returns the preset's setting, then points of a Sobol sequence in the ranges of a recipe, logarithmic.

    The sequence is scrambled from the draw's number, so that every method with the same ranges tries the same points.

    Args:
        recipe: the method.
        count: number of trials; a power of 2 fills the ranges most evenly.
        draw: which points; the setting of the preset is the first of every draw.
    """
    first = Trial({path: float(_value(recipe.method, path)) for path in recipe.ranges}, recipe.method.start)
    if count == 1:
        return [first]
    sampler = qmc.Sobol(len(recipe.ranges) + 1, rng=np.random.default_rng(draw))
    points = sampler.random_base2((count - 1).bit_length())[: count - 1]
    low, high = np.log(np.array(list(recipe.ranges.values()))).T
    scaled = np.exp(low + points[:, 1:] * (high - low))
    starts = (points[:, 0] * len(recipe.starts)).astype(int)
    return [first] + [
        Trial({path: float(f"{x:.3g}") for path, x in zip(recipe.ranges, row, strict=True)}, recipe.starts[start])
        for row, start in zip(scaled, starts, strict=True)
    ]


def ranking(validation: np.ndarray) -> list[int]:
    """Returns the trials from the best mean validation score down, the first of equal ones first.

    Args:
        validation: `[trials, seeds]`, NaN where a student has diverged: such a trial comes last.

    Examples:
        >>> ranking(np.array([[0.5, 0.7], [0.9, 0.7], [np.nan, 0.9], [0.6, 0.6]]))
        [1, 0, 3, 2]
    """
    means = [mean_score(scores) for scores in validation.tolist()]
    return np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable").tolist()


def _value(method: MethodConfig, path: str) -> Any:
    value: Any = method
    for name in path.split("."):
        value = getattr(value, name)
    return value
