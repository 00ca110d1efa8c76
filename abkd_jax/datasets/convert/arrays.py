"""What all converters share: arrays of other libraries as NumPy's, and the neutral form as a checked data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from abkd_jax.datasets.checks.node_level import validate
from abkd_jax.datasets.neutral.graph_level import graph_dataset
from abkd_jax.datasets.neutral.node_level import node_dataset
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["Masks", "build", "mask_arrays", "to_numpy", "with_reverses"]

Masks = Sequence[Any] | np.ndarray  # train, validation and test, booleans each


def to_numpy(value: Any) -> np.ndarray:
    """Returns a tensor of any library, a list or an array as a NumPy array; tensors leave their device and gradient."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def mask_arrays(masks: Masks | None) -> dict[str, Any]:
    """Returns the three masks by their names in the neutral form; nothing for None.

    Raises:
        InputError: other than three.
    """
    if masks is None:
        return {}
    if len(masks) != 3:
        raise InputError(f"masks: {len(masks)} given; expected three: train, validation and test")
    return dict(zip(("train_mask", "val_mask", "test_mask"), masks, strict=True))


def build(name: str, origin: str, arrays: dict[str, Any], rng: np.random.Generator | None) -> Dataset | GraphDataset:
    """Builds a data set from the arrays of the neutral form and checks it.

    Args:
        name: of the data set.
        origin: the library, for `source`.
        arrays: by name, see `neutral.values.KEYS`, ends of edges by position; those that are None are left out.
        rng: draws the split where there are no masks; not read otherwise.

    Raises:
        InputError: one line that names the array that is wrong; or there is neither split nor generator.
    """
    try:
        given = {key: to_numpy(value) for key, value in arrays.items() if value is not None}
        if rng is None and not {"train_mask", "val_mask", "test_mask", "split"} & given.keys():
            raise ValueError(
                "no masks; expected those of training, validation and test, or rng, a generator that draws them"
            )
        if "node_ids" in given:  # which the neutral form names the ends of edges by
            given |= {key: _named(key, given[key], given["node_ids"]) for key in ("senders", "receivers")}
        read = graph_dataset if "graph_ids" in given else node_dataset
        dataset = read(given, name, f"own graph, from {origin}", 0 if rng is None else rng)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from error
    return validate(dataset)


def _named(key: str, ends: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if ends.size and not 0 <= ends.min() <= ends.max() < len(ids):
        raise ValueError(f"{key} reach from {ends.min()} to {ends.max()}; expected nodes in [0, {len(ids)})")
    return ids[ends]


def with_reverses(senders: np.ndarray, receivers: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns an edge list with the reverses of all edges that have none, and for each the edge that it comes from.

    Args:
        senders: `[e]`.
        receivers: `[e]`.
        count: number of nodes.

    Examples:
        >>> [part.tolist() for part in with_reverses(np.array([0, 1, 1]), np.array([1, 0, 2]), 3)]
        [[0, 1, 1, 2], [1, 0, 2, 1], [0, 1, 2, 2]]
    """
    forward, backward = (a.astype(np.int64) * count + b for a, b in ((senders, receivers), (receivers, senders)))
    alone = np.flatnonzero(~np.isin(backward, forward))
    ends = np.append(senders, receivers[alone]), np.append(receivers, senders[alone])
    return *ends, np.append(np.arange(senders.size), alone)
