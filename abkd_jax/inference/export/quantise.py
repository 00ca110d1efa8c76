"""Weights of fewer bits: bfloat16, and int8 with one scale per output channel."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int8

from abkd_jax.types import InputError, Pytree

__all__ = ["PRECISIONS", "Precision", "Quantised", "restored", "stored"]

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

LARGEST = 127  # of int8, which is symmetric so: -128 is not used


class Quantised(NamedTuple):
    """Matrix of which `values * scales` is an approximation.

    Attributes:
        values: `[..., in, out]`.
        scales: `[..., 1, out]`, one per output channel.
    """

    values: Int8[np.ndarray, "*k in out"]
    scales: Float32[np.ndarray, "*k 1 out"]


def stored(variables: Pytree, precision: Precision) -> Pytree:
    """Returns the variables of a model as an exported program stores them.

    - `"float32"`: as they are.
    - `"bfloat16"`: all parameters in bfloat16.
    - `"int8"`: matrices (kernels, embeddings) as `Quantised`, `w ~ q s`, `s = max |w| / 127` of each output channel;
      vectors in float32. In a stack of matrices every matrix has its own scales.

    Statistics of batch normalisation stay in float32, and whole numbers as they are.

    Raises:
        InputError: the precision is unknown.

    Examples:
        >>> weights = {"params": {"kernel": np.array([[1.27, 0.0], [-0.5, 0.0]], np.float32)}}
        >>> stored(weights, "int8")["params"]["kernel"].values.tolist()
        [[127, 0], [-50, 0]]
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    variables = jax.tree.map(np.asarray, variables)
    if precision == "float32":
        return variables
    of_leaf = _quantised if precision == "int8" else lambda leaf: leaf.astype(jnp.bfloat16)
    params = jax.tree.map(lambda leaf: of_leaf(leaf) if _is_real(leaf) else leaf, variables["params"])
    return dict(variables) | {"params": params}


def restored(variables: Pytree) -> Pytree:
    """Returns stored variables as the model reads them, in float32 but for whole numbers.

    Inside a program the weights stay stored.

    Examples:
        >>> weights = {"params": {"kernel": np.array([[1.27, 0.0], [-0.5, 0.0]], np.float32)}}
        >>> [[round(w, 2) for w in row] for row in restored(stored(weights, "int8"))["params"]["kernel"].tolist()]
        [[1.27, 0.0], [-0.5, 0.0]]
    """
    return jax.tree.map(_restored, variables, is_leaf=lambda leaf: isinstance(leaf, Quantised))


def _quantised(leaf: np.ndarray) -> Any:
    if leaf.ndim < 2:
        return leaf
    largest = np.max(np.abs(leaf), axis=-2, keepdims=True, initial=0.0)
    scales = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
    return Quantised(np.round(leaf / scales).astype(np.int8), scales)


def _restored(leaf: Any) -> Array:
    if isinstance(leaf, Quantised):
        values = jnp.asarray(leaf.values).astype(jnp.float32)
        return values * jnp.asarray(leaf.scales)
    return jnp.asarray(leaf).astype(jnp.float32) if _is_real(leaf) else jnp.asarray(leaf)


def _is_real(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)  # which bfloat16 is, unlike for NumPy
