"""Label propagation against PyTorch Geometric's."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity_samples import NODES, jax_graph, pyg, torch, torch_edges, unique_edges

from abkd_jax import models
from abkd_jax.graph import pad_to_bucket, prepare
from abkd_jax.types import InputError

EDGES = unique_edges(loops=True)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2], np.int32)
TRAIN = np.arange(NODES) % 2 == 0


def _theirs(alpha, steps):
    known = torch.nn.functional.one_hot(torch.tensor(LABELS, dtype=torch.int64), 3).to(torch.float64)
    propagation = pyg.models.LabelPropagation(steps, alpha)
    return propagation(known, torch_edges(EDGES), mask=torch.tensor(TRAIN)).numpy()


@pytest.mark.parametrize(("alpha", "steps"), [(0.9, 5), (1.0, 2), (0.3, 0)])
def test_labels_spread_as_theirs_do(alpha, steps):
    """In float32: theirs computes degrees in nothing wider."""
    labels = jnp.where(TRAIN, LABELS, jnp.int32(-7))  # others may hold anything
    for layout in ("plain", "auto"):
        graph = jax_graph(EDGES, None, np.zeros((NODES, 1), np.float32), layout)
        got = models.label_propagation(graph, labels, jnp.asarray(TRAIN), 3, alpha=alpha, steps=steps)
        np.testing.assert_allclose(got, _theirs(alpha, steps), rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing():
    graph = prepare(pad_to_bucket(jax_graph(EDGES, None, np.zeros((NODES, 1), np.float32), "plain")))
    padded = [jnp.pad(values, (0, 16 - NODES)) for values in (LABELS, TRAIN)]
    got = models.label_propagation(graph, *padded, 3, alpha=0.9, steps=5)
    np.testing.assert_allclose(got[:NODES], _theirs(0.9, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "steps"), [(1.1, 1), (float("nan"), 1), (0.5, -1)])
def test_nonsense_is_refused(alpha, steps):
    graph = jax_graph(EDGES, None, np.zeros((NODES, 1), np.float32), "plain")
    with pytest.raises(InputError, match="expected 0 to 1 and at least 0"):
        models.label_propagation(graph, jnp.asarray(LABELS), jnp.asarray(TRAIN), 3, alpha=alpha, steps=steps)
