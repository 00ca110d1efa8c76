"""A loss outside the package: what the classes explain of the teacher's last layer, from polynomials of the student's.

    D = 1 - tr(C (N + ridge I)^-1 C')        C = E[z f'],  N = E[f f'],  E the mean over the masked nodes

    z    [n, k]  least squares prediction of the teacher's whitened principal components from its soft labels,
                 scaled to total variance 1
    f    [n, p]  centred monomials of the student's last layer

For narrow students: two units hold what is linear in them, nine monomials of degree 3 what a classifier draws from
them. A study takes it by its name: `--methods experiments.class_relevant:class_relevant`.
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from abkd_jax import GNNOutput, Objective
from abkd_jax.distill import freeze, masked_rows

COMPONENTS, MONOMIALS = 8, 20
NEGLIGIBLE = 1e-6  # variance beside the largest, of a component that is left out
CLIP = 3.0  # standard deviations


def class_relevant(temperature: float = 0.25, ridge: float = 1e-3) -> Objective:
    """Builds the loss at the head of this file.

    Args:
        temperature: of the teacher's soft labels.
        ridge: beside the variances of the monomials, of order 1.
    """

    def targets(teacher: GNNOutput, *, graph, mask) -> Float[Array, "n k"]:
        teacher = freeze(teacher)
        labels = _centred(jax.nn.softmax(masked_rows(teacher.logits, mask) / temperature), mask)
        whitened = _whitened(_centred(masked_rows(teacher.hiddens[-1], mask), mask), mask)
        explained = labels @ _regression(labels, whitened, mask, 1e-4)
        variance = jnp.sum(explained**2) / _count(mask, explained)
        return explained / jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0))

    def apply(params, targets, student: GNNOutput, *, graph, mask, key):
        f = _monomials(masked_rows(student.hiddens[-1], mask), mask)
        cross = f.T @ targets / _count(mask, f)
        return jnp.sum(targets**2) / _count(mask, f) - jnp.sum(cross * _regression(f, targets, mask, ridge)), {}

    return Objective(lambda key, teacher, student: {}, targets, apply)


def _count(mask, like: Array) -> Array:
    return jnp.maximum(jnp.sum(mask), 1).astype(like.dtype)


def _centred(x: Float[Array, "n d"], mask) -> Float[Array, "n d"]:
    x = jnp.where(mask[:, None], x, 0.0)
    return jnp.where(mask[:, None], x - jnp.sum(x, axis=0, keepdims=True) / _count(mask, x), 0.0)


def _whitened(x: Float[Array, "n d"], mask) -> Float[Array, "n k"]:
    variance, axes = jnp.linalg.eigh(x.T @ x / _count(mask, x))
    variance, axes = variance[None, -COMPONENTS:], axes[:, -COMPONENTS:]
    kept = variance > NEGLIGIBLE * variance[:, -1:]
    return x @ jnp.where(kept, axes / jnp.sqrt(jnp.where(kept, variance, 1.0)), 0.0)


def _regression(x: Float[Array, "n p"], y: Float[Array, "n k"], mask, ridge: float) -> Float[Array, "p k"]:
    """Returns the coefficients of `y` on `x`, both centred."""
    moments = x.T @ x / _count(mask, x) + ridge * jnp.eye(x.shape[1], dtype=x.dtype)
    return jnp.linalg.solve(moments, x.T @ y / _count(mask, x))


def _monomials(h: Float[Array, "n d"], mask) -> Float[Array, "n p"]:
    """Returns centred monomials of the scaled, clipped columns, up to degree 3 and as long as there are at most 20."""
    x = _centred(h, mask)
    variance = jnp.sum(x**2) / (_count(mask, x) * x.shape[1])
    x = CLIP * jnp.tanh(x / (CLIP * jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0))))
    columns: list[tuple[int, ...]] = []
    for degree in (1, 2, 3):
        more = list(itertools.combinations_with_replacement(range(x.shape[1]), degree))
        if degree > 1 and len(columns) + len(more) > MONOMIALS:
            break
        columns += more
    return _centred(jnp.stack([jnp.prod(x[:, jnp.array(c)], axis=1) for c in columns], axis=1), mask)
