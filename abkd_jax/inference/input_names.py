"""What of a graph is told by name: its types, and the columns of its features, in any order."""

from typing import Any, TypeVar

import numpy as np

from abkd_jax.inference.bundle import Inputs
from abkd_jax.types import Dataset, GraphDataset, InputError, Schema

__all__ = ["by_columns", "by_names", "in_range"]

DatasetT = TypeVar("DatasetT", bound=Dataset | GraphDataset)


def by_names(schema: Schema | None, graph: Dataset) -> Dataset:
    """Returns a data set whose relations have the numbers and reverses that a model gives their names.

    Relations of the model may be absent. The data set is returned as it is where types cannot be told by name: they
    differ, two of them share one, or a relation has another one listed as its reverse here and there.

    Args:
        schema: of the model.
        graph: the data set.
    """
    own = graph.schema
    if own == schema or schema is None or own is None or own.node_types != schema.node_types:
        return graph
    numbers = {name: number for number, name in enumerate(schema.relations)}
    unclear = len(numbers) < len(schema.relations) or len(set(own.relations)) < len(own.relations)
    if unclear or not set(own.relations) <= numbers.keys() or not in_range(graph.relations, len(own.relations)):
        return graph
    places = [numbers[name] for name in own.relations]
    if any(_listed_reverse(own, here) != _listed_reverse(schema, there) for here, there in enumerate(places)):
        return graph
    return graph._replace(schema=schema, relations=np.asarray(places, np.int32)[graph.relations])


def _listed_reverse(schema: Schema, relation: int) -> str | None:
    """Returns the other relation of the files that holds the reverse edges of one."""
    reverse = schema.reverses[relation]
    return schema.relations[reverse] if reverse < len(schema.relations) and reverse != relation else None


def by_columns(inputs: Inputs, graph: DatasetT) -> DatasetT:
    """Returns a data set whose features have the order of the model's columns, where both have names.

    Raises:
        InputError: columns of other names.
    """
    order = _order("node", inputs.columns, graph.columns)
    if order:
        graph = graph._replace(features=graph.features[:, order], columns=inputs.columns)
        if isinstance(graph, GraphDataset) and graph.vocabulary:
            graph = graph._replace(vocabulary=tuple(graph.vocabulary[column] for column in order))
    order = _order("edge", inputs.edge_columns, graph.edge_columns)
    if order and graph.edge_features is not None:
        graph = graph._replace(edge_features=graph.edge_features[:, order], edge_columns=inputs.edge_columns)
        if isinstance(graph, GraphDataset) and graph.edge_vocabulary:
            graph = graph._replace(edge_vocabulary=tuple(graph.edge_vocabulary[column] for column in order))
    return graph


def _order(noun: str, expected: tuple[str, ...], given: tuple[str, ...]) -> list[int]:
    """Returns the place of each column of the model in a graph; none where they are in order or have no names."""
    if not expected or not given or given == expected:
        return []
    here, there = ({name: place for place, name in enumerate(names)} for names in (given, expected))
    missing, other = [name for name in expected if name not in here], [name for name in given if name not in there]
    if missing or other:
        said = [f"{word} {', '.join(names[:5])}" for word, names in (("no", missing), ("there is", other)) if names]
        raise InputError(f"columns of the {noun} features: {', '.join(said)}; expected those of training, in any order")
    return [here[name] for name in expected]


def in_range(numbers: Any, limit: int) -> bool:
    """Tells whether all numbers, if any, are 0 to one less than the limit; no array of them is not."""
    return numbers is not None and (not np.size(numbers) or bool(np.min(numbers) >= 0 and np.max(numbers) < limit))
