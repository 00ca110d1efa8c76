"""Measures exported models: score on a data set, size, and time of one pass over its graph."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Measured", "measured"]

REPEATS, LONGEST = 20, 2.0  # timed calls, and seconds after which no more are made


class Measured(NamedTuple):
    """What an exported model is worth beside others.

    Attributes:
        format: `"stablehlo"` or `"onnx"`.
        precision: of its weights.
        weight_bytes: of the stored weights.
        bytes: of the whole program.
        score: on the test nodes or graphs of a data set, higher is better; None where none was at hand.
        milliseconds: median time of a pass over the whole graph, on this machine; None likewise.
    """

    format: str
    precision: str
    weight_bytes: int
    bytes: int
    score: float | None = None
    milliseconds: float | None = None


def measured(
    run: Callable[..., Mapping[str, Any]],
    arrays: Sequence[np.ndarray],
    score: Callable[[jax.Array], Any],
) -> tuple[float, float]:
    """Computes the score of an exported model, and the median time of a call in milliseconds, without compilation.

    Args:
        run: the model.
        arrays: of a raw graph, in the order that it takes them.
        score: of the logits.
    """
    placed = [jnp.asarray(array) for array in arrays] if isinstance(run, jax.stages.Wrapped) else list(arrays)
    result = float(score(jnp.asarray(run(*placed)["logits"])))
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONGEST:
        begin = time.perf_counter()
        jax.block_until_ready(dict(run(*placed)))
        times.append(time.perf_counter() - begin)
    return result, 1e3 * statistics.median(times)
