"""Trimmed layers in minibatches for a TPU: what the blocks of hops have in slots, and what they leave out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import random_edges
from test_hops import CASES, both, check, graph_of, on_backend

from abkd_jax import aggregate
from abkd_jax.aggregate.slot_attention import MOST_HEADS
from abkd_jax.graph import num_nodes
from abkd_jax.graph.constants import slots_by_row
from abkd_jax.graph.hops import hop_blocks, with_hops
from abkd_jax.graph.slot_shapes import LONGEST
from abkd_jax.types import InputError


def batch_of(*, weighted=False, layers=3):
    (batch, _), *_ = both(graph_of(random_edges(1, 60, 200), weighted=weighted), layers, platform="tpu")
    return on_backend(batch, "bucketed")


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("weighted", [True, False])
def test_each_edge_of_a_block_has_one_slot_by_row_and_one_by_column_and_no_other_edge_has_any(weighted, layers):
    blocks = hop_blocks(batch_of(weighted=weighted, layers=layers).graph)
    assert len(blocks) == layers
    for block in blocks:
        pattern, (scale, ones, weights) = jax.tree.map(np.asarray, (block.edges.pattern, block.edges.constants))
        (rows, columns), edges = pattern.shape, pattern.rows.shape[0]
        assert scale.shape[0] >= columns
        for number, ends, size in ((0, pattern.cols, columns), (1, pattern.rows, rows)):
            slots = pattern.slots[number]
            entries = np.concatenate(slots.entries)
            assert sorted(entries[entries < edges]) == list(range(int(block.n_edge[0]))) != []
            np.testing.assert_array_equal(np.concatenate(slots.cols), np.append(ends, size)[entries])
            chex.assert_trees_all_equal(ones.by_row[number], slots_by_row(slots, size))
            assert (weights is None) == (not weighted)
            if weighted:
                found, expected = np.concatenate(weights.slots[number]), np.append(weights.values[0], 0.0)[entries]
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["gcn", "max", "gat of edge features"])
def test_rows_of_a_hub_are_cut_and_change_their_places(name):
    rng, edges = np.random.default_rng(4), random_edges(2, 150, 400)
    senders = rng.permutation(150)[: 3 * LONGEST].astype(np.int32)  # into a hub, and some of them out of it
    hub = np.full(senders.shape, 7, np.int32)
    ends = [np.concatenate(parts) for parts in ((edges.senders, senders, hub), (edges.receivers, hub, senders))]
    graph = graph_of(edges._replace(senders=ends[0], receivers=ends[1]), features=2)
    pair = both(graph, 3, roots=20, fan_outs=(-1, 6, 6), platform="tpu")[0]
    layout = pair[0].graph.edges
    slots = [own for pattern in (layout.pattern, *layout.hops[:-1]) for own in pattern.slots]
    assert any(len(own.sizes.levels) > 1 for own in slots)
    assert not all(own.sizes.in_order for own in slots)
    check(CASES[name], pair, "bucketed")


@pytest.mark.parametrize("heads", [1, MOST_HEADS + 1])
def test_logits_of_edges_outside_of_a_block_may_be_of_any_size(heads):
    """They have no slot, so that no maximum of a row bounds them; values and gradients of all others stay."""
    rng = np.random.default_rng(2)
    for block in hop_blocks(batch_of().graph):
        inside = (np.arange(block.senders.shape[0]) < block.n_edge[0])[:, None]
        real = jnp.arange(aggregate.num_receivers(block)) < block.n_node[0]
        x = jnp.asarray(rng.normal(size=(num_nodes(block), heads, 3)), jnp.float32)

        @jax.jit
        def numbers(logits, x, block=block, real=real):
            def loss(logits, x):
                out = aggregate.attention_sum(block, logits, x)
                return jnp.sum(jnp.where(real[:, None, None], jnp.sin(out), 0.0))

            return jax.value_and_grad(loss, argnums=(0, 1))(logits, x)

        logits = rng.normal(size=(inside.shape[0], heads)).astype(np.float32)
        found, expected = numbers(np.where(inside, logits, 200.0).astype(np.float32), x), numbers(logits, x)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), found, expected)
        assert np.abs(found[1][0]).max() > 1e-3


def test_slots_need_shapes():
    graph = batch_of().graph
    sizes = [(hop.row_ptr.shape[0] - 1, graph.senders.shape[0]) for hop in graph.edges.hops]
    with pytest.raises(InputError, match="0 shapes, expected 2"):
        with_hops(graph, [(int(hop.reached), 0) for hop in graph.edges.hops], sizes)
