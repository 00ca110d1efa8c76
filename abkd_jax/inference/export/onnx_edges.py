"""Preprocessing of raw edges as ONNX operators: both directions, no duplicates, no self loops, weights merged.

What `graph.host.host_graph` does in NumPy. ONNX has sizes that depend on values, and an operator `Unique`: no edge is
left over to be sent elsewhere, as `raw_graph` does under JAX.
"""

from typing import Any

import numpy as np

from abkd_jax.inference.bundle import Inputs
from abkd_jax.inference.export.arguments import arguments_of

__all__ = ["EDGES", "OF_EDGES", "PREFIX", "edges_model"]

OF_EDGES = ("senders", "receivers", "relations", "edge_weights", "edge_features")
EDGES = "k"  # their number then; `e` is that of the list
PREFIX = "graph/"  # of the names of what comes out


class _Nodes:
    """Nodes of a graph of operators, in order; each has one output unless it says otherwise, named after it."""

    def __init__(self) -> None:
        from onnx import helper

        self.made: list[Any] = []
        self._helper = helper

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        names = outputs or (f"edges/{operator}_{len(self.made)}",)
        self.made.append(self._helper.make_node(operator, list(inputs), list(names), **attributes))
        return names[0]

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        return self.add("Constant", value=numpy_helper.from_array(np.asarray(values)))

    def cast(self, name: str, dtype: str, output: str = "") -> str:
        from onnx import TensorProto

        kind = {"int64": TensorProto.INT64, "int32": TensorProto.INT32}[dtype]
        return self.add("Cast", name, to=kind, outputs=(output,) if output else ())


def edges_model(inputs: Inputs, opsets: Any, ir_version: int) -> Any:
    """Builds the ONNX model from what a raw graph says of its edges to what the model reads of them.

    Args:
        inputs: of a node-level model.
        opsets: versions of the operators, as the exported model has them.
        ir_version: of the format, likewise.

    Returns:
        An `onnx.ModelProto`; inputs `OF_EDGES` as far as the model takes them, outputs the same with `PREFIX`.
    """
    from onnx import helper

    taken = {argument.name: argument for argument in arguments_of(inputs) if argument.name in OF_EDGES}
    nodes = _Nodes()
    keys, entries, backward = _listed(nodes, inputs)
    merged, first, group = (f"edges/{name}" for name in ("merged", "first", "group"))
    nodes.add("Unique", keys, outputs=(merged, first, group), axis=1, sorted=1)
    rows = ("receivers", *(("relations",) if inputs.schema is not None else ()), "senders")
    for row, name in enumerate(rows):
        nodes.cast(nodes.add("Gather", merged, nodes.constant(np.int64(row)), axis=0), "int32", PREFIX + name)
    if "edge_features" in taken:
        position = nodes.add("Gather", entries, first)
        nodes.add("Gather", "edge_features", position, axis=0, outputs=(PREFIX + "edge_features",))
    if "edge_weights" in taken:
        _merge_weights(nodes, nodes.add("Gather", "edge_weights", entries), backward, first, group)
    given = [_value(name, argument.dtype, argument.shape) for name, argument in taken.items()]
    found = [_value(PREFIX + name, taken[name].dtype, (EDGES, *taken[name].shape[1:])) for name in taken]
    graph = helper.make_graph(nodes.made, "edges", given, found)
    return helper.make_model(graph, opset_imports=list(opsets), ir_version=ir_version)


def _listed(nodes: _Nodes, inputs: Inputs) -> tuple[str, str, str]:
    """Returns of all edges without loops, listed ones before reverse ones, the keys, the places and the directions.

    Keys are `[2 or 3, k]`, of receiver, relation and sender; places are positions in the list; reverse ones have 1.
    """
    senders, receivers = (nodes.cast(name, "int64") for name in ("senders", "receivers"))
    count = nodes.add("Squeeze", nodes.add("Shape", senders))
    zero, one = nodes.constant(np.int64(0)), nodes.constant(np.int64(1))
    entries = nodes.add("Range", zero, count, one)
    keys = [receivers, senders]
    backward = nodes.add("Mul", entries, zero)
    if inputs.schema is not None:
        keys.insert(1, nodes.cast("relations", "int64"))
    if not inputs.directed:
        reverse = [senders, receivers]
        if inputs.schema is not None:
            reverse.insert(1, nodes.add("Gather", nodes.constant(np.array(inputs.schema.reverses, np.int64)), keys[1]))
        keys = [nodes.add("Concat", *pair, axis=0) for pair in zip(keys, reverse, strict=True)]
        entries = nodes.add("Concat", entries, entries, axis=0)
        backward = nodes.add("Concat", backward, nodes.add("Add", backward, one), axis=0)
    kept = nodes.add("Not", nodes.add("Equal", keys[0], keys[-1]))
    axis = nodes.constant(np.array([0], np.int64))
    stacked = nodes.add("Concat", *(nodes.add("Unsqueeze", key, axis) for key in keys), axis=0)
    stacked = nodes.add("Compress", stacked, kept, axis=1)
    return stacked, nodes.add("Compress", entries, kept, axis=0), nodes.add("Compress", backward, kept, axis=0)


def _merge_weights(nodes: _Nodes, weights: str, backward: str, first: str, group: str) -> None:
    """Adds up the weights of equal edges, direction by direction, and takes the larger of the two sums."""
    count = nodes.add("Shape", first)
    place = nodes.add("Add", group, nodes.add("Mul", backward, count))
    two = nodes.constant(np.array([2], np.int64))
    zeros = nodes.add("ConstantOfShape", nodes.add("Mul", count, two))
    sums = nodes.add("ScatterElements", zeros, place, weights, axis=0, reduction="add")
    by_direction = nodes.add("Reshape", sums, nodes.add("Concat", two, count, axis=0))
    axis = nodes.constant(np.array([0], np.int64))
    nodes.add("ReduceMax", by_direction, axis, keepdims=0, outputs=(PREFIX + "edge_weights",))


def _value(name: str, dtype: str, shape: tuple[str | int, ...]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
