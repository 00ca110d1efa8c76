"""`HeteroData` of PyTorch Geometric as arrays of the neutral form."""

import itertools
import re
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.datasets.convert.arrays import Masks, mask_arrays, to_numpy, unknown_label
from abkd_jax.datasets.convert.pyg_parts import (
    classes_or_targets,
    edges_of,
    features_of,
    needed,
    optional,
    stored_masks,
)
from abkd_jax.datasets.neutral.labels import read_mask
from abkd_jax.types import InputError, TaskName

__all__ = ["hetero_arrays"]


class _Relation(NamedTuple):
    """An edge type: its key in `HeteroData`, and its edges by the numbers of all nodes."""

    key: tuple[str, str, str]
    senders: np.ndarray
    receivers: np.ndarray
    weights: np.ndarray | None
    attributes: np.ndarray | None


def hetero_arrays(
    name: str,
    data: Any,
    split: int,
    masks: Masks | None = None,
    *,
    task: TaskName | None = None,
    directed: bool,
    labelled: bool = True,
) -> dict[str, Any]:
    """Returns the arrays of a heterogeneous graph: its nodes type by type, those with features first.

    Args:
        name: for messages.
        data: a `HeteroData`.
        split: see `from_pyg`.
        masks: of the nodes of the type with labels; None takes those of the data.
        task: see `from_scipy`.
        directed: keeps edge types that hold the reverse edges of others.
        labelled: False reads neither labels nor masks.

    Raises:
        InputError: no type or several have labels, or a tensor or mask is missing or of another shape.
    """
    kinds = sorted(data.node_types, key=lambda kind: optional(data[kind], "x") is None)
    sizes = {kind: _count(name, data, kind) for kind in kinds}
    starts = dict(zip(kinds, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    relations = [_relation(name, data, key, sizes, starts) for key in data.edge_types]
    kept = relations if directed else [r for r in relations if not _is_reverse(r, relations)]
    if not kept:
        raise InputError(f"{name}: no edge type; expected at least one")
    return {
        "senders": np.concatenate([relation.senders for relation in kept]),
        "receivers": np.concatenate([relation.receivers for relation in kept]),
        "relations": np.repeat(np.arange(len(kept)), [relation.senders.size for relation in kept]),
        "reverses": None if directed else np.array(_reverses(kept)),
        "relation_names": np.array(_names([relation.key for relation in kept])),
        "node_types": np.repeat(np.arange(len(kinds)), list(sizes.values())),
        "node_type_names": np.array(kinds),
        "features": _features(data, kinds),
        "edge_weights": _weights(kept),
        "edge_features": _attributes(name, kept),
        **(_labels(name, data, split, masks, sizes, starts, task) if labelled else {}),
    }


def _labels(
    name: str,
    data: Any,
    split: int,
    masks: Masks | None,
    sizes: dict[str, int],
    starts: dict[str, int],
    task: TaskName | None,
) -> dict[str, Any]:
    """Returns the labels and masks of the one node type that has labels, at its nodes among all."""
    targets = [kind for kind in data.node_types if optional(data[kind], "y") is not None]
    if len(targets) != 1:
        found = f"{len(targets)} node types have y: {', '.join(targets)}" if targets else "no node type has y"
        raise InputError(f"{name}: {found}; expected one of {', '.join(data.node_types)}")
    count, target = sum(sizes.values()), targets[0]
    here = slice(starts[target], starts[target] + sizes[target])
    labels = classes_or_targets(needed(name, data[target], "y"))
    if len(labels) != sizes[target]:
        raise InputError(f"{name}: {target} has {len(labels)} labels; expected {sizes[target]}")
    given = stored_masks(name, data[target], split) if masks is None else mask_arrays(masks)
    try:
        read = {key: read_mask(key, to_numpy(mask), sizes[target], f"{target} node") for key, mask in given.items()}
    except ValueError as error:
        raise InputError(f"{name}: {target}: {error}") from None
    placed = {key: _placed(mask, here, count, False) for key, mask in read.items()}
    return {"labels": _placed(labels, here, count, unknown_label(f"{name}: {target}", labels, task)), **placed}


def _count(name: str, data: Any, kind: str) -> int:
    store = data[kind]
    has = optional(store, "x") is not None
    count = len(features_of(f"{name}: {kind}", store)) if has else store.get("num_nodes", 0)
    if count is None or count < 1:
        raise InputError(f"{name}: node type {kind!r} has no x and no num_nodes; expected one of both, of 1 or more")
    return int(count)


def _relation(
    name: str, data: Any, key: tuple[str, str, str], sizes: dict[str, int], starts: dict[str, int]
) -> _Relation:
    *ends, weights = edges_of(f"{name}: {key}", data[key])
    for kind, end in zip((key[0], key[2]), ends, strict=True):
        if end.size and end.max() >= sizes[kind]:
            raise InputError(f"{name}: {key}: edge_index reaches {end.max()}; expected {kind} in [0, {sizes[kind]})")
    senders, receivers = (end.astype(np.int64) + starts[kind] for kind, end in zip((key[0], key[2]), ends, strict=True))
    attributes = optional(data[key], "edge_attr")
    for word, values, axes in (("edge_weight", weights, (1,)), ("edge_attr", attributes, (1, 2))):
        if values is not None and (values.ndim not in axes or len(values) != senders.size):
            raise InputError(
                f"{name}: {key}: {word} has shape {values.shape}; expected one row for each of {senders.size} edges"
            )
    return _Relation(key, senders, receivers, weights, attributes)


def _is_reverse(relation: _Relation, relations: list[_Relation]) -> bool:
    """Tells whether `rev_...`, or `rev_rev_...`, holds exactly the reverse edges of the relation it is named after."""
    first, word, last = relation.key
    named = [
        other
        for other in relations
        if (last, first) == other.key[::2] and re.fullmatch(f"(rev_)+{re.escape(other.key[1])}", word)
    ]
    return any(_mirrors(relation, other) for other in named)


def _reverses(relations: list[_Relation]) -> list[int]:
    """Returns the type of the reverse edges of each: its own where it holds them already, else a new one."""
    new = itertools.count(len(relations))
    own = (relation.key[0] == relation.key[2] and _mirrors(relation, relation) for relation in relations)
    return [number if is_own else next(new) for number, is_own in enumerate(own)]


def _mirrors(relation: _Relation, other: _Relation) -> bool:
    """Tells whether a type holds the reverse edges of another, with the same weights and features."""
    mine = _ordered(relation, relation.receivers, relation.senders)
    others = _ordered(other, other.senders, other.receivers)
    return len(mine) == len(others) and all(map(np.array_equal, mine, others))


def _ordered(relation: _Relation, *ends: np.ndarray) -> list[np.ndarray]:
    """Returns both ends, weights and columns of features of the edges, whose order is that of their values.

    Without weights, repeated edges count once: they are no more than one in the graph.
    """
    weights = () if relation.weights is None else (relation.weights,)
    attributes = () if relation.attributes is None else np.atleast_2d(relation.attributes.T)
    columns = [*ends, *weights, *attributes]
    order = np.lexsort(columns[::-1])
    if relation.weights is None:
        repeated = np.all([column[order[1:]] == column[order[:-1]] for column in columns], axis=0)
        order = order[np.append(~repeated, True)[: order.size]]
    return [column[order] for column in columns]


def _names(keys: list[tuple[str, str, str]]) -> list[str]:
    """Returns the middle words of the edge types; in full where one of them is there twice."""
    words = [word for _, word, _ in keys]
    return words if len(set(words)) == len(words) else ["-".join(key) for key in keys]


def _features(data: Any, kinds: list[str]) -> np.ndarray | None:
    """Returns `[m, f]` of the first types: shared columns where all have the same number, else columns of each type."""
    blocks = [block for kind in kinds if (block := optional(data[kind], "x")) is not None]
    if not blocks:
        return None
    widths = [block.shape[1] for block in blocks]
    if len(set(widths)) == 1:
        return np.concatenate(blocks)
    stops = np.cumsum(widths)
    places = [(stop - width, stops[-1] - stop) for width, stop in zip(widths, stops, strict=True)]
    return np.concatenate([np.pad(block, ((0, 0), place)) for block, place in zip(blocks, places, strict=True)])


def _placed(values: np.ndarray, here: slice, count: int, fill: Any) -> np.ndarray:
    """Returns `[count, ...]` with the values at the nodes of the target type."""
    placed = np.full((count, *values.shape[1:]), fill, np.result_type(values.dtype, np.asarray(fill).dtype))
    placed[here] = values
    return placed


def _weights(relations: list[_Relation]) -> np.ndarray | None:
    if all(relation.weights is None for relation in relations):
        return None
    ones = (np.ones(r.senders.size) if r.weights is None else r.weights for r in relations)
    return np.concatenate(list(ones))


def _attributes(name: str, relations: list[_Relation]) -> np.ndarray | None:
    found = [relation.attributes for relation in relations if relation.attributes is not None]
    if not found:
        return None
    if len(found) < len(relations) or len({attributes.shape[1:] for attributes in found}) > 1:
        raise InputError(
            f"{name}: edge_attr of {len(found)} of {len(relations)} edge types; expected all, of one width"
        )
    return np.concatenate(found)
