"""Several devices: seeds sharded over them train to the same numbers as on one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from abkd_jax import datasets, distill, graph, models
from abkd_jax.training import step as training
from abkd_jax.training import tasks
from abkd_jax.types import Batch, NodeMasks

SEEDS = 4


@pytest.mark.skipif(jax.device_count() < SEEDS, reason=f"needs {SEEDS} devices, tests/conftest.py fakes them")
def test_seeds_sharded_over_devices_train_to_the_same_parameters():
    data = datasets.load("synthetic")
    g = jax.device_put(graph.from_dataset(data))
    batch = Batch(g, jnp.asarray(data.labels), NodeMasks(graph.node_mask(g), jnp.asarray(data.train_mask)))
    model, optimizer = models.GCNII(4, 2, data.num_classes, dropout=0.3), optax.adam(0.01)
    out = jax.jit(lambda key: model.apply(model.init(key, g), g))(jax.random.key(9))
    objective = distill.weighted_sum(distill.Term("abkd", 1.0, distill.abkd_closed_form(2)))
    targets = jax.jit(lambda out: objective.targets(out, graph=g, mask=batch.masks))(out)
    step = training.make_distill_step(model, objective, optimizer, tasks.classification())

    def init(key):
        heads = objective.init(key, out, out)
        return training.init_state(key, model, optimizer, batch, objective_params=heads)

    states = jax.jit(jax.vmap(lambda seed: init(jax.random.key(seed))))(jnp.arange(SEEDS))

    def train(states, batch):
        return jax.lax.scan(lambda s, _: jax.vmap(step, in_axes=(0, None))(s, batch), states, None, length=5)[0].params

    full = batch._replace(targets=targets)
    expected = jax.jit(train)(states, full)
    mesh = jax.make_mesh((SEEDS,), ("seed",), axis_types=(AxisType.Auto,))
    seeds, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("seed",), ()))
    sharded = jax.jit(train, out_shardings=seeds)(jax.device_put(states, seeds), jax.device_put(full, everywhere))
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(sharded), strict=True):
        assert len(other.sharding.device_set) == SEEDS
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), rtol=1e-3, atol=1e-5)
