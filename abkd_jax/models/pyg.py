"""Weights of PyTorch Geometric's stacks to parameters here, and back, by the names of `pyg_names`.

Both directions are exact: outputs in evaluation mode are those of the PyTorch model on the same graph. Not in a file of
weights, and so up to the settings: activations (`ModelConfig.activation`: `torch_geometric.nn.models.GAT` has ReLU
unless it is told otherwise), alpha and lambda of GCNII, and that layer normalisation is computed per node.
"""

from collections.abc import Mapping

import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.models.pyg_layers import layers_of, parts_of, shapes_of, stacked, template_of
from abkd_jax.models.pyg_names import Place, entries_of, place_of, their_name
from abkd_jax.types import InputError, Pytree

__all__ = ["from_state_dict", "to_state_dict"]

MODELS = ("gcn", "graphsage", "gat", "gatv2", "gin", "gcnii", "rgcn", "mlp")
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
    _check(config)
    template = template_of(config, features, classes, relations, node_types)
    shapes = shapes_of(config, template)
    flat, owners = _placed(config, state)
    flat = _of_types(flat, node_types if config.name == "rgcn" else 1)
    _check_sizes(config, flat, shapes)
    _fold_bias(config, flat, shapes)
    for path in sorted(shapes.keys() | flat.keys()):
        name = owners.get(path) or _their_path(config, path)
        if path not in flat:
            raise InputError(f"weights: no {name}, expected it for the parameter {path}")
        if path not in shapes:
            raise InputError(f"weights: {name} is the parameter {path}, which the model of the settings does not have")
        if flat[path].shape != shapes[path]:
            raise InputError(f"weights: {name}, here {path}, is {flat[path].shape}, expected {shapes[path]}")
    return stacked(config, flat, template)


def to_state_dict(config: ModelConfig, variables: Pytree) -> dict[str, np.ndarray]:
    """Converts variables to a `state_dict` that loads into PyTorch Geometric's stack, by the names of `pyg_names`.

    That is `torch_geometric.nn.models.GCN`, `GraphSAGE`, `GAT` (`v2=True`), `GIN` or `MLP` of the same sizes
    (`jumping` is their `jk`), the model of the example `gcn2_cora.py`, or a list `convs` of `RGCNConv`.

    Args:
        config: architecture and sizes.
        variables: `{"params": ..., "batch_stats": ...}`.

    Returns:
        NumPy arrays by name, float32, and int64 counters of batch normalisation.

    Raises:
        InputError: PyTorch Geometric has no counterpart; the line names the option or the parameter.

    Examples:
        >>> kernel, bias = np.ones((5, 4), np.float32), np.zeros(4, np.float32)
        >>> params = {"conv_0": {"kernel": kernel, "bias": bias}, "conv_1": {"kernel": kernel[:4], "bias": bias}}
        >>> state = to_state_dict(ModelConfig("gcn", layers=2, hidden=4), {"params": params})
        >>> {name: tensor.shape for name, tensor in state.items()}["convs.0.lin.weight"]
        (4, 5)
    """
    _check(config)
    state: dict[str, np.ndarray] = {}
    batch_norm = config.norm == "batch"
    for path, value in layers_of(config, variables):
        _, module, number, rest = parts_of(path)
        for theirs, tensor in _tensors(config, module, rest, np.asarray(value, np.float32)):
            state[their_name(_table(config), module, number, theirs, batch_norm=batch_norm)] = tensor
    for name in [name for name in state if name.endswith("running_mean")]:
        state[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return state | _zeros(config, state)


def _check(config: ModelConfig) -> None:
    if config.name not in MODELS:
        raise InputError(f"{config.name} has no counterpart in PyTorch Geometric, expected one of {', '.join(MODELS)}")
    for option in ("destination_term", "symmetric_norm"):
        if getattr(config, option) != getattr(ModelConfig(), option):
            raise InputError(
                f"{config.name}: {option} {getattr(config, option)} has no counterpart in PyTorch Geometric"
            )


def _table(config: ModelConfig) -> str:
    return "gcnii*" if config.variant else config.name


# Reading -------------------------------------------------------------------------------------------------------------


def _placed(config: ModelConfig, state: Mapping[str, np.ndarray]) -> tuple[Flat, dict[str, str]]:
    """Returns the tensors, and their names, by their paths here; layers are counted from 0 in the order of the file's.

    Raises:
        InputError: a tensor without counterpart, or two for one parameter.
    """
    table = _table(config)
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


# Writing -------------------------------------------------------------------------------------------------------------


def _tensors(config: ModelConfig, module: str, rest: str, value: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Returns the tensors of one parameter of one layer, with their names behind that of the module."""
    if module == "norm":
        names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        return [(names[rest], value)]
    if module in ("input", "output", "residual") and rest in ("kernel", "bias"):
        return [("weight", value.T.copy()) if rest == "kernel" else ("bias", value)]
    if config.variant and rest == "kernel":
        width = value.shape[1]
        if not 0.0 < config.alpha < 1.0:
            raise InputError(f"gcnii: alpha {config.alpha} of the variant has no counterpart in PyTorch Geometric")
        return [("weight1", value[:width] / (1.0 - config.alpha)), ("weight2", value[width:] / config.alpha)]
    entry = next((e for e in entries_of(_table(config)) if e.ours == rest and module in ("conv", "dense")), None)
    if entry is None:
        raise InputError(f"{config.name}: the parameter {module}/{rest} has no counterpart in PyTorch Geometric")
    changed = {"transposed": lambda: value.T.copy(), "heads": lambda: value[None], "same": lambda: value}
    return [(entry.theirs, changed[entry.kind]())]


def _zeros(config: ModelConfig, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors that PyTorch Geometric's layers have and those here do not: zeros."""
    layers = sorted({int(name.split(".")[1]) for name in state if name.startswith("convs.")})
    if config.name == "gin":
        return {f"convs.{i}.eps": np.zeros(1, np.float32) for i in layers}
    if config.name not in ("gat", "gatv2"):
        return {}
    named = ("bias",) if config.name == "gat" else ("bias", "lin_l.bias", "lin_r.bias")
    kernel = "lin.weight" if config.name == "gat" else "lin_l.weight"
    biases = {f"convs.{i}.{name}": state[f"convs.{i}.{kernel}"].shape[0] for i in layers for name in named}
    return {name: np.zeros(width, np.float32) for name, width in biases.items() if name not in state}


def _their_path(config: ModelConfig, path: str) -> str:
    """Returns the name of the tensor that a parameter is, for messages; the path where it has none."""
    _, module, number, rest = parts_of(path.replace("/relations/", "/"))
    try:
        (theirs, _), *_ = _tensors(config, module, rest, np.zeros((2, 1), np.float32))
    except (InputError, KeyError):
        return path
    return their_name(_table(config), module, number, theirs, batch_norm=config.norm == "batch")
