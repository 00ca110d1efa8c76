"""Methods of studies by name: recipes over the settings of a data set, and ranges of what is tuned.

The start is tuned too. So `supervised` has the labels alone for its loss, but may start from its teacher's weights; by
`distill` it starts plainly (`run.starts.with_start`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from abkd_jax.configs.large_presets import Preset
from abkd_jax.configs.methods import AUXILIARY_WEIGHTS, FURTHER_WEIGHTS, GEOMETRIC_NODES, loss_weight
from abkd_jax.configs.options import MethodConfig, ModelConfig
from abkd_jax.outside import is_outside, require_known
from abkd_jax.types import InputError

__all__ = ["METHODS", "Recipe", "recipe", "student_of"]

Range = tuple[float, float]

LEARNING_RATES: Range = (0.01, 0.1)  # where a step reads the whole graph
DECAYS: Range = (1e-6, 3e-3)
TEMPERATURES: Range = (0.0625, 4.0)
WEIGHTS: Range = (0.01, 10.0)  # times the preset's weight

OPTIM = dataclasses.replace(MethodConfig().optim, dense_decay=1e-5)  # on whole graphs; its length is the table's

# Terms beside soft labels: settings of `MethodConfig`.
_ALIGNMENT: dict[str, dict[str, Any]] = {
    "abkd": {},
    "abkd_uniform": {"attention": "uniform"},
    "abkd_last_layer": {"attention": "last_layer"},
    "abkd_greedy": {"attention": "greedy"},
    "abkd_depth": {"attention": "depth_proportional"},
    "abkd_fixed_axes": {"dissimilarity": "fixed_axes"},
    "abkd_cka": {"dissimilarity": "cka"},
    "abkd_paper": {"dissimilarity": "trained_heads"},
    "stride_structure": {"dissimilarity": "structure"},
    "stride": {"dissimilarity": "stride"},
}
_AUXILIARY = (*AUXILIARY_WEIGHTS, *FURTHER_WEIGHTS, "mustad_repeated")  # losses of others beside soft labels
# Methods from one start, where the tuning of all others chooses among several. The start that is newer than the ranges
# of the tunings is in none of them.
_NOT_DRAWN = "fitted"
_STARTS = {
    "soft_label_cut_out": ("soft_label", "attention_map"),
    "soft_label_plain": ("soft_label", "positive"),
    "abkd_cut_out": ("abkd", "attention_map"),
    "soft_label_fitted": ("soft_label", "fitted"),
    "abkd_fitted": ("abkd", "fitted"),
    "teacher_input_fitted": ("teacher_input", "fitted"),
}
_ALONE = "labels_"  # prefix of the methods that learn from labels and one term, without soft labels
_REPEATED = "_repeated"  # suffix of those whose student repeats one layer
_DROPOUT = "_dropout"  # suffix of those whose student drops features while it trains
RATE = 0.5

METHODS = (
    "supervised",
    "soft_label",
    "labels_soft_label",
    *_ALIGNMENT,
    *_AUXILIARY,
    *(_ALONE + name for name in (*_ALIGNMENT, *_AUXILIARY)),
    "teacher_input",
    "teacher_input_abkd",
    *_STARTS,
    *(name + _DROPOUT for name in ("soft_label", "abkd", "soft_label_fitted")),
)


class Recipe(NamedTuple):
    """A method of a study.

    Attributes:
        method: its settings as the preset has them.
        ranges: bounds of the numbers that are tuned, on a logarithmic scale, by path as `lanes.with_numbers` has them.
        starts: initialisations that are tried too.
    """

    method: MethodConfig
    ranges: Mapping[str, Range]
    starts: tuple[str, ...]


def student_of(name: str, student: ModelConfig) -> ModelConfig:
    """Returns the student of a method: MustaD's repeats one layer, others drop half of the features while they train.

    MLPs drop half of their hidden units as well; students of few units would lose too many of them.

    Examples:
        >>> student_of("mustad_repeated", ModelConfig()).repeated
        True
        >>> student_of("soft_label_dropout", ModelConfig(dropout=0.0)).input_dropout
        0.5
    """
    if name in METHODS and name.endswith(_DROPOUT):
        hidden = RATE if student.name == "mlp" else student.dropout
        student = dataclasses.replace(student, input_dropout=RATE, dropout=hidden)
    return dataclasses.replace(student, repeated=_repeats_layer(name))


def _repeats_layer(name: str) -> bool:
    return name in METHODS and name.endswith(_REPEATED)


def recipe(
    name: str, preset: Preset, starts: tuple[str, ...], *, with_labels: bool = False, minibatches: bool = False
) -> Recipe:
    """Returns a method of a study on one data set.

    Args:
        name: one of `METHODS`.
        preset: settings of the data set.
        starts: initialisations that its students can have.
        with_labels: whether students also learn from labels where they are given soft labels, as where soft labels
            are those of the labelled nodes alone.
        minibatches: whether a step reads a part of the data: then the optimizer is the preset's, and learning rates are
            those of a decade around its own. Whole graphs have an optimizer and learning rates for all of them.

    Raises:
        InputError: no method has this name, or its students cannot have its start.
    """
    require_known("method", name, METHODS)
    taught = name if is_outside(name) else name.removesuffix(_DROPOUT)
    loss, start = _STARTS.get(taught, (taught.removeprefix(_ALONE), None))
    alone = name.startswith(_ALONE) and loss != "soft_label"
    soft = 0.0 if alone or name == "supervised" else 1.0
    labels = 1.0 if soft == 0.0 or with_labels or name == "labels_soft_label" else 0.0
    optim = preset.soft_label.optim if minibatches else OPTIM
    base = dataclasses.replace(preset.soft_label, soft_label_weight=soft, task_weight=labels, optim=optim)
    # The plain start is that of the first trial: the others draw theirs.
    plain = "positive" if "positive" in starts else "default"
    changes: dict[str, Any] = {"start": plain if base.start == "auto" else base.start}
    rates = _decade_around(optim.learning_rate) if minibatches else LEARNING_RATES
    ranges: dict[str, Range] = {"optim.learning_rate": rates, "optim.dense_decay": DECAYS}
    if soft:
        ranges["temperature"] = TEMPERATURES
    if labels and soft:
        ranges["task_weight"] = (0.01, 1.0)
    if loss in _ALIGNMENT or loss == "teacher_input_abkd":
        weight = 1.0 if alone else 0.1
        changes |= {**_ALIGNMENT.get(loss, {}), "alignment_weight": weight}
        ranges["alignment_weight"] = (WEIGHTS[0] * weight, WEIGHTS[1] * weight)
    elif loss in _AUXILIARY or is_outside(loss):
        auxiliary = loss.removesuffix(_REPEATED) if _repeats_layer(name) else loss
        weight = loss_weight(auxiliary)
        changes |= {"auxiliary": auxiliary, "auxiliary_weight": weight, "auxiliary_max_nodes": GEOMETRIC_NODES}
        ranges["auxiliary_weight"] = (WEIGHTS[0] * weight, WEIGHTS[1] * weight)
    if loss.startswith("teacher_input"):
        changes["input"] = "teacher"
    if start is not None:
        if start not in starts:
            raise InputError(f"method {name}: start {start}, but the students have {', '.join(starts)}")
        changes["start"], starts = start, (start,)
    elif _NOT_DRAWN in starts:
        starts = tuple(tried for tried in starts if tried != _NOT_DRAWN)
    return Recipe(dataclasses.replace(base, **changes), ranges, starts)


def _decade_around(value: float) -> Range:
    return value / math.sqrt(10.0), value * math.sqrt(10.0)
