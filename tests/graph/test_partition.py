"""Blocks of receivers: every edge is in one, and finds its sender among the nodes that the block has or fetches."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from graphs import EdgeList, edge_lists, features, quick, random_edges, raw_graph
from hypothesis import given
from hypothesis import strategies as st
from partition_samples import mesh_of, needs_devices, real_edges

from abkd_jax.graph import node_mask, partition, place, prepare, sparse_features
from abkd_jax.types import InputError


def of_block(tree, block):
    return jax.tree.map(lambda leaf: leaf[block], tree)


def fetched(edges, block):
    """Which node of the graph each number of a block stands for; -1 for spare ones."""
    parts, rows = edges.info.parts, edges.info.nodes // edges.info.parts
    own = [np.append(np.arange(b * rows, (b + 1) * rows), -1) for b in range(parts)]
    if edges.halo is None:
        return np.concatenate([own[block], np.arange(edges.info.nodes)])
    sent = [own[b][edges.halo.cols[b]].reshape(parts, -1)[block] for b in range(parts)]
    return np.concatenate([own[block], *sent])


def graph_of(edges, width=1):
    ids = np.arange(edges.senders.shape[0], dtype=np.int32)
    nodes = np.arange(edges.size * width, dtype=np.float32).reshape(-1, width)
    return raw_graph(edges, nodes)._replace(edges={"weight": edges.weights, "relation": ids % 3, "id": ids})


@quick
@given(edges=edge_lists(), parts=st.integers(1, 4))
def test_every_edge_is_in_the_block_of_its_receiver_and_finds_its_sender(edges, parts):
    cut = partition(graph_of(edges), parts, relations=3)
    held, rows = cut.edges, cut.edges.info.nodes // parts
    found = set()
    for block in range(parts):
        layout, nodes = of_block(held.blocks, block), fetched(held, block)
        here = slice(block * layout.info.edges, (block + 1) * layout.info.edges)
        ids, receivers = held.features["id"][here], layout.pattern.rows
        real = receivers < rows
        assert (nodes[layout.pattern.cols[~real]] == -1).all()
        assert (nodes[layout.pattern.cols[real]] == edges.senders[ids[real]]).all()
        assert (receivers[real] + block * rows == edges.receivers[ids[real]]).all()
        assert (layout.relations.rows.rows[real] == receivers[real] * 3 + ids[real] % 3).all()
        assert not found & set(ids[real].tolist())
        found |= set(ids[real].tolist())
    assert found == set(range(edges.senders.shape[0]))


@quick
@given(edges=edge_lists(), parts=st.integers(1, 4))
def test_nodes_keep_their_order_and_padding_follows(edges, parts):
    graph = graph_of(edges, 2)
    cut = partition(graph, parts)
    assert cut.edges.info.nodes % parts == 0
    np.testing.assert_array_equal(cut.nodes[: edges.size], graph.nodes)
    np.testing.assert_array_equal(node_mask(cut), np.arange(cut.edges.info.nodes) < edges.size)
    real, ids = real_edges(cut), cut.edges.features["id"]
    np.testing.assert_array_equal(cut.senders[real], edges.senders[ids[real]])
    np.testing.assert_array_equal(cut.edges.features["weight"][real], edges.weights[ids[real]])
    assert not np.delete(cut.edges.features["weight"], real).any()


def test_coefficients_are_those_of_the_whole_graph():
    edges = random_edges(4, 9, 20)
    whole, cut = prepare(graph_of(edges)), partition(graph_of(edges), 2)
    real = real_edges(cut)
    np.testing.assert_array_equal(cut.edges.features["id"][real], whole.edges.features["id"])
    np.testing.assert_array_equal(cut.edges.blocks.coefficients.reshape(-1)[real], whole.edges.coefficients)
    own = cut.edges.blocks.self_coefficients[:, :-1].reshape(-1)
    np.testing.assert_array_equal(own[:9], whole.edges.self_coefficients)


def test_blocks_send_what_is_needed_or_everything_where_that_is_less():
    ring = np.arange(40, dtype=np.int32)
    cut = partition(graph_of(EdgeList(ring, (ring + 1) % 40, np.ones(40, np.float32), 40)), 4)
    assert cut.edges.halo.cols.shape == (4, 4)  # one row for each of the four blocks
    crowded = partition(graph_of(random_edges(0, 9, 400)), 4)
    assert crowded.edges.halo is None


@needs_devices
def test_a_placed_graph_holds_one_block_per_device_and_sparse_features_everywhere():
    edges = random_edges(1, 9, 20)
    matrix = sp.csr_matrix(features(0, 9, 6).round())
    graph = raw_graph(edges, sparse_features(matrix), weighted=False)
    placed = place(partition(graph, 2), mesh_of(2))
    n, e = placed.edges.info.nodes, placed.senders.shape[0]
    assert placed.nodes.shape == (n, 6)
    assert placed.nodes.values.sharding.is_fully_replicated
    assert {shard.data.shape for shard in placed.senders.addressable_shards} == {(e // 2,)}
    assert {shard.data.shape[0] for shard in placed.edges.blocks.pattern.cols.addressable_shards} == {1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda graph: partition(graph, 0), "0 parts, backend 'auto', expected at least 1"),
        (lambda graph: partition(graph, 2, backend="bucketed"), "backend 'bucketed', expected at least 1 and none"),
        (lambda graph: partition(graph._replace(n_node=np.array([4, 5])), 2), "a batch of 2 graphs, expected one"),
        (lambda graph: partition(graph, 2, relations=2), "its type is 2, expected 0 to 1"),
        (lambda graph: place(graph, mesh_of(1)), "a graph of no blocks on 1 devices of the axis nodes"),
        (lambda graph: place(partition(graph, 2), mesh_of(1)), "a graph of 2 blocks on 1 devices"),
        (lambda g: place(partition(g, 1), jax.make_mesh((1,), ("nodes",))), "axes nodes Explicit, expected Auto"),
    ],
    ids=["no parts", "buckets", "batch", "relations", "not cut", "other mesh", "explicit mesh"],
)
def test_what_does_not_fit_is_one_line(make, message):
    with pytest.raises(InputError, match=message) as error:
        make(graph_of(random_edges(0, 9, 20)))
    assert "\n" not in str(error.value)
