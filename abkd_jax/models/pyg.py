"""Weights of PyTorch Geometric's stacks to parameters here, and back, by the names of `pyg_names`.

Both directions are exact: outputs in evaluation mode are those of the PyTorch model on the same graph. Not in a file of
weights, and so up to the settings: activations (`ModelConfig.activation`: `torch_geometric.nn.models.GAT` has ReLU
unless it is told otherwise), alpha and lambda of GCNII, and that layer normalisation is computed per node.
"""

from collections.abc import Mapping

import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.models.pyg_layers import parts_of, shapes_of, stacked, template_of
from abkd_jax.models.pyg_names import Place, entries_of, place_of, their_name
from abkd_jax.models.pyg_write import require_counterpart, table_of, their_path, to_state_dict
from abkd_jax.types import InputError, Pytree

__all__ = ["from_state_dict", "to_state_dict"]

Flat = dict[str, np.ndarray]  # by "params/conv_2/kernel", one entry per layer


def from_state_dict(
    config: ModelConfig,
    state: Mapping[str, np.ndarray],
    *,
    features: int,
    classes: int,
    relations: int = 1,
    node_types: int = 1,
) -> Pytree:
    """Converts the `state_dict` of a PyTorch model to the variables of the model of a config.

    Every tensor must have a counterpart, and every parameter must be there. With several node types the one root
    weight and bias of a relational layer are those of all types.

    Args:
        config: architecture and sizes, one of gcn, graphsage, gat, gatv2, gin, gcnii, rgcn, mlp.
        state: tensors by name.
        features: width of the node features.
        classes: width of the logits.
        relations: number of edge types, for rgcn.
        node_types: number of node types, for rgcn.

    Returns:
        `{"params": ..., "batch_stats": ...}`, float32.

    Raises:
        InputError: one line that names the tensor that has no counterpart, is missing, or has another shape.
    """
    require_counterpart(config)
    template = template_of(config, features, classes, relations, node_types)
    shapes = shapes_of(config, template)
    flat, owners = _placed(config, state)
    flat = _of_types(flat, node_types if config.name == "rgcn" else 1)
    _check_sizes(config, flat, shapes)
    _fold_bias(config, flat, shapes)
    for path in sorted(shapes.keys() | flat.keys()):
        name = owners.get(path) or their_path(config, path)
        if path not in flat:
            raise InputError(f"weights: no {name}, expected it for the parameter {path}")
        if path not in shapes:
            raise InputError(f"weights: {name} is the parameter {path}, which the model of the settings does not have")
        if flat[path].shape != shapes[path]:
            raise InputError(f"weights: {name}, here {path}, is {flat[path].shape}, expected {shapes[path]}")
    return stacked(config, flat, template)


def _placed(config: ModelConfig, state: Mapping[str, np.ndarray]) -> tuple[Flat, dict[str, str]]:
    """Returns the tensors, and their names, by their paths here; layers are counted from 0 in the order of the file's.

    Raises:
        InputError: a tensor without counterpart, or two for one parameter.
    """
    table = table_of(config)
    places = {name: _place(table, name, state[name]) for name in sorted(state)}
    numbers = {
        module: sorted({p.number for p in places.values() if p.module == module and p.number is not None})
        for module in ("conv", "dense", "norm", "residual")
    }
    if config.name in ("gat", "gatv2"):  # part of the layer there
        numbers["residual"] = numbers["conv"]
    flat: Flat = {}
    owners: dict[str, str] = {}
    for name, place in places.items():
        if place.entry.kind in ("zero", "count"):
            continue
        suffix = "" if place.number is None else f"_{numbers[place.module].index(place.number)}"
        path = f"{place.collection}/{place.module}{suffix}/{place.entry.ours}"
        key = path + {"first": "#1", "second": "#2"}.get(place.entry.kind, "")
        if key in owners:
            raise InputError(f"weights: both {owners[key]} and {name} are the parameter {path}, expected one of them")
        owners[key] = name
        flat[key] = _ours(place, name, state[name])
    return _joined(config, flat), owners


def _place(table: str, name: str, value: np.ndarray) -> Place:
    place = place_of(table, name)
    if place is None:
        expected = ", ".join(their_name(table, *_layer_name(table), entry.theirs) for entry in entries_of(table)[:6])
        raise InputError(f"weights: {name} {value.shape} has no counterpart in {table}, expected {expected}, ...")
    if place.entry.kind == "zero" and np.any(value != 0):
        raise InputError(f"weights: {name} is {np.ravel(value)[0]:g}, expected 0: {table} has no such parameter")
    return place


def _layer_name(table: str) -> tuple[str, int]:
    return ("dense" if table == "mlp" else "conv"), 0


def _ours(place: Place, name: str, value: np.ndarray) -> np.ndarray:
    """Returns a tensor as the parameter it becomes, float32.

    Raises:
        InputError: it holds no finite floats, or has another number of axes.
    """
    if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
        raise InputError(f"weights: {name} is {value.dtype}, expected floats")
    array = np.asarray(value, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"weights: {name} holds NaN or infinite numbers, expected finite ones")
    if place.entry.kind == "transposed" and array.ndim == 2:
        return array.T
    if place.entry.kind == "heads" and array.ndim == 3 and array.shape[0] == 1:
        return array[0]
    if place.entry.kind in ("transposed", "heads"):
        axes = "[out, in]" if place.entry.kind == "transposed" else "[1, heads, width]"
        raise InputError(f"weights: {name} is {value.shape}, expected {axes}")
    return array


def _joined(config: ModelConfig, flat: Flat) -> Flat:
    """Returns the two kernels of every layer of GCNII* as one: theirs see `(1 - alpha) A' h` and `alpha h0`."""
    joined = {path: value for path, value in flat.items() if "#" not in path}
    for key in (key for key in flat if key.endswith("#1")):
        path = key.removesuffix("#1")
        if f"{path}#2" in flat:
            joined[path] = np.concatenate([(1.0 - config.alpha) * flat[key], config.alpha * flat[f"{path}#2"]])
    return {path: np.asarray(value, np.float32) for path, value in joined.items()}


def _of_types(flat: Flat, node_types: int) -> Flat:
    """Returns relational layers for several node types, which all get the same root weight and bias."""
    if node_types == 1:
        return flat
    typed: Flat = {}
    for path, value in flat.items():
        module, _, rest = path.partition("/conv_")
        number, _, name = rest.partition("/")
        if name in ("root/kernel", "bias"):
            repeated = np.broadcast_to(value, (node_types, *value.shape)).copy()
            typed[f"{module}/conv_{number}/root/{name.rpartition('/')[2]}"] = repeated
        else:
            typed[f"{module}/conv_{number}/relations/{name}" if rest else path] = value
    return typed


def _fold_bias(config: ModelConfig, flat: Flat, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Moves the bias of GAT's layers before a batch normalisation, which has none here, into its running mean."""
    if config.name not in ("gat", "gatv2") or config.norm != "batch":
        return
    for path in [path for path in flat if path.endswith("/bias") and "/conv_" in path and path not in shapes]:
        mean = f"batch_stats/norm_{parts_of(path)[2]}/mean"
        if parts_of(path)[3] == "bias" and mean in flat:
            flat[mean] = flat[mean] - flat.pop(path)
        elif not flat[path].any():
            del flat[path]


def _check_sizes(config: ModelConfig, flat: Flat, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compares number and width of the layers with the settings, before single shapes are named."""

    def sizes(of: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        layer = "dense" if config.name == "mlp" else "conv"
        count = len({parts_of(path)[2] for path in of if parts_of(path)[1] == layer})
        found = {"layers": count}
        heads = [of[f"params/conv_{i}/{name}"] for i in range(count) for name in ("attention_sender", "attention")
                 if f"params/conv_{i}/{name}" in of]  # fmt: skip
        if heads:
            found |= {"heads": heads[0][0], "hidden": heads[0][0] * heads[0][1], "output_heads": heads[-1][0]}
        first = next((of[p] for p in sorted(of) if p.startswith(("params/input/kernel", f"params/{layer}_0/"))
                      and p.endswith("kernel")), None)  # fmt: skip
        return {"hidden": first[-1], **found} if first else found

    there, here = sizes({path: value.shape for path, value in flat.items()}), sizes(shapes)
    if there["layers"] and any(there[name] != here[name] for name in there.keys() & here.keys()):
        said = ", ".join(f"{name} {size}" for name, size in there.items())
        wanted = ", ".join(f"{name} {size}" for name, size in here.items())
        raise InputError(f"weights: the file has {said}; expected {wanted}, as the model of the settings")
