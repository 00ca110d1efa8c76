"""Small teachers and students for the tests of the distillation losses."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from abkd_jax.graph import from_edges
from abkd_jax.types import GNNOutput, Objective, PairMap, Pytree

__all__ = ["DECOMPOSITIONS", "EDGELESS", "given_map", "make_output", "primitives", "random_params"]

DECOMPOSITIONS = {"eigh", "svd", "qr", "geqrf", "householder_product", "schur", "eig"}

EDGELESS = from_edges(np.array([], np.int32), np.array([], np.int32), 1)  # for losses that read no graph


def make_output(seed: int, widths: tuple[int, ...], n: int = 12, classes: int = 3) -> GNNOutput:
    """Random logits and rectified layers, float32; different rows, no silent column."""
    rng = np.random.default_rng(seed)
    hiddens = (np.maximum(rng.normal(0.5, 1.0, (n, width)), 0.0) for width in widths)
    as_float = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    return GNNOutput(as_float(rng.normal(size=(n, classes))), tuple(as_float(h) for h in hiddens))


def random_params(part: Objective | PairMap, teacher: GNNOutput, student: GNNOutput, seed: int = 0) -> Pytree:
    """Parameters of the shapes that `init` gives, from NumPy: nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(part.init, jax.random.key(0), teacher, student)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(scale=0.5, size=x.shape), x.dtype), shapes)


def given_map(values, variance=None) -> PairMap:
    """A pair map that is an array given beforehand."""
    values = jnp.asarray(values, jnp.float32)
    variance = jnp.ones(len(values)) if variance is None else jnp.asarray(variance, jnp.float32)
    return PairMap(
        lambda key, teacher, student: {},
        lambda teacher, *, graph, mask: {},
        lambda params, targets, student, *, graph, mask, key: (values, {"variance": variance}),
    )


def primitives(jaxpr) -> set[str]:
    """Names of the operations of a program, inner programs included."""
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    return names.union(*(primitives(sub) for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)))
