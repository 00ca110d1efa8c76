"""Small teachers and students for the tests of the distillation losses."""

import jax.numpy as jnp
import numpy as np

from abkd_jax.types import GNNOutput


def make_output(seed: int, widths: tuple[int, ...], n: int = 12, classes: int = 3) -> GNNOutput:
    """Random logits and rectified layers, float32; different rows, no silent column."""
    rng = np.random.default_rng(seed)
    hiddens = (np.maximum(rng.normal(0.5, 1.0, (n, width)), 0.0) for width in widths)
    as_float = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    return GNNOutput(as_float(rng.normal(size=(n, classes))), tuple(as_float(h) for h in hiddens))
