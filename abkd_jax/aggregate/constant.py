"""Products with a sparse matrix whose values are constants, in the layouts of `graph.constants`.

    out = D (A (D x)),    D the diagonal matrix of the scale or the identity

On a CPU they run as other products do. On a TPU the matrix is dense, as long as that costs less, or in slots without a
gather of single numbers; elsewhere a sorted `segment_sum` reads it in either order.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax.aggregate.backends import row_sums
from abkd_jax.aggregate.entries import by_column, by_row, one_by_one
from abkd_jax.aggregate.pallas import table_fits, table_sums
from abkd_jax.aggregate.slots import slot_sums, slots_of
from abkd_jax.graph.constants import LaidOut
from abkd_jax.graph.layout import BACKENDS, CSR, Backend
from abkd_jax.types import HostOrDevice, InputError

__all__ = ["constant_matmul"]


class _Matrix(NamedTuple):
    """A sparse matrix and the layouts of its values; see `constant_matmul`."""

    pattern: CSR
    products: Array | None
    scale: Array | None
    laid_out: LaidOut


def constant_matmul(
    pattern: CSR,
    products: Float[HostOrDevice, " nnz"] | None,
    scale: Float[HostOrDevice, " m"] | None,
    laid_out: LaidOut,
    x: Float[Array, "m f"],
    backend: Backend,
    *,
    half: bool,
) -> Float[Array, "n f"]:
    """Computes the product at the head of this file; differentiable in `x` alone.

    Args:
        pattern: positions of the entries.
        products: `[nnz]` the values with both scales, in row order; None where all are 1.
        scale: `[m]` of the columns, the first of them those of the rows (`n <= m`); None where all are 1.
        laid_out: the values without scales.
        x: `[m, f]`, float32 or wider.
        backend: as `aggregate.backends` lists them.
        half: whether `x` came in 16 bits. The dense product of a TPU then rounds `D x` to bfloat16: one pass of the
            matrix unit instead of two.

    Returns:
        `[n, f]` in the type of `x`.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if not pattern.cols.size:
        return jnp.zeros((pattern.shape[0], x.shape[1]), x.dtype)
    matrix = jax.tree.map(jnp.asarray, _Matrix(pattern, products, scale, laid_out))
    return _product(backend, half, matrix, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _product(backend: Backend, half: bool, matrix: _Matrix, x: Array) -> Array:
    return _folding(backend, half, False)(matrix, x)


_product.defvjp(
    lambda backend, half, matrix, x: (_product(backend, half, matrix, x), matrix),
    lambda backend, half, matrix, cotangent: (None, _folding(backend, half, True)(matrix, cotangent)),
)


@functools.cache
def _folding(backend: Backend, half: bool, transposed: bool) -> Callable[[_Matrix, Array], Array]:
    """Returns the product by one backend; under `vmap` seeds become features."""

    @jax.custom_batching.custom_vmap
    def product(matrix: _Matrix, x: Array) -> Array:
        return _by_backend(backend, half, transposed, matrix, x)

    @product.def_vmap
    def _over_seeds(size: int, batched: list[Any], matrix: _Matrix, x: Array) -> tuple[Array, bool]:
        if any(jax.tree.leaves(batched[0])):  # graphs that differ
            return one_by_one(product, size, batched, matrix, x)
        folded = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], size * x.shape[2])
        out = product(matrix, folded)
        return jnp.moveaxis(out.reshape(out.shape[0], size, x.shape[2]), 1, 0), True

    return product


def _by_backend(backend: Backend, half: bool, transposed: bool, matrix: _Matrix, x: Array) -> Array:
    pattern, products, scale, laid_out = matrix
    entries = (by_column if transposed else by_row)(pattern)

    def native(x: Array) -> Array:
        values = None if products is None else products[:, None]
        return row_sums(entries, values, x[:, None], "csr")[:, 0]

    def scaled(form: Callable[[Array], Array]) -> Callable[[Array], Array]:
        if scale is None:
            return form
        column = scale[:, None].astype(x.dtype)

        def product(x: Array) -> Array:
            out = form(x * column[: x.shape[0]])
            return out * column[: out.shape[0]]

        return product

    def segment(x: Array) -> Array:
        own = laid_out.values and laid_out.values[transposed][:, None]
        return row_sums(entries._replace(order=None), own, x[:, None], "segment")[:, 0]

    def slotted(x: Array) -> Array:
        slots = slots_of(entries)
        if laid_out.by_row is not None and table_fits(slots, x):
            return table_sums(slots, laid_out.by_row[transposed], x)
        weights = laid_out.slots and laid_out.slots[transposed]
        return slot_sums(slots, x, weights and [own.astype(x.dtype) for own in weights])

    def dense(matrix: Array, x: Array) -> Array:
        return _dense(matrix.T if transposed else matrix, x, half)

    if backend == "csr":
        return native(x)
    if backend in ("segment", "bucketed"):
        return scaled(segment if backend == "segment" else slotted)(x)
    tpu = segment if entries.slots is None else slotted
    if laid_out.matrix is not None:
        tpu = functools.partial(dense, laid_out.matrix)
        if backend == "dense":
            return scaled(tpu)(x)
    return jax.lax.platform_dependent(x, cpu=native, tpu=scaled(tpu), default=scaled(segment))


def _dense(matrix: Float[Array, "n m"], x: Float[Array, "m f"], half: bool) -> Float[Array, "n f"]:
    """Computes the dense product.

    Where the matrix is exact in bfloat16, a TPU multiplies it with two bfloat16 parts of `x` side by side and adds in
    float32. They leave at most 2^-16 of each number of `x` out (2^-8 with one part), where the default precision of the
    products in layers leaves 2^-8 out; `precision="highest"` would cost twice as many cycles.
    """
    if matrix.dtype != jnp.bfloat16 or x.dtype != jnp.float32:
        return jnp.matmul(matrix.astype(x.dtype), x, precision="highest")

    def exact(x: Array) -> Array:
        return jnp.matmul(matrix.astype(x.dtype), x, precision="highest")

    return jax.lax.platform_dependent(x, tpu=lambda x: _in_parts(matrix, x, 1 if half else 2), default=exact)


def _in_parts(matrix: Float[Array, "n m"], x: Float[Array, "m f"], parts: int) -> Float[Array, "n f"]:
    pieces, rest = [], x
    for _ in range(parts):
        # XLA may keep more digits than a conversion to bfloat16 asks for, which this rounding forbids.
        pieces.append(jax.lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7))
        rest = rest - pieces[-1]
    joined = jnp.concatenate(pieces, axis=1).astype(jnp.bfloat16)
    out = jnp.matmul(matrix, joined, preferred_element_type=jnp.float32)
    return functools.reduce(jnp.add, jnp.split(out, parts, axis=1))
