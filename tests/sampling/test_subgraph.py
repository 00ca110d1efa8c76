import numpy as np
import pytest
from graphs import edge_lists, quick
from hypothesis import given
from hypothesis import strategies as st
from sampling_samples import all_edges, drawn_edges, sample, typed_dataset

from abkd_jax.graph.host import host_graph
from abkd_jax.sampling import induced
from abkd_jax.sampling.subgraph import Positions
from abkd_jax.types import InputError


@quick
@given(edge_lists(), st.booleans(), st.data())
def test_an_induced_subgraph_holds_exactly_the_edges_between_its_nodes(edges, typed, data):
    dataset = typed_dataset(edges, typed=typed)
    nodes = np.array(data.draw(st.lists(st.integers(0, edges.size - 1), unique=True, min_size=1)), np.int32)
    graph, positions = host_graph(dataset), Positions(edges.size)
    for _ in range(2):  # the positions are as they were
        drawn = induced(graph, nodes, positions)
        np.testing.assert_array_equal(drawn.nodes, nodes)
        assert drawn.num_roots == nodes.size
        assert (graph.relations is None) == (not typed)
        expected = sorted(edge for edge in all_edges(dataset) if {edge[0], edge[2]} <= set(nodes.tolist()))
        assert sorted(drawn_edges(graph, drawn)) == expected
        assert drawn.senders.dtype == drawn.receivers.dtype == drawn.nodes.dtype == np.int32


def test_nodes_of_an_induced_subgraph_are_distinct():
    _, graph = sample()
    positions = Positions(graph.num_nodes)
    with pytest.raises(InputError, match="3 nodes of a subgraph, 2 of them distinct"):
        induced(graph, np.array([1, 4, 1]), positions)
    assert induced(graph, np.array([4, 1]), positions).nodes.tolist() == [4, 1]


def test_positions_number_each_node_once():
    positions = Positions(9)
    assert positions.add(np.array([3, 7, 3], np.int32), 0).tolist() == [3, 7]
    assert positions.add(np.array([7, 8, 0, 8], np.int32), 2).tolist() == [8, 0]
    assert positions.of(np.arange(9)).tolist() == [3, -1, -1, 0, -1, -1, -1, 1, 2]
    positions.clear(np.array([3, 7, 8, 0]))
    assert (positions.of(np.arange(9)) == -1).all()
