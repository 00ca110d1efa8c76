"""One graph with everything that is awkward, ways to hold it, and parameters from NumPy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np
from compiling import QUICK
from graphs import EdgeList, features, random_edges, raw_graph

from abkd_jax.graph import prepare
from abkd_jax.types import Pytree

# Twenty edges among nine nodes: duplicates, self loops, and a last node that is isolated.
EDGES = random_edges(7, 9, 20)
TYPES = np.random.default_rng(8).integers(0, 3, 20).astype(np.int32)
LAYOUTS = {"plain": lambda graph: graph, "prepared": functools.partial(prepare, buckets=False)}
X = features(0, 9, 5)

pairs = list(zip(EDGES.senders.tolist(), EDGES.receivers.tolist(), strict=True))
assert len(set(pairs)) < len(pairs)
assert any(sender == receiver for sender, receiver in pairs)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def graph_of(edges: EdgeList, x: np.ndarray, types: np.ndarray | None = None) -> jraph.GraphsTuple:
    return raw_graph(edges, x, weighted=False)._replace(edges=types)


def params_of(module: nn.Module, *arguments, seed: int = 0) -> Pytree:
    """Variables of the shapes that `init` gives, from NumPy: nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(scale=0.5, size=a.shape), a.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run(module: nn.Module, variables: Pytree, graph: jraph.GraphsTuple, *arguments):
    return module.apply(variables, graph, *arguments)


def value_of(variables: Pytree, path: str) -> np.ndarray:
    """The parameter at `a/b`, in float64."""
    for part in path.split("/"):
        variables = variables[part]
    return np.asarray(variables, np.float64)
