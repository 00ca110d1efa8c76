"""A tiny data set by hand, and the check that every refusal is one line."""

import numpy as np
import pytest

from abkd_jax.types import Dataset


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
def count_undirected():
    """The number of different undirected edges of a data set."""

    def count(dataset: Dataset) -> int:
        pairs = zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True)
        return len({frozenset(pair) for pair in pairs})

    return count
