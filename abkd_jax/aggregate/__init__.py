"""Message passing: all sums over neighbours run here.

On CPUs a sum is one native sparse product (SpMM) over the prepared layout, with the precomputed transpose as its
backward pass: nothing of size `[e, f]` is ever built. `aggregate.backends` lists the other forms and when they are
taken; graphs that were never prepared take `segment_sum`. All forms give the same numbers.

Prepared graphs have first derivatives in reverse mode; forward mode and higher derivatives need a plain graph.
"""

from abkd_jax.aggregate.edge_softmax import attention_sum, edge_softmax
from abkd_jax.aggregate.edge_types import relation_means, relation_sum
from abkd_jax.aggregate.edges import (
    num_receivers,
    receiver_sums,
    receiver_values,
    receiving,
    sender_sums,
    sender_values,
)
from abkd_jax.aggregate.maxima import maximum
from abkd_jax.aggregate.memberships import category_sums
from abkd_jax.aggregate.products import (
    Features,
    feature_matmul,
    in_degrees,
    mean,
    propagate,
    sparse_matmul,
    weighted_sum,
)
from abkd_jax.aggregate.readout import readout
from abkd_jax.aggregate.typed_products import typed_product
from abkd_jax.aggregate.typed_sums import join_types, split_types, typed_layout_of, typed_means, typed_sum
from abkd_jax.graph.layout import BACKENDS, Backend

__all__ = [
    "BACKENDS",
    "Backend",
    "Features",
    "attention_sum",
    "category_sums",
    "edge_softmax",
    "feature_matmul",
    "in_degrees",
    "join_types",
    "maximum",
    "mean",
    "num_receivers",
    "propagate",
    "readout",
    "receiver_sums",
    "receiver_values",
    "receiving",
    "relation_means",
    "relation_sum",
    "sender_sums",
    "sender_values",
    "sparse_matmul",
    "split_types",
    "typed_layout_of",
    "typed_means",
    "typed_product",
    "typed_sum",
    "weighted_sum",
]
