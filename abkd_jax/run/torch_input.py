"""What a module of PyTorch is called with: graphs of PyTorch Geometric, and the arguments of its `forward`."""

import copy
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from abkd_jax.datasets import to_pyg
from abkd_jax.datasets.convert.pyg_data import is_of_pyg
from abkd_jax.types import Dataset, GraphDataset, InputError

__all__ = ["arguments", "described", "device_of", "graphs_for"]

GRAPHS = 512  # of a graph-level set, called at once: bounds memory
WHOLE = ("data", "batch", "graph")  # names of a parameter for the whole graph; others that are not known count too
IN_ORDER = ("x", "x_dict", "edge_index", "edge_index_dict", "batch")  # of a `forward(*args)`
LABELS = ("y", "train_mask", "val_mask", "test_mask")  # which no teacher reads by name


def device_of(module: Any) -> Any:
    """Returns the device of a module, that of its first tensor."""
    import torch

    return next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))


def graphs_for(dataset: Dataset | GraphDataset, graph: Any, module: Any) -> Iterator[Any]:
    """Yields the graph, or batches of graphs, on the device of a module and with floats of its width.

    Args:
        dataset: a graph, or many.
        graph: the same of PyTorch Geometric; None converts the data set.
        module: a `torch.nn.Module`.

    Raises:
        InputError: torch_geometric is not installed, or `graph` is of another kind.
    """
    graph = to_pyg(dataset) if graph is None else graph
    from torch_geometric.data import Batch
    from torch_geometric.data.data import BaseData

    many = isinstance(dataset, GraphDataset)
    if not is_of_pyg(graph) or isinstance(graph, BaseData) == many:
        expected = "a list of Data" if many else "Data or HeteroData"
        raise InputError(f"teacher: a module of PyTorch with a {type(graph).__name__}, expected {expected} beside it")
    parts, device = list(graph) if many else [], device_of(module)
    dtype = next((tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()), None)
    batches: Any = (Batch.from_data_list(parts[start : start + GRAPHS]) for start in range(0, len(parts), GRAPHS))
    for part in batches if many else [copy.copy(graph)]:  # a copy, since `apply` changes the object itself
        yield part.apply(lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else None))


def arguments(module: Any, graph: Any) -> tuple[list[Any], dict[str, Any]]:
    """Returns what `forward` is called with, by position and by name.

    Raises:
        InputError: a parameter without a default has no such name.
    """
    known = _known(graph)
    options = inspect.signature(module.forward).parameters.values()
    named = [option for option in options if option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD)]
    if not named:
        return [known[name] for name in IN_ORDER if name in known], {}
    required = [option.name for option in named if option.default is option.empty]
    if len(required) == 1 and (required[0] in WHOLE or required[0] not in known):
        return [], {required[0]: graph}
    found = {option.name: known[option.name] for option in named if option.name in known}
    neutral = _neutral(graph)
    found |= {name: neutral[name] for name in required if name in neutral and name not in known}
    missing = [name for name in required if name not in found]
    if missing:
        raise InputError(
            f"teacher: {type(module).__name__}.forward needs {', '.join(missing)}, expected parameters among "
            f"{', '.join(sorted(known))}, or one for the whole graph"
        )
    return [], found


def _known(graph: Any) -> dict[str, Any]:
    """Returns what parameters may be named after."""
    if not hasattr(graph, "node_types"):
        sizes = {"num_nodes": graph.num_nodes, **({"batch_size": graph.num_graphs} if "ptr" in graph else {})}
        return {**sizes, **{name: graph[name] for name in graph.keys() if name not in LABELS}}  # noqa: SIM118
    stores = (*graph.node_stores, *graph.edge_stores)
    names = {name for store in stores for name in store.keys() if name not in LABELS}  # noqa: SIM118
    by_type = {name: graph.collect(name, allow_empty=True) for name in names}
    return by_type | {f"{name}_dict": parts for name, parts in by_type.items()}


def _neutral(graph: Any) -> dict[str, Any]:
    """Returns what changes nothing, for parameters that must be given."""
    if hasattr(graph, "node_types"):
        return {}
    edges, dtype = graph.edge_index, getattr(graph.x, "dtype", None)
    weights = edges.new_ones(graph.num_edges, dtype=dtype)
    return {"edge_weight": weights, "batch": edges.new_zeros(graph.num_nodes), "batch_size": 1}


def described(value: Any) -> str:
    """Returns the shape of a tensor, or those of the tensors in a mapping, as text."""
    if isinstance(value, Mapping):
        parts = (f"{'-'.join(k) if isinstance(k, tuple) else k} {described(v)}" for k, v in value.items())
        return f"{{{', '.join(parts)}}}"
    return str(list(value.shape)) if hasattr(value, "shape") else str(value)
