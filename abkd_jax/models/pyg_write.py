"""Parameters here to the `state_dict` of PyTorch Geometric's stacks, by the names of `pyg_names`."""

from collections.abc import Mapping

import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.layers.output import UNITS, units_of
from abkd_jax.models.pyg_layers import layers_of, parts_of
from abkd_jax.models.pyg_names import entries_of, their_name
from abkd_jax.models.pyg_units import with_units_inside
from abkd_jax.types import InputError, Pytree

__all__ = ["require_counterpart", "table_of", "their_path", "to_state_dict"]

MODELS = ("gcn", "graphsage", "gat", "gatv2", "gin", "gcnii", "rgcn", "mlp")


def to_state_dict(config: ModelConfig, variables: Pytree) -> dict[str, np.ndarray]:
    """Converts variables to a `state_dict` that loads into PyTorch Geometric's stack, by the names of `pyg_names`.

    That is `torch_geometric.nn.models.GCN`, `GraphSAGE`, `GAT` (`v2=True`), `GIN` or `MLP` of the same sizes
    (`jumping` is their `jk`), the model of the example `gcn2_cora.py`, or a list `convs` of `RGCNConv`.

    Args:
        config: architecture and sizes.
        variables: `{"params": ..., "batch_stats": ...}`; `units` of real targets enter the last layer.

    Returns:
        NumPy arrays by name, float32, and int64 counters of batch normalisation.

    Raises:
        InputError: PyTorch Geometric has no counterpart; the line names the option or the parameter, or that the layers
            are of several node types.

    Examples:
        >>> kernel, bias = np.ones((5, 4), np.float32), np.zeros(4, np.float32)
        >>> params = {"conv_0": {"kernel": kernel, "bias": bias}, "conv_1": {"kernel": kernel[:4], "bias": bias}}
        >>> state = to_state_dict(ModelConfig("gcn", layers=2, hidden=4), {"params": params})
        >>> {name: tensor.shape for name, tensor in state.items()}["convs.0.lin.weight"]
        (4, 5)
    """
    require_counterpart(config)
    state: dict[str, np.ndarray] = {}
    batch_norm = config.norm == "batch"
    units = units_of(variables)
    layers = list(layers_of(config, {name: tree for name, tree in variables.items() if name != UNITS}))
    if any("/relations/" in path for path, _ in layers):
        raise InputError(
            f"{config.name}: layers of several node types have no counterpart in PyTorch Geometric, whose RGCNConv has "
            "one root weight for all nodes; expected one node type"
        )
    if units is not None:
        layers = with_units_inside(dict(layers), units)
    for path, value in layers:
        _, module, number, rest = parts_of(path)
        for theirs, tensor in _tensors(config, module, rest, np.asarray(value, np.float32)):
            state[their_name(table_of(config), module, number, theirs, batch_norm=batch_norm)] = tensor
    for name in [name for name in state if name.endswith("running_mean")]:
        state[name.replace("running_mean", "num_batches_tracked")] = np.zeros((), np.int64)
    return state | _zeros(config, state)


def require_counterpart(config: ModelConfig) -> None:
    """Checks that PyTorch Geometric has the layers of a model.

    Raises:
        InputError: it has not; the line names the model or the option.
    """
    if config.name not in MODELS:
        raise InputError(f"{config.name} has no counterpart in PyTorch Geometric, expected one of {', '.join(MODELS)}")
    for option in ("destination_term", "symmetric_norm", "repeated"):
        if getattr(config, option) != getattr(ModelConfig(), option):
            raise InputError(
                f"{config.name}: {option} {getattr(config, option)} has no counterpart in PyTorch Geometric"
            )


def table_of(config: ModelConfig) -> str:
    """Returns the name of the model in the table of names: that of the variant of GCNII is `"gcnii*"`."""
    return "gcnii*" if config.variant else config.name


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
    entry = next((e for e in entries_of(table_of(config)) if e.ours == rest and module in ("conv", "dense")), None)
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


def their_path(config: ModelConfig, path: str) -> str:
    """Returns the name of the tensor that a parameter is, for messages; the path where it has none."""
    _, module, number, rest = parts_of(path.replace("/relations/", "/"))
    try:
        (theirs, _), *_ = _tensors(config, module, rest, np.zeros((2, 1), np.float32))
    except (InputError, KeyError):
        return path
    return their_name(table_of(config), module, number, theirs, batch_norm=config.norm == "batch")
