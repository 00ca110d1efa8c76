"""Kernels between pairs of nodes, sums over all pairs without an `n x n` array, and nodes drawn per step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from abkd_jax.distill.ops.checks import require_rows
from abkd_jax.distill.ops.moments import centre
from abkd_jax.distill.ops.numerics import masked_rows, safe_sqrt, unit_rows
from abkd_jax.distill.ops.outputs import Inputs
from abkd_jax.distill.ops.projections import Head, project
from abkd_jax.types import InputError, Mask, PRNGKey, Pytree

__all__ = [
    "KERNELS",
    "Kernel",
    "draw_nodes",
    "drawn_nodes",
    "gaussian",
    "pairwise",
    "projected_sides",
    "rowwise",
    "sigmoid",
    "squared_difference",
    "sum_over_blocks",
]

# Rows of a block, fewer where it would hold more pairs than that: a loss keeps up to seven arrays of a block's size,
# of 64 MiB each in float32.
_BLOCK_ROWS, _BLOCK_PAIRS = 1024, 2**24


class Kernel(NamedTuple):
    """A kernel between two nodes, `k(u, v) = of(r_u . r_v)` or `of(|r_u - r_v|^2)`.

    Attributes:
        rows: `(x [n, d], mask [n]) -> r [n, d]`, with zero rows outside the mask.
        distance: whether `of` reads the squared distance; otherwise the inner product.
        of: elementwise.
    """

    rows: Callable[[Float[Array, "n d"], Bool[Array, " n"]], Float[Array, "n d"]]
    distance: bool
    of: Callable[[Array], Array]


def _unit(x: Float[Array, "n d"], mask: Mask) -> Float[Array, "n d"]:
    return unit_rows(masked_rows(x, mask))


def _centred(x: Float[Array, "n d"], mask: Mask) -> Float[Array, "n d"]:
    """Subtracts the mean: distances stay the same, and the squares that cancel in `pairwise` become smallest."""
    return centre(x[None], mask)[1][0]


KERNELS = {
    "cosine": Kernel(_unit, False, lambda inner: inner),
    "poly": Kernel(_unit, False, jnp.square),
    "l2": Kernel(_centred, True, safe_sqrt),
    "rbf": Kernel(_centred, True, lambda squared: jnp.exp(-0.5 * squared)),
}
"""Cosine and its square; the Euclidean distance (larger is farther), and `exp(-distance^2 / 2)`."""


def sigmoid() -> Kernel:
    """Returns the kernel `tanh(x_u . x_v)`."""
    return Kernel(masked_rows, False, jnp.tanh)


def gaussian(scale: float) -> Kernel:
    """Returns the kernel `exp(-|x_u - x_v| / scale)`, of the distance and not of its square.

    Args:
        scale: in units of the features, above 0.
    """
    return Kernel(_centred, True, lambda squared: jnp.exp(-safe_sqrt(squared) / scale))


def rowwise(kernel: Kernel, a: Float[Array, "e d"], b: Float[Array, "e d"]) -> Float[Array, " e"]:
    """Computes `k(a_i, b_i)`, one number per row, `[e]`.

    Args:
        kernel: of which `rows` has made the rows.
        a: `[e, d]`.
        b: `[e, d]`.

    Examples:
        >>> import jax.numpy as jnp
        >>> print(rowwise(KERNELS["l2"], jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))))
        [5.]
    """
    return kernel.of(jnp.sum((a - b) ** 2 if kernel.distance else a * b, axis=1))


def pairwise(kernel: Kernel, a: Float[Array, "m d"], b: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """Computes `k(a_i, b_j)`, one number per pair of rows, `[m, n]`.

    Points that rounding cannot tell apart count as one point: distance 0, without a gradient.

    Args:
        kernel: of which `rows` has made the rows.
        a: `[m, d]`.
        b: `[n, d]`.
    """
    inner = jnp.matmul(a, b.T, precision="highest")
    if not kernel.distance:
        return kernel.of(inner)
    squares = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None, :]
    squared = squares - 2.0 * inner
    rounding = 16.0 * float(jnp.finfo(squares.dtype).eps)
    return kernel.of(jnp.where(squared > rounding * squares, squared, 0.0))


def sum_over_blocks(term: Callable[..., Float[Array, ""]], rows: PyTree[Array]) -> Float[Array, ""]:
    """Sums `term(rows of a block)` over blocks of rows, one block after the other.

    A block has 1,024 rows, and fewer where its pairs with all `n` rows would be more than 2^24. The backward pass
    computes each block again, so that in both directions nothing that `term` builds outlives its block.

    Args:
        term: takes a block of `rows`; the last block is filled up with zero rows, which must add nothing.
        rows: arrays `[n, ...]`.
    """
    n = jax.tree.leaves(rows)[0].shape[0]
    blocks = -(-n // max(1, min(_BLOCK_ROWS, _BLOCK_PAIRS // n)))
    size = -(-n // blocks)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, [(0, blocks * size - n)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(blocks, size, *x.shape[1:])

    return jnp.sum(jax.lax.map(jax.checkpoint(term, prevent_cse=False), jax.tree.map(split, rows)))


def squared_difference(kernel: Kernel, t: Float[Array, "n _"], s: Float[Array, "n _"], mask: Mask) -> Float[Array, ""]:
    """Sums the squared difference of two sides' kernels over all pairs of masked nodes.

    Args:
        kernel: of both sides.
        t: features of the teacher, `[n, d_t]`.
        s: features of the student, `[n, d_s]`.
        mask: `[n]`.
    """
    require_rows("targets of the teacher", t.shape[0], mask)
    t, s = kernel.rows(t, mask), kernel.rows(s, mask)

    def of_block(block: tuple[Float[Array, "b _"], Float[Array, "b _"], Bool[Array, " b"]]) -> Float[Array, ""]:
        t_block, s_block, counted = block
        difference = pairwise(kernel, s_block, s) - pairwise(kernel, t_block, t)
        return jnp.sum(jnp.where(counted[:, None] & mask[None, :], difference**2, 0.0))

    return sum_over_blocks(of_block, (t, s, mask))


def draw_nodes(key: PRNGKey, mask: Mask, count: int) -> Int[Array, " count"]:
    """Draws `count` different nodes uniformly from the masked ones; all of these and some others if they are fewer.

    Args:
        key: a key of `jax.random.key`.
        mask: `[n]`.
        count: at most `n`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> sorted(draw_nodes(jax.random.key(0), jnp.array([True, False, True]), 2).tolist())
        [0, 2]
    """
    return jax.lax.top_k(jnp.where(mask, jax.random.uniform(key, mask.shape, jnp.float32), -1.0), count)[1]


def drawn_nodes(
    factory: str, mask: Mask, key: PRNGKey | None, max_nodes: int | None
) -> Int[Array, " max_nodes"] | None:
    """Draws the nodes of a step; None where all of them take part.

    Args:
        factory: name of the factory, for the message.
        mask: `[n]`.
        key: for the draw.
        max_nodes: nodes to draw; None, or no fewer than `n`, takes all.

    Raises:
        InputError: nodes are to be drawn without a key.
    """
    if max_nodes is None or max_nodes >= mask.shape[0]:
        return None
    if key is None:
        raise InputError(f"{factory}: no key was given, expected one to draw {max_nodes} of {mask.shape[0]} nodes")
    return draw_nodes(key, mask, max_nodes)


def projected_sides(
    factory: str,
    params: dict[str, Pytree],
    t: Float[Array, "n d_t"],
    s: Float[Array, "n d_s"],
    inputs: Inputs,
    head: Head,
    max_nodes: int | None,
) -> tuple[Float[Array, "m _"], Float[Array, "m _"], Bool[Array, " m"]]:
    """Projects teacher and student, and takes the rows of all nodes or of those drawn for this step.

    Batch norm is computed over all masked nodes, drawn or not.

    Args:
        factory: name of the factory, for the message.
        params: as `projections.init_sides` returns them.
        t: the teacher's last hidden layer.
        s: the student's.
        inputs: of the loss; the key is for the draw.
        head: as in `projections.project`.
        max_nodes: nodes to draw; None, or no fewer than `n`, takes all.

    Returns:
        The teacher's rows, the student's, and which of them count, `[m]` with `m` the smaller of `n` and `max_nodes`.

    Raises:
        InputError: nodes are to be drawn without a key.
    """
    _, mask, key = inputs
    drawn = drawn_nodes(factory, mask, key, max_nodes)
    t_rows, s_rows = (project(params[side], x, mask, head) for side, x in (("teacher", t), ("student", s)))
    if drawn is None:
        return t_rows, s_rows, mask
    return t_rows[drawn], s_rows[drawn], mask[drawn]
