"""One graph with everything that is awkward, ways to hold it, and parameters from NumPy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np
from graphs import EdgeList, features, random_edges, raw_graph

from abkd_jax.graph import prepare
from abkd_jax.layers import Dense, GATConv, GATv2Conv, GCN2Conv, GCNConv, GINConv, RGCNConv, SAGEConv, SGConv
from abkd_jax.types import Pytree

# Twenty edges among nine nodes: duplicates, self loops, and a last node that is isolated.
EDGES = random_edges(7, 9, 20)
TYPES = np.random.default_rng(8).integers(0, 3, 20).astype(np.int32)
LAYOUTS = {"plain": lambda graph: graph, "prepared": functools.partial(prepare, buckets=False)}
X = features(0, 9, 5)


class _Star(nn.Module):
    """GCN2Conv as a layer of one input."""

    dtype: object = None

    @nn.compact
    def __call__(self, graph, x):
        return GCN2Conv(0.3, variant=True, dtype=self.dtype)(graph, x, x, 0.4)


def _gin(dtype=None):
    return GINConv(nn.Sequential((Dense(4, dtype=dtype), nn.relu, Dense(3, dtype=dtype))), 0.3, dtype=dtype)


LAYERS = {
    "gcn": functools.partial(GCNConv, 3),
    "gcnii star": _Star,
    "sage": functools.partial(SAGEConv, 3),
    "sage, max": functools.partial(SAGEConv, 3, "max"),
    "gat": functools.partial(GATConv, 3, 2, symmetric_norm=True),
    "gat, loops as they are": functools.partial(GATConv, 3, self_loops=False),
    "gatv2": functools.partial(GATv2Conv, 3, 2),
    "gin": _gin,
    "rgcn": functools.partial(RGCNConv, 3, 3),
    "rgcn, widening": functools.partial(RGCNConv, 7, 3),
    "sgc": functools.partial(SGConv, 3, 2),
}

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


@functools.partial(jax.jit, static_argnums=0)
def run(module: nn.Module, variables: Pytree, graph: jraph.GraphsTuple, *arguments):
    return module.apply(variables, graph, *arguments)


def value_of(variables: Pytree, path: str) -> np.ndarray:
    """The parameter at `a/b`, in float64."""
    for part in path.split("/"):
        variables = variables[part]
    return np.asarray(variables, np.float64)
