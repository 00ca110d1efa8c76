"""Seeds side by side, or in turn where their kernels are wide: the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.types import Batch, NodeMasks

NODES, SEEDS = 6, 3
MASKS = NodeMasks(jnp.ones(NODES, bool), jnp.ones(NODES, bool))


def one(state, batch):
    """A product that the state changes, of features that all share and targets of each seed's own."""
    return batch.graph @ state["kernel"] + batch.targets, jnp.sum(state["kernel"])


@pytest.mark.parametrize("width", [4, 40], ids=["narrow", "wide"])
@pytest.mark.parametrize("axes", [None, Batch(None, None, None, 0)], ids=["shared", "own targets"])
def test_every_seed_is_as_it_is_alone(width, axes):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    states = {"kernel": draw(SEEDS, width, width)}
    targets = draw(NODES, width) if axes is None else draw(SEEDS, NODES, width)
    batch = Batch(draw(NODES, width), jnp.zeros(NODES, jnp.int32), MASKS, targets)
    program = jax.jit(vmap_seeds(one, axes, states))
    outs, sums = program(states, batch)
    for seed in range(SEEDS):
        kernel = np.asarray(states["kernel"][seed], np.float64)
        own = np.asarray(targets if axes is None else targets[seed])
        np.testing.assert_allclose(outs[seed], np.asarray(batch.graph) @ kernel + own, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(sums[seed], kernel.sum(), rtol=1e-3, atol=1e-3)
    assert ("while" in program.lower(states, batch).compile().as_text()) == (width == 40)
