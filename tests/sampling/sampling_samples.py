"""Small graphs on the host, and all their edges in plain Python."""

import numpy as np
from graphs import EdgeList, random_edges

from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.types import Dataset, Schema

SCHEMA = Schema(("with features", "without"), ("both ways", "one way"), (0, 2))


def typed_dataset(edges: EdgeList, *, typed: bool = True) -> Dataset:
    """Two types of nodes, the last third of them without features; two types of edges, three with the reverse ones."""
    rng, n = np.random.default_rng(5), edges.size
    with_features = n - n // 3 if typed else n
    kinds = (np.arange(n) >= with_features).astype(np.int32)
    labels = np.where(kinds == 0, np.arange(n) % 3, -1).astype(np.int32)
    split = np.where(kinds == 0, np.arange(n) % 3, 3)
    return Dataset(
        name="sample",
        features=rng.normal(size=(with_features, 4)).astype(np.float32),
        senders=edges.senders,
        receivers=edges.receivers,
        labels=labels,
        num_classes=3,
        train_mask=split == 0,
        val_mask=split == 1,
        test_mask=split == 2,
        source="random",
        schema=SCHEMA if typed else None,
        node_types=kinds if typed else None,
        relations=rng.integers(0, 2, edges.senders.shape[0]).astype(np.int32) if typed else None,
    )


def all_edges(dataset: Dataset) -> set[tuple[int, int, int]]:
    """(sender, type, receiver) of all edges and their reverses, without self loops; type 0 where there are none."""
    found = set()
    types = np.zeros_like(dataset.senders) if dataset.relations is None else dataset.relations
    for sender, kind, receiver in zip(
        dataset.senders.tolist(), types.tolist(), dataset.receivers.tolist(), strict=True
    ):
        if sender != receiver:
            reverse = 0 if dataset.schema is None else dataset.schema.reverses[kind]
            found |= {(sender, kind, receiver), (receiver, reverse, sender)}
    return found


def drawn_edges(graph: HostGraph, drawn) -> list[tuple[int, int, int]]:
    """(sender, type, receiver) of the edges of a subgraph; the types are those that the graph has at their indices."""
    types = np.zeros_like(drawn.senders) if graph.relations is None else graph.relations[drawn.edges]
    nodes = drawn.nodes
    return list(zip(nodes[drawn.senders].tolist(), types.tolist(), nodes[drawn.receivers].tolist(), strict=True))


def sample(nodes: int = 60, edges: int = 240, *, typed: bool = True) -> tuple[Dataset, HostGraph]:
    """A random graph; its last node has no neighbours."""
    dataset = typed_dataset(random_edges(1, nodes, edges), typed=typed)
    return dataset, host_graph(dataset)


def star(leaves: int, hubs: int) -> HostGraph:
    """Directed, by hand: nodes `leaves` to `leaves + hubs - 1` have an edge from each of the leaves."""
    _, graph = sample(9, 0, typed=False)
    n = leaves + hubs
    return graph._replace(
        indptr=np.concatenate([np.zeros(leaves, np.int64), np.arange(hubs + 1) * leaves]),
        senders=np.tile(np.arange(leaves, dtype=np.int32), hubs),
        features=np.zeros((n, 2), np.float32),
        labels=np.zeros(n, np.int32),
        train_mask=np.ones(n, bool),
        target_mask=np.ones(n, bool),
    )
