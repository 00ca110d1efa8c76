"""A tiny data set by hand, and the check that every refusal is one line."""

import numpy as np
import pytest

from abkd_jax.datasets.checks import published
from abkd_jax.types import Dataset, GraphDataset, Schema


@pytest.fixture
def tiny() -> Dataset:
    """Six nodes on a path, two classes, node 4 unlabelled."""
    return Dataset(
        name="tiny",
        features=np.eye(6, 3, dtype=np.float32),
        senders=np.arange(5, dtype=np.int32),
        receivers=np.arange(1, 6, dtype=np.int32),
        labels=np.array([0, 1, 0, 1, -1, 0], np.int32),
        num_classes=2,
        train_mask=np.array([True, True, False, False, False, False]),
        val_mask=np.array([False, False, True, False, False, False]),
        test_mask=np.array([False, False, False, True, False, True]),
        source="by hand",
    )


@pytest.fixture
def typed(tiny) -> Dataset:
    """The six nodes as three papers, two authors and a place, which has no features; two relations."""
    return tiny._replace(
        name="typed",
        features=tiny.features[:5],
        schema=Schema(("paper", "author", "place"), ("cites", "writes"), (0, 2)),
        node_types=np.array([0, 0, 0, 1, 1, 2], np.int32),
        relations=np.array([0, 0, 1, 1, 1], np.int32),
    )


@pytest.fixture
def graphs() -> GraphDataset:
    """Four graphs of 2, 1, 3 and 2 nodes; two categories a node, one an edge; three classes."""
    return GraphDataset(
        name="graphs",
        features=np.array([[0, 2], [1, 0], [1, 1], [0, 0], [1, 2], [0, 1], [1, 1], [0, 2]], np.int32),
        edge_features=np.array([[0], [0], [3], [3], [1], [1], [2], [2]], np.int32),
        senders=np.array([0, 1, 0, 1, 1, 2, 0, 1], np.int32),
        receivers=np.array([1, 0, 1, 0, 2, 1, 1, 0], np.int32),
        n_node=np.array([2, 1, 3, 2], np.int32),
        n_edge=np.array([2, 0, 4, 2], np.int32),
        labels=np.array([2, 0, 1, 1], np.int32),
        num_outputs=3,
        task="classification",
        metric="accuracy",
        train_mask=np.array([True, True, False, False]),
        val_mask=np.array([False, False, True, False]),
        test_mask=np.array([False, False, False, True]),
        source="by hand",
        vocabulary=(2, 3),
        edge_vocabulary=(4,),
    )


@pytest.fixture
def unpublished(monkeypatch):
    """Lets small sets pass under the names of published ones."""
    monkeypatch.setattr(published, "TOTALS", {})
    monkeypatch.setattr(published, "CHECKSUMS", {})


@pytest.fixture
def count_undirected():
    """The number of different undirected edges of a data set."""

    def count(dataset: Dataset) -> int:
        pairs = zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True)
        return len({frozenset(pair) for pair in pairs})

    return count
