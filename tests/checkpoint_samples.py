"""A small state with leaves of every kind, its history and config, and what is read back of them."""

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax.training import checkpoint

CONFIG = {"method": "abkd", "seeds": [0, 1], "optim": {"epochs": 20, "rate": 0.1}}
HISTORY = {"loss": np.array([[0.5, 0.25], [0.125, np.nan]], np.float32), "seconds": np.asarray(1.5)}


def make_state(value=1.0):
    return {
        "params": {"w": jnp.full((2, 3), value), "empty": {}},
        "keys": jax.random.split(jax.random.key(7), 2),
        "step": jnp.asarray([3, 4], jnp.int32),
        "active": jnp.asarray([True, False]),
        "pair": (jnp.zeros(()), jnp.arange(3, dtype=jnp.uint32)),
    }


def template():
    return jax.eval_shape(make_state)


def first_step(folder):
    """Saves a checkpoint of step 20 in the folder, which is returned."""
    checkpoint.save(folder, make_state(), HISTORY, CONFIG, step=20)
    return folder


def raw(tree):
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def restored(folder):
    """The number that fills the weights."""
    (value,) = np.unique(checkpoint.restore(folder, template(), CONFIG)[0]["params"]["w"])
    return value
