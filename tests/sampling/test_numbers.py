"""Numbers of nodes and of graphs, wherever they are taken: masks, other types and other ranges are refused."""

import numpy as np
import pytest
from sampling_samples import sample
from test_graph_batches import dataset

from abkd_jax import sampling
from abkd_jax.types import GNNOutput, InputError

pytestmark = pytest.mark.usefixtures("unchecked")  # the library's own messages, not those of the tests' types
GRAPH = sample()[1]  # of 60 nodes
STORED = GNNOutput(np.arange(120.0).reshape(60, 2), (np.arange(60.0)[:, None],))


def drawn(sampler) -> int:
    return len(list(sampler.minibatches(np.random.default_rng(0))))


TAKERS = {
    "roots": lambda x: drawn(sampling.neighbour_batches(GRAPH, 4, (2,), roots=x)),
    "sampled": lambda x: sampling.sample_neighbours(GRAPH, x, (2,), np.random.default_rng(0)).num_roots,
    "induced": lambda x: sampling.induced(GRAPH, x).num_roots,
    "walks": lambda x: sampling.random_walks(GRAPH, x, 2, np.random.default_rng(0)).shape[1],
    "graphs": lambda x: drawn(sampling.graph_batches(dataset(), 1, graphs=x)),
    "stored": lambda x: np.count_nonzero(sampling.gather_outputs(STORED, x, 9).hiddens[0]),
    "stored graphs": lambda x: sampling.gather_outputs(STORED, np.arange(3), 9, graphs=(x, 9)).logits.shape[0],
}
MASK = np.arange(60) == 3


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (MASK, r"a boolean mask, expected whole numbers such as np\.flatnonzero"),
        (MASK[:1], "a boolean mask"),
        (np.array([1.0]), r"float64 of shape \(1,\), expected a list of whole numbers"),
        (np.array([[1]]), r"int64 of shape \(1, 1\)"),
        (np.array([2, -1]), "-1 to 2, expected 0 to "),
        (np.array([60, 1]), "1 to 60, expected 0 to "),
        (np.array([2**40]), f"{2**40} to {2**40}, expected 0 to "),
        (np.array([2**63], np.uint64), f"{2**63} to {2**63}, expected 0 to "),
    ],
)
def test_what_is_no_number_of_a_node_or_graph_is_refused(taker, numbers, message):
    with pytest.raises(InputError, match=message) as refusal:
        TAKERS[taker](numbers)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, np.int32])
def test_every_integer_type_is_taken(dtype):
    numbers = np.array([5, 2], dtype)
    found = {name: take(numbers) for name, take in TAKERS.items()}
    assert found == {
        "roots": 1, "sampled": 2, "induced": 2, "walks": 2, "graphs": 2, "stored": 2, "stored graphs": 9
    }  # fmt: skip


def test_stored_outputs_of_too_few_nodes_or_for_too_small_a_batch_are_refused():
    short = STORED._replace(hiddens=(STORED.hiddens[0][:40],))
    with pytest.raises(InputError, match="stored hidden layers: rows 7 to 50, expected 0 to 39"):
        sampling.gather_outputs(short, np.array([7, 50]), 8)
    with pytest.raises(InputError, match="stored logits: 9 rows in a batch of 8"):
        sampling.gather_outputs(STORED, np.arange(9), 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sampling.cluster_batches(GRAPH, MASK, 2), "expected one whole number from 0 on for each node"),
        (lambda: sampling.cluster_batches(GRAPH, np.zeros(60), 2), "expected one whole number"),
        (lambda: sampling.cluster_batches(GRAPH, np.zeros(60, int), 0), "0 per batch"),
        (lambda: sampling.cluster_batches(GRAPH, np.zeros(60, int), 1.5), "1.5 per batch"),
        (lambda: sampling.partition(GRAPH, 2.0), "2.0 clusters of 60 nodes, expected 1 to 60"),
        (lambda: sampling.partition(GRAPH, 2, seed=0.5), "the seed 0.5, expected a whole number"),
        (lambda: sampling.walk_batches(GRAPH, 2.5, 2, 1), "2.5 walks"),
        (lambda: sampling.walk_batches(GRAPH, 2, -1, 1), "walks of length -1"),
        (lambda: sampling.neighbour_batches(GRAPH, 2.5, (2,)), "in batches of 2.5"),
        (lambda: sampling.neighbour_batches(GRAPH, 2, (2.5,)), r"fan-outs are \(2.5,\)"),
        (lambda: sampling.neighbour_batches(GRAPH, 2, 5), "fan-outs are 5"),
        (lambda: sampling.neighbour_batches(GRAPH._replace(target_mask=MASK & ~MASK), 2, (5,)), "0 roots"),
        (lambda: sampling.graph_batches(dataset(), 2.5), "6 graphs in batches of 2.5"),
        (lambda: sampling.graph_batches(dataset()._replace(train_mask=np.zeros(8, bool)), 2), "0 graphs"),
    ],
)
def test_sizes_are_whole_numbers(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_clusters_may_have_any_numbers():
    """As many batches as clusters, and no memory for the numbers between them."""
    parts = (np.arange(60) % 6) * 10**15
    assert drawn(sampling.cluster_batches(GRAPH, parts, 1)) == 6


def test_fan_outs_may_be_an_array_and_zero():
    assert drawn(sampling.neighbour_batches(GRAPH, 10, np.array([2, 0]))) == 4
