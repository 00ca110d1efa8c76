"""Ranges of the values of options."""

from typing import NamedTuple

__all__ = ["RANGES", "Range"]

LARGE = 1e38  # a little below the largest float32


class Range(NamedTuple):
    """Range of the values of an option.

    Attributes:
        low: the least value.
        high: the largest value.
        without: a value that is excluded: one of the ends, or one between.

    Examples:
        >>> rate = Range(0, 1, without=1)
        >>> str(rate), rate.holds(0.5), rate.holds(1)
        ('of at least 0 and below 1', True, False)
    """

    low: int | float
    high: int | float
    without: int | float | None = None

    def holds(self, value: int | float) -> bool:
        """Returns whether a value is in the range; NaN is in none."""
        return self.low <= value <= self.high and value != self.without

    def __str__(self) -> str:
        low = f"{'above' if self.low == self.without else 'of at least'} {self.low:,}"
        high = f"{'below' if self.high == self.without else 'at most'} {self.high:,}"
        inside = self.without is not None and self.low < self.without < self.high
        return f"{low} and {high}" + (f", other than {self.without:,}" if inside else "")


_RATE = Range(0, 1, without=1)
_WEIGHT = Range(0, LARGE)
_POSITIVE = Range(0, LARGE, without=0)
_WIDTH = Range(1, 100_000)
_COUNT = Range(1, 1_000_000_000)

# By the names of the options, which have one meaning in all configs. The upper ends are far beyond all trained models:
# they reject typing errors that would fill the memory or train without end.
RANGES: dict[str, Range] = {
    # ModelConfig
    "layers": Range(1, 10_000),
    "hidden": _WIDTH,
    "dropout": _RATE,
    "alpha": Range(0, 1),
    "lam": _POSITIVE,
    "input_dropout": _RATE,
    "heads": _WIDTH,
    "output_heads": _WIDTH,
    "attention_dropout": _RATE,
    "edge_dropout": _RATE,
    "bases": _WIDTH,
    "embedding_width": _WIDTH,
    "hops": Range(0, 1_000),
    # OptimConfig
    "epochs": Range(1, 10_000_000),
    "eval_every": Range(1, 10_000_000),
    "patience": Range(0, 1_000_000_000),
    "learning_rate": _POSITIVE,
    "conv_decay": _WEIGHT,
    "dense_decay": _WEIGHT,
    # MethodConfig
    "task_weight": _WEIGHT,
    "soft_label_weight": _WEIGHT,
    "temperature": Range(0.001, 1_000),  # beyond, float32 exponentials are all equal or all zero
    "alignment_weight": _WEIGHT,
    "axes": _WIDTH,
    "dim": _WIDTH,
    "auxiliary_weight": _WEIGHT,
    "auxiliary_max_nodes": Range(1, 1_000_000),
    # BatchConfig
    "size": _COUNT,
    "fan_outs": Range(-1, 1_000_000_000, without=0),
    "length": Range(1, 10_000),
    "steps": Range(1, 10_000_000),
    "parts": _COUNT,
    "per_step": Range(1, 1_000_000),
    # RunConfig
    "seeds": Range(1, 10_000),
    "max_epochs": _COUNT,
    "split": Range(0, 2**32 - 1),
    "teacher_ensemble": Range(1, 10_000),
}
