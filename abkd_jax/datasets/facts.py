"""Facts of a data set: what the rules of settings read of it, and which batches it can have."""

import numpy as np

from abkd_jax.configs.rules import Facts
from abkd_jax.types import Dataset, GraphDataset, InputError, shape_of

__all__ = ["check_batches", "facts_of"]


def check_batches(name: str, kind: str, *, graph_level: bool) -> None:
    """Checks that the kind of batches is one of the data: graphs where graphs have labels, and nowhere else.

    Args:
        name: of the data set.
        kind: see `configs.options.BatchConfig`.
        graph_level: whether the data set labels graphs.

    Raises:
        InputError: it is not; one line that names what was expected.

    Examples:
        >>> check_batches("mutag", "graphs", graph_level=True)
    """
    if graph_level == (kind == "graphs"):
        return
    labelled, expected = ("graphs", "graphs") if graph_level else ("nodes", "full, neighbours, walks or clusters")
    raise InputError(f"{name} labels {labelled}: --batches.kind is {kind}, expected {expected}")


def facts_of(dataset: Dataset | GraphDataset) -> Facts:
    """Returns the facts of a data set that decide the settings of a run on it, see `configs.rules`.

    Args:
        dataset: checked by `validate`.

    Examples:
        >>> from abkd_jax.datasets import generate
        >>> found = facts_of(generate(200, 2, 4, np.random.default_rng(0)))
        >>> found.level, found.nodes, found.features, found.outputs
        ('node', 200, 4, 2)
    """
    graph_level = isinstance(dataset, GraphDataset)
    schema = None if graph_level else dataset.schema
    return Facts(
        level="graph" if graph_level else "node" if schema is None else "typed",
        task=dataset.task,
        nodes=int(dataset.n_node.sum()) if graph_level else dataset.num_nodes,
        edges=int(dataset.senders.size),
        features=int(shape_of(dataset.features)[1]),
        outputs=dataset.num_outputs if graph_level else dataset.num_classes,
        train=int(np.count_nonzero(dataset.train_mask)),
        graphs=int(dataset.n_node.size) if graph_level else 1,
        edge_types=1 if schema is None else schema.num_relations,
        weighted=isinstance(dataset, Dataset) and dataset.edge_weights is not None,
        edge_features=0 if dataset.edge_features is None else int(dataset.edge_features.shape[1]),
    )
