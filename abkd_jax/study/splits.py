"""Splits of a data set, one for each seed where it has several, and their data on the device."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from abkd_jax import datasets
from abkd_jax.graph import node_mask
from abkd_jax.graph.host import target_mask
from abkd_jax.run.data import PreparedData, prepare_data
from abkd_jax.run.identity import DataIdentity, fingerprint
from abkd_jax.types import Dataset, GraphDataset, InputError, NodeMasks

__all__ = ["load_splits", "prepare_splits", "same_masks"]

MASKS = ("train_mask", "val_mask", "test_mask")
GENERATED = "synthetic"  # its seed draws the graph as well: seed 0 alone is one data set


def load_splits(name: str, root: Path | None, count: int) -> tuple[Dataset, ...] | GraphDataset:
    """Loads a data set with the splits of seeds `0 .. count - 1`, until they repeat; one where the split is official.

    The graph is held in memory once. Of a data set that labels graphs the split of seed 0 is returned alone.

    Raises:
        InputError: see `datasets.load`; or two seeds have other graphs.
    """
    first = datasets.load(name, root, 0)
    if isinstance(first, GraphDataset):
        return first
    found, graph = [first], None
    for seed in range(1, 1 if name == GENERATED else count):
        other = datasets.load(name, root, seed)
        if same_masks(first, other):  # type: ignore[arg-type]  # of one reader
            break
        graph = graph or _graph_of(first)
        if _graph_of(other) != graph:  # type: ignore[arg-type]
            raise InputError(f"{name}: the graph of seed {seed} is not that of seed 0, expected splits of one graph")
        found.append(first._replace(source=other.source, **{mask: getattr(other, mask) for mask in MASKS}))
    return tuple(found)


def same_masks(one: Dataset, other: Dataset) -> bool:
    """Tells whether two data sets have the same training, validation and test nodes."""
    return all(np.array_equal(getattr(one, mask), getattr(other, mask)) for mask in MASKS)


def prepare_splits(of: Sequence[Dataset]) -> tuple[PreparedData, ...]:
    """Puts a data set with each of its splits on the device; those of the same arrays share one graph there.

    Of real targets every split is on its own: its units are those of its training targets.

    Raises:
        InputError: see `run.data.prepare_data`.
    """
    found = [prepare_data(of[0])]
    for split, dataset in enumerate(of[1:], start=1):
        shared = dataset.senders is of[0].senders and dataset.features is of[0].features
        shared &= dataset.task != "regression"
        found.append(_with_masks(found[0], dataset, split) if shared else prepare_data(dataset)._replace(split=split))
    return tuple(found)


def _with_masks(data: PreparedData, dataset: Dataset, split: int) -> PreparedData:
    train, val, test = (jnp.asarray(getattr(dataset, mask)) for mask in MASKS)
    if not dataset.val_mask.any():
        raise InputError(f"{dataset.name}: no validation node in split {split}, expected at least one")
    targets = node_mask(data.batch.graph) & jnp.asarray(target_mask(dataset))
    return data._replace(
        dataset=dataset,
        batch=data.batch._replace(masks=NodeMasks(all=targets, train=train)),
        train_mask=train,
        val_mask=val,
        test_mask=test,
        identity=DataIdentity(dataset.name, fingerprint(dataset), {}),
        split=split,
    )


def _graph_of(dataset: Dataset) -> str:
    """Returns the fingerprint of all but the masks."""
    return fingerprint(dataset._replace(**dict.fromkeys(MASKS, np.zeros(0, bool))))
