"""What `prepare` lays out for a TPU, and when."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from aggregate_samples import MANY
from graphs import dense_adjacency, features, raw_graph

from abkd_jax.graph import layout_of, prepare, sparse_features
from abkd_jax.graph.constants import lay_out
from abkd_jax.graph.forms import without_sparse_features
from abkd_jax.types import InputError

X = features(0, 9, 2)


def _layout(weighted=True, **options):
    return layout_of(prepare(raw_graph(MANY, X, weighted=weighted), **options))


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
def test_a_tpu_has_slots_and_the_dense_matrix(weighted):
    layout = _layout(weighted, platform="tpu")
    assert layout.pattern.slots is not None
    counts = dense_adjacency(MANY, np.ones(20))
    np.testing.assert_array_equal(layout.constants.ones.matrix.astype(np.float64), counts)
    assert layout.constants.ones.matrix.dtype == jnp.bfloat16  # small integers: exact
    assert (layout.constants.weights is None) != weighted
    if weighted:
        expected = dense_adjacency(MANY, MANY.weights.astype(np.float64))
        np.testing.assert_allclose(layout.constants.weights.matrix, expected, rtol=1e-6)
        by_row, by_column = layout.constants.weights.values
        np.testing.assert_array_equal(by_row[layout.pattern.order_t], by_column)


@pytest.mark.parametrize(
    ("options", "slots", "matrix"),
    [
        ({}, False, False),
        ({"platform": "cpu"}, False, False),
        ({"platform": "gpu"}, False, False),
        ({"backend": "bucketed"}, True, False),
        ({"backend": "dense"}, False, True),
        ({"backend": "segment", "platform": "tpu"}, False, False),
        ({"buckets": False, "platform": "tpu"}, False, False),
    ],
    ids=str,
)
def test_elsewhere_only_what_the_form_reads(options, slots, matrix):
    """On a CPU nothing is allocated that only a TPU reads."""
    layout = _layout(**options)
    assert (layout.pattern.slots is not None) == slots
    assert (layout.constants.ones.matrix is not None) == (layout.constants.weights.matrix is not None) == matrix


def test_a_tpu_multiplies_bags_of_words_as_dense_matrices():
    words = sp.random(9, 5, density=0.3, random_state=np.random.default_rng(0), format="csr", dtype=np.float32)
    plain = raw_graph(MANY, X)._replace(nodes={"features": sparse_features(words), "type": np.zeros(9, np.int32)})
    on_tpu, elsewhere = (prepare(plain, platform=platform).nodes for platform in ("tpu", "cpu"))
    np.testing.assert_array_equal(on_tpu["features"], words.toarray())
    assert on_tpu["type"] is plain.nodes["type"]
    assert elsewhere["features"] is plain.nodes["features"]
    large = sparse_features(sp.csr_matrix((5000, 5000), dtype=np.float32))
    assert without_sparse_features(large) is large


def test_scales_are_the_square_roots_of_the_coefficients():
    layout = _layout()
    rows, cols, scale = layout.pattern.rows, layout.pattern.cols, layout.constants.scale
    np.testing.assert_allclose(
        layout.coefficients, layout.constants.weights.values[0] * scale[rows] * scale[cols], rtol=1e-6
    )


def test_a_matrix_that_is_too_large_is_refused_in_one_line():
    none = np.zeros(0, np.int32)
    with pytest.raises(InputError, match=r"backend 'dense': a matrix of 50000 x 50000 .* expected a smaller graph"):
        lay_out(none, none, (50_000, 50_000), None, none, None, True)
