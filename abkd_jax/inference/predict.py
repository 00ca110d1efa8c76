"""Predictions of a trained model: on the whole graph at once, layer by layer, or for the neighbourhood of nodes."""

import functools
from pathlib import Path
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np

from abkd_jax import datasets
from abkd_jax.datasets.convert.pyg_data import is_of_pyg
from abkd_jax.graph import prepare
from abkd_jax.graph.host import HostGraph, whole_graph
from abkd_jax.inference.bundle import Bundle, model_of
from abkd_jax.inference.by_parts import MAX_NODES_AT_ONCE, apply_to
from abkd_jax.inference.input_graph import check_graphs, completed, host_graph_for, tuple_for
from abkd_jax.inference.layerwise import layerwise, rows_of_stages, takes
from abkd_jax.inference.neighbourhood import Ladder, neighbourhood, radius
from abkd_jax.inference.pyg_input import read_pyg
from abkd_jax.models import SIGN
from abkd_jax.sampling import GraphParts, all_graphs, as_indices, graph_parts
from abkd_jax.types import Dataset, GraphDataset, InputError, TaskName, shape_of

__all__ = ["logits", "probabilities"]

SMALL_EDGES = 2**16  # of a neighbourhood that is computed at once
WHOLE_BYTES = 2**30  # of the layers and messages of a graph that is computed at once


def probabilities(task: TaskName, logits: Any) -> np.ndarray:
    """Computes the probabilities of the classes, or of each label; real targets stay as they are.

    Args:
        task: of the model.
        logits: `[n, c]`.

    Returns:
        `[n, c]` float32.

    Examples:
        >>> probabilities("classification", np.zeros((1, 4), np.float32)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    if task == "classification":
        return np.asarray(jax.nn.softmax(jnp.asarray(logits), axis=1))
    return np.asarray(jax.nn.sigmoid(jnp.asarray(logits)) if task == "multilabel" else logits)


def logits(
    bundle: Bundle,
    graph: Any,
    nodes: np.ndarray | None = None,
    *,
    data_root: str | Path | None = None,
    whole_bytes: int = WHOLE_BYTES,
    progress: bool = False,
) -> np.ndarray:
    """Computes the logits of a model for the nodes of a graph, or the graphs of a graph-level data set.

    Features are brought to what the model was trained on: rows are divided by their sums where they were. A data set
    becomes a graph as in training: with reverse edges unless both are directed. A `GraphsTuple` is taken as models take
    it, with both directions of undirected edges and no self loops.

    Of a large graph-level data set the chosen graphs alone are computed, some at a time.

    A graph whose layers take at most `whole_bytes` is computed at once. A larger one is computed layer by layer; for
    some of its nodes in their neighbourhood alone, of as many steps as there are layers, with the degrees of the whole
    graph: at once where it is small, else layer by layer. All ways give the same numbers, up to rounding.
    A model of one's own is computed at once, whatever the size.

    Args:
        bundle: the model.
        graph: a data set, its name or the path of its file, a graph on the host, a `GraphsTuple`, or a graph of PyTorch
            Geometric, which needs no labels (`Data`, `HeteroData` with types in any order; for a graph-level model a
            list of `Data`, a `Batch` or one `Data`). The rows of `HeteroData` are the nodes of the type that had labels
            in training, in their order; of a student whose card names none, as of a data set, all nodes, type by type
            as `datasets.from_pyg` numbers them.
        nodes: `[k]` indices of these rows: of nodes, or of graphs for a graph-level model; None takes all.
        data_root: of a named data set, see `datasets.data_root`.
        whole_bytes: 0 computes every graph layer by layer, where the model allows it.
        progress: whether to show a progress bar while it goes layer by layer.

    Returns:
        `[k, outputs]` float32.

    Raises:
        InputError: the graph is not what the model expects, or of another library; or a node is outside of it.
    """
    graph, rows = _read(graph, bundle, data_root)
    if rows is not None:
        nodes = rows if nodes is None else rows[_indices(nodes, rows.size)]
    model = model_of(bundle)
    if isinstance(graph, GraphDataset):
        return _of_graphs(bundle, model, graph, nodes)
    if isinstance(graph, jraph.GraphsTuple):
        rows = graph.n_node.shape[0] if bundle.inputs.graph_level else None
        return _at_once(bundle, model, tuple_for(bundle.inputs, graph), nodes, rows)
    host = host_graph_for(bundle.inputs, graph)
    if takes(model) and _bytes(bundle, host) > whole_bytes:
        if nodes is not None:
            nodes, place = np.unique(_indices(nodes, host.num_nodes), return_inverse=True)
            if _is_small(model, host, nodes):
                part = neighbourhood(host, nodes, radius(bundle.config), Ladder.of(host))
                return _at_once(bundle, model, part, place, nodes.shape[0])
        found = _fitting(bundle, lambda: layerwise(model, bundle.variables, host, nodes=nodes, progress=progress))
        return found if nodes is None else found[place]
    whole = prepare(whole_graph(host), relations=host.num_relations)
    return _at_once(bundle, model, whole, nodes, host.num_nodes)


def _read(
    graph: Any, bundle: Bundle, data_root: str | Path | None
) -> tuple[Dataset | GraphDataset | HostGraph | jraph.GraphsTuple, np.ndarray | None]:
    """Returns a graph in a form of this package, whichever `logits` is given, and the rows that it stands for."""
    if isinstance(graph, Dataset | GraphDataset | HostGraph | jraph.GraphsTuple):
        return graph, None
    if isinstance(graph, str | Path):
        return datasets.load(str(graph), data_root, labelled=False), None
    if is_of_pyg(graph):
        return read_pyg(bundle.inputs, graph)
    if isinstance(graph, list | tuple) and not graph:
        raise InputError(f"predict: an empty {type(graph).__name__}, expected graphs of PyTorch Geometric in it")
    raise InputError(
        f"predict: the graph is a {type(graph).__name__}, expected a data set, its name or path, a GraphsTuple, or a "
        "graph of PyTorch Geometric; datasets.from_scipy, from_networkx and from_jraph convert others"
    )


def _at_once(
    bundle: Bundle, model: nn.Module, graph: jraph.GraphsTuple | GraphParts, nodes: np.ndarray | None, rows: int | None
) -> np.ndarray:
    """Returns the first `rows` logits, of all the graph, or those of `nodes` among them."""
    found = np.asarray(_fitting(bundle, lambda: _program(model)(bundle.variables, graph)))[:rows]
    return found if nodes is None else found[_indices(nodes, found.shape[0])]


def _of_graphs(bundle: Bundle, model: nn.Module, dataset: GraphDataset, graphs: np.ndarray | None) -> np.ndarray:
    """Returns the logits of graphs of a data set; of a large one those alone are computed, part by part."""
    dataset = completed(bundle.inputs, dataset)
    check_graphs(bundle.inputs, dataset)
    count = dataset.labels.shape[0]
    if dataset.features.shape[0] <= MAX_NODES_AT_ONCE:
        return _at_once(bundle, model, all_graphs(dataset).graph, graphs, count)
    chosen, place = np.unique(np.arange(count) if graphs is None else _indices(graphs, count), return_inverse=True)
    if not chosen.size:
        return np.zeros((0, bundle.outputs), np.float32)
    return _at_once(bundle, model, graph_parts(dataset, chosen), place, chosen.size)


def _is_small(model: Any, graph: HostGraph, nodes: np.ndarray) -> bool:
    """Tells whether the neighbourhood of some nodes is computed at once."""
    if isinstance(model, SIGN) or not nodes.size:
        return False
    first = rows_of_stages(model.stages(), graph, nodes)[0]  # the most, with all edges that are read
    return int((graph.indptr[first + 1] - graph.indptr[first]).sum()) <= SMALL_EDGES


@functools.lru_cache(maxsize=8)
def _program(model: nn.Module) -> Any:
    """Returns the jitted model, cached so that its next prediction on the same graph compiles nothing."""
    return jax.jit(lambda variables, graph: apply_to(model, variables, graph).logits)


def _indices(nodes: np.ndarray, count: int) -> np.ndarray:
    return as_indices("predict: nodes", nodes, count)


def _fitting(bundle: Bundle, compute: Any) -> Any:
    """Computes a prediction, with one line where the weights are not those of the architecture."""
    try:
        return compute()
    except flax.errors.FlaxError as error:
        reason = str(error).partition(" (https")[0]
        raise InputError(f"the weights do not fit the {bundle.config.name} of the card: {reason}") from error


def _bytes(bundle: Bundle, graph: HostGraph) -> int:
    """Returns about how many bytes the layers of all nodes take, and the messages of all edges."""
    config, width = bundle.config, shape_of(graph.features)[1]
    powers = config.hops if config.name == "sign" else 0
    per_node = width * (1 + powers) + config.hidden * (config.layers + 1) + bundle.outputs
    return 4 * (graph.num_nodes * per_node + graph.num_edges * config.hidden)
