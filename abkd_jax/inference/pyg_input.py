"""Graphs of PyTorch Geometric as a trained model reads them: its types by name, the nodes that it labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from abkd_jax import datasets
from abkd_jax.inference.bundle import Inputs
from abkd_jax.types import Dataset, GraphDataset

__all__ = ["read_pyg"]


@dataclass(frozen=True)
class _InOrder:
    """`HeteroData` with its node types in another order, as far as `datasets.from_pyg` reads it."""

    data: Any
    node_types: list[str]

    @property
    def edge_types(self) -> list[tuple[str, str, str]]:
        """Returns the edge types, whose order does not count."""
        return self.data.edge_types

    def metadata(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        """Returns the types of nodes and edges."""
        return self.node_types, self.edge_types

    def __getitem__(self, kind: Any) -> Any:
        """Returns the tensors of one type of nodes or edges."""
        return self.data[kind]


def read_pyg(inputs: Inputs, given: Any) -> tuple[Dataset | GraphDataset, np.ndarray | None]:
    """Reads a graph without its labels, for prediction.

    Args:
        inputs: of the model.
        given: `Data`, `HeteroData`, or for a graph-level model a list of `Data`, a `Batch` of them, or one.

    Returns:
        The data set, and `[k]` the nodes of the labelled type of `HeteroData` in their order; None stands for all rows.

    Raises:
        InputError: see `datasets.from_pyg`.
    """
    directed = inputs.directed and not inputs.graph_level
    kinds = {kind.__name__: kind for kind in type(given).__mro__}
    if inputs.graph_level and "Data" in kinds and "Batch" not in kinds:
        given = [given]
    elif not inputs.graph_level and {"Data", "Batch"} <= kinds.keys():  # one graph, whose parts no edge joins
        given = kinds["Data"].from_dict(given.to_dict())
    if inputs.schema is None or "HeteroData" not in kinds:
        return datasets.from_pyg(given, directed=directed, labelled=False), None
    order = {name: number for number, name in enumerate(inputs.schema.node_types)}
    ordered = _InOrder(given, sorted(given.node_types, key=lambda name: order.get(name, len(order))))
    dataset: Any = datasets.from_pyg(ordered, directed=directed, labelled=False)
    if inputs.labelled not in dataset.schema.node_types:
        return dataset, None
    return dataset, np.flatnonzero(dataset.node_types == dataset.schema.node_types.index(inputs.labelled))
