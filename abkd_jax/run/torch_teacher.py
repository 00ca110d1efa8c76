"""Modules of PyTorch as teachers: called once on the whole graph, in evaluation mode, as they are."""

import contextlib
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from abkd_jax.graph.host import target_mask
from abkd_jax.models.external import as_output
from abkd_jax.run.data import PreparedData
from abkd_jax.run.torch_input import arguments, described, device_of, graphs_for
from abkd_jax.run.torch_layers import array_of, recorded_layers
from abkd_jax.types import Dataset, GNNOutput, GraphDataset, InputError

__all__ = ["call_module", "is_module"]

SHOWN = 300  # characters of a part of an error message


class _Rows(NamedTuple):
    """The nodes of one type.

    Attributes:
        kind: name of the type; `""` in a homogeneous graph.
        place: of its nodes among all.
        counts: whether a loss may read them.
    """

    kind: str
    place: slice
    counts: bool

    @property
    def size(self) -> int:
        """Returns their number."""
        return self.place.stop - self.place.start


def is_module(source: Any) -> bool:
    """Tells whether something is a `torch.nn.Module`; imports nothing."""
    return any(
        (kind.__module__, kind.__name__) == ("torch.nn.modules.module", "Module") for kind in type(source).__mro__
    )


def call_module(module: Any, data: PreparedData, graph: Any = None) -> tuple[GNNOutput, int | None]:
    """Calls a module of PyTorch on a data set, once, and leaves it as it was.

    It runs on its own device, in evaluation mode, without gradients and with a random state of its own; a graph-level
    set in batches of `torch_input.GRAPHS`. Arguments are found by the names of the parameters of `forward`: attributes
    of the graph, in `HeteroData` with `_dict` behind them or not; a single parameter of another name gets the graph.

    Args:
        module: a `torch.nn.Module`. It returns logits `[n, c]` (`[g, c]` for graphs), a mapping of them by node type,
            or `(logits, hidden layers)`.
        data: what it is called on.
        graph: the same as `Data`, `HeteroData` or a sequence of `Data`, nodes in the same order; None is
            `datasets.to_pyg(data.dataset)`.

    Returns:
        float32 outputs without padding, of node types without labels zeros where the module returns nothing that fits,
        with the hidden layers of `torch_layers.recorded_layers` where it returns none; and the number of parameters,
        None without any.

    Raises:
        InputError: torch_geometric is not installed; a parameter cannot be found or has no shape yet; the module fails
            on this graph, or returns something else.
    """
    module = getattr(module, "_orig_mod", module)  # of torch.compile, which hooks would compile anew
    parameters = _count(module)
    with _evaluation(module):
        parts = [_output_on(part, module, data) for part in graphs_for(data.dataset, graph, module)]
    logits, hiddens = zip(*parts, strict=True)
    layers = [np.concatenate(parts) for parts in zip(*hiddens, strict=True)]
    return as_output((np.concatenate(logits), layers)), parameters or None


def _count(module: Any) -> int:
    """Returns the number of parameters."""
    from torch.nn.parameter import is_lazy

    tensors = dict(module.named_parameters())
    lazy = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if lazy:
        raise InputError(f"teacher: {lazy[0]} has no shape yet, expected a module that was trained, or called once")
    return sum(tensor.numel() for tensor in tensors.values())


@contextlib.contextmanager
def _evaluation(module: Any) -> Iterator[None]:
    """Sets evaluation mode, and random numbers that are the same in every call; puts both and what is cached back."""
    import torch

    device, modes = device_of(module), [(part, part.training, _cached(part)) for part in module.modules()]
    drawing = [torch.default_generator]
    if device.type == "cuda":
        drawing.append(torch.cuda.default_generators[device.index])
    states = [generator.get_state() for generator in drawing]
    try:
        for generator in drawing:
            generator.manual_seed(0)
        module.eval()
        with torch.no_grad():  # not inference mode, whose tensors a layer that caches could not learn from later
            yield
    finally:
        for part, training, cached in modes:
            part.training = training
            vars(part).update(cached)
        for generator, state in zip(drawing, states, strict=True):
            generator.set_state(state)


def _cached(part: Any) -> dict[str, Any]:
    """Returns what a layer of PyTorch Geometric has made of a graph and keeps, `GCNConv(cached=True)`."""
    return {name: value for name, value in vars(part).items() if name.startswith("_cached")}


def _output_on(graph: Any, module: Any, data: PreparedData) -> GNNOutput:
    """Returns the output for one graph or one batch of graphs."""
    args, named = arguments(module, graph)
    with recorded_layers(module) as layers:
        try:
            result = module(*args, **named)
        except Exception as error:
            shown = [described(value) for value in args] + [f"{name} {described(v)}" for name, v in named.items()]
            called, text = (
                textwrap.shorten(each, SHOWN, placeholder=" ...") for each in (", ".join(shown), str(error))
            )
            raise InputError(
                f"teacher: {type(module).__name__}({called}) fails: {type(error).__name__}: {text}; expected a module "
                "for this graph, or (module, graph) with that of PyTorch Geometric which it was trained on"
            ) from error
    types = _types(data.dataset, graph.num_nodes)
    pair = isinstance(result, tuple | list) and len(result) == 2 and isinstance(result[1], tuple | list)
    given, own = result if pair else (result, None)
    logits = _rows_of(given, types)
    if data.outputs == 1 and getattr(logits, "ndim", None) == 1:
        logits = logits[:, None]
    if own is not None:
        return as_output((logits, [_rows_of(layer, types) for layer in own]))
    found = [placed for layer in layers if (placed := _placed(layer, types)) is not None]
    output = as_output((logits, found))
    places = [rows.place for rows in types if rows.counts]
    last = found and all(np.array_equal(found[-1][place], logits[place]) for place in places)  # these are the logits
    return output._replace(hiddens=output.hiddens[:-1]) if last else output


def _types(dataset: Dataset | GraphDataset, nodes: int) -> list[_Rows]:
    if isinstance(dataset, GraphDataset) or dataset.schema is None:
        return [_Rows("", slice(0, nodes), True)]
    names, kinds = dataset.schema.node_types, np.asarray(dataset.node_types)
    stops, targets = np.cumsum(np.bincount(kinds, minlength=len(names))).tolist(), target_mask(dataset)
    places = map(slice, [0, *stops], stops)
    return [_Rows(kind, place, bool(targets[place].any())) for kind, place in zip(names, places, strict=True)]


def _rows_of(value: Any, types: list[_Rows]) -> Any:
    """Returns a tensor as an array; those of node types in the order of the nodes. What is neither stays as it is."""
    targets = [rows for rows in types if rows.counts]
    if hasattr(value, "detach"):
        array = array_of(value)
        alone = len(types) > 1 and len(targets) == 1 and array.ndim == 2 and array.shape[0] == targets[0].size
        return _placed({targets[0].kind: array}, types) if alone else array
    if not isinstance(value, Mapping) or types[0].kind == "":
        return value
    arrays = {kind: array_of(part) for kind, part in value.items() if hasattr(part, "detach")}
    placed = _placed(arrays, types)
    if placed is None:
        found = ", ".join(f"{kind} {list(array.shape)}" for kind, array in arrays.items()) or "none"
        expected = ", ".join(f"{rows.kind} [{rows.size}, width]" for rows in targets)
        raise InputError(f"teacher: its outputs by node type are {found}, expected {expected}")
    return placed


def _placed(parts: Mapping[str, np.ndarray], types: list[_Rows]) -> np.ndarray | None:
    """Returns rows of node types as `[n, width]`, zeros where they do not fit; None where those that count do not."""
    fit = {r.kind: parts[r.kind] for r in types if r.kind in parts and parts[r.kind].shape[:-1] == (r.size,)}
    widths = {fit[rows.kind].shape[1] if rows.kind in fit else None for rows in types if rows.counts}
    width = widths.pop() if len(widths) == 1 else None
    if width is None:
        return None
    placed = np.zeros((types[-1].place.stop, width), np.float32)
    for rows in types:
        if rows.kind in fit and fit[rows.kind].shape[1] == width:
            placed[rows.place] = fit[rows.kind]
    return placed
