"""Data sets that make every kind of problem in seconds: one with types, one of graphs."""

import numpy as np

from abkd_jax.types import Dataset, GraphDataset, Schema

PAPERS, AUTHORS, CLASSES = 60, 40, 3


def typed_dataset() -> Dataset:
    """Papers with 4 features, that cite within their class; authors without features, who write them."""
    rng = np.random.default_rng(0)
    classes = np.arange(PAPERS) % CLASSES
    features = rng.normal(size=(PAPERS, 4)) + 2.0 * np.eye(CLASSES, 4)[classes]
    cites = np.stack([np.arange(PAPERS), (np.arange(PAPERS) + CLASSES * rng.integers(1, 5, PAPERS)) % PAPERS])
    writes = np.stack([PAPERS + rng.integers(AUTHORS, size=120), rng.integers(PAPERS, size=120)])
    ends = np.concatenate([cites, writes], axis=1).astype(np.int32)
    place = np.arange(PAPERS + AUTHORS)
    return Dataset(
        name="typed",
        features=features.astype(np.float32),
        senders=ends[0],
        receivers=ends[1],
        labels=np.where(place < PAPERS, place % CLASSES, -1).astype(np.int32),
        num_classes=CLASSES,
        train_mask=place < 30,
        val_mask=(place >= 30) & (place < 45),
        test_mask=(place >= 45) & (place < PAPERS),
        source="made for tests",
        schema=Schema(("paper", "author"), ("cites", "writes"), (0, 2)),
        node_types=(place >= PAPERS).astype(np.int32),
        relations=np.repeat(np.arange(2, dtype=np.int32), (PAPERS, 120)),
    )


def graph_dataset() -> GraphDataset:
    """Rings of atoms: whether one holds an atom of the second kind is the answer."""
    rng = np.random.default_rng(0)
    n_node = rng.integers(3, 8, 36).astype(np.int32)
    rings = [np.arange(n) for n in n_node]
    senders = np.concatenate([np.concatenate([ring, np.roll(ring, 1)]) for ring in rings]).astype(np.int32)
    receivers = np.concatenate([np.concatenate([np.roll(ring, 1), ring]) for ring in rings]).astype(np.int32)
    atoms = [np.where(rng.random(n) < 0.5 * (number % 2), 1, 0) for number, n in enumerate(n_node)]
    place = np.arange(36)
    return GraphDataset(
        name="rings",
        features=np.concatenate(atoms)[:, None].astype(np.int32),
        edge_features=(senders % 2)[:, None].astype(np.int32),
        senders=senders,
        receivers=receivers,
        n_node=n_node,
        n_edge=2 * n_node,
        labels=np.array([[float(ring.any())] for ring in atoms], np.float32),
        num_outputs=1,
        task="multilabel",
        metric="rocauc",
        train_mask=place < 20,
        val_mask=(place >= 20) & (place < 28),
        test_mask=place >= 28,
        source="made for tests",
        vocabulary=(2,),
        edge_vocabulary=(2,),
    )


def targets_dataset() -> Dataset:
    """Nodes with two real targets, one of them unknown at times; directed edges with weights and two features."""
    rng = np.random.default_rng(0)
    n, e = 40, 120
    place = np.arange(n)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    labels = np.stack([features[:, 0] + features[:, 1], 100.0 * features[:, 2]], axis=1)
    labels[::5, 1] = np.nan
    ends = rng.integers(0, n, (2, e)).astype(np.int32)
    return Dataset(
        name="targets",
        features=features,
        senders=ends[0],
        receivers=ends[1],
        labels=labels.astype(np.float32),
        num_classes=2,
        train_mask=place < 20,
        val_mask=(place >= 20) & (place < 30),
        test_mask=place >= 30,
        source="made for tests",
        task="regression",
        directed=True,
        edge_weights=rng.uniform(0.5, 2.0, e).astype(np.float32),
        edge_features=rng.normal(size=(e, 2)).astype(np.float32),
    )


def several_dataset() -> Dataset:
    """The same nodes with two binary labels, and undirected edges without weights and features."""
    dataset = targets_dataset()
    labels = np.where(np.isnan(dataset.labels), np.nan, dataset.labels > 0).astype(np.float32)
    return dataset._replace(
        name="several", labels=labels, task="multilabel", directed=False, edge_weights=None, edge_features=None
    )
