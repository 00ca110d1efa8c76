"""A small model, a batch, and what the tests of training share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from abkd_jax.graph import from_edges, node_mask
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, make_validate
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, GNNOutput, NodeMasks

NODES, FEATURES, CLASSES = 20, 5, 3
LABELS_ONLY = Batch(None, None, None, None)  # axes: everything is shared between the seeds


class Tiny(nn.Module):
    """Two linear maps: one in the convolutions' decay group, one outside it."""

    dropout: float = 0.0
    normed: bool = False

    @nn.compact
    def __call__(self, graph, train=False):
        x = nn.Dropout(self.dropout, deterministic=not train)(graph.nodes)
        h = nn.Dense(4, use_bias=False, name="conv")(x)
        if self.normed:
            h = nn.BatchNorm(use_running_average=not train, momentum=0.75, name="norm")(h)
        return GNNOutput(nn.Dense(CLASSES, name="output")(h), (h,))


def make_batch():
    rng = np.random.default_rng(0)
    graph = from_edges(rng.integers(NODES, size=40), rng.integers(NODES, size=40), NODES)
    graph = jax.device_put(graph._replace(nodes=rng.normal(size=(NODES, FEATURES)).astype(np.float32)))
    labels = jnp.asarray(rng.integers(CLASSES, size=NODES), jnp.int32)
    return Batch(graph, labels, NodeMasks(node_mask(graph), jnp.arange(NODES) < 12), None)


def val_mask():
    return jnp.arange(NODES) >= 12


def make(model, config, batch, seeds=(0,), objective=None, task_weight=1.0):
    """A step, its validation and stacked states."""
    optimizer, task = make_optimizer(config), classification()
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    states = jax.vmap(lambda key: init_state(key, model, optimizer, batch))(keys)
    step = make_distill_step(model, objective, optimizer, task, task_weight)
    return step, make_validate(model, task, val_mask()), states


def one(states):
    return jax.tree.map(lambda leaf: leaf[0], states)


def arrays(tree):
    """Leaves as NumPy arrays, keys as their words."""
    raw = jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    return jax.tree.map(np.array, raw)


def assert_same_bits(a, b):
    jax.tree.map(assert_array_equal, arrays(a), arrays(b))
