"""The models of the latency benchmark in PyTorch Geometric, with the weights of those here."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from abkd_jax.configs.options import ModelConfig
from abkd_jax.models.pyg import to_state_dict
from abkd_jax.run.data import PreparedData
from abkd_jax.types import Pytree

__all__ = ["torch_pass"]


def torch_pass(data: PreparedData, config: ModelConfig, variables: Pytree) -> Callable[[], Any]:
    """Returns one pass over the whole graph in PyTorch Geometric, in evaluation mode, with as many threads as cores.

    Each model gets what is fastest for it there: GCN2Conv a normalised adjacency in PyTorch's CSR format, GATConv an
    edge list that has the self loops already, the first layer of the others sparse features in CSR.

    Args:
        data: one graph.
        config: gcnii, gat or mlp.
        variables: of the model here.

    Returns:
        A function without arguments that returns the logits `[nodes, classes]`.
    """
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    makers = {"gcnii": _gcnii, "gat": _gat, "mlp": _mlp}
    stack, forward = makers[config.name](data, config)
    state = to_state_dict(config, variables)
    stack.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    stack.eval()
    return torch.no_grad()(forward)


def _gcnii(data: PreparedData, config: ModelConfig) -> tuple[Any, Callable[[], Any]]:
    from torch_geometric.nn import GCN2Conv

    depths = range(1, config.layers + 1)
    options = {"alpha": config.alpha, "theta": config.lam, "normalize": False}
    stack = _stack(
        lins=_linears(data.dataset.features.shape[1], config.hidden, data.outputs),
        convs=[GCN2Conv(config.hidden, layer=depth, **options) for depth in depths],
    )
    x, adjacency = _features(data), _adjacency(data)

    def forward() -> Any:
        h = h0 = _linear(stack.lins[0], x).relu()
        for conv in stack.convs:
            h = conv(h, h0, adjacency).relu()
        return stack.lins[1](h)

    return stack, forward


def _gat(data: PreparedData, config: ModelConfig) -> tuple[Any, Callable[[], Any]]:
    import torch
    from torch_geometric.nn import BatchNorm, GATConv

    widths = [data.dataset.features.shape[1], *[config.hidden] * (config.layers - 1)]
    sizes = [
        *[(config.hidden // config.heads, config.heads)] * (config.layers - 1),
        (data.outputs, config.output_heads),
    ]
    options = {"residual": config.residual == "linear", "add_self_loops": False}
    stack = _stack(
        convs=[GATConv(w, out, heads, **options) for w, (out, heads) in zip(widths, sizes, strict=True)],
        norms=[BatchNorm(config.hidden) for _ in widths[1:]],
    )
    x, edges = _features(data), torch.from_numpy(np.stack(_with_loops(data)).astype(np.int64))

    def forward() -> Any:
        h = x
        for conv, norm in zip(stack.convs[:-1], stack.norms, strict=True):
            h = torch.nn.functional.elu(norm(conv(h, edges)))
        return stack.convs[-1](h, edges)

    return stack, forward


def _mlp(data: PreparedData, config: ModelConfig) -> tuple[Any, Callable[[], Any]]:
    stack = _stack(lins=_linears(data.dataset.features.shape[1], config.hidden, data.outputs))
    x = _features(data)
    return stack, lambda: stack.lins[1](_linear(stack.lins[0], x).relu())


def _stack(**lists: list[Any]) -> Any:
    """Returns a module with a list of modules under each name, as `to_state_dict` names their tensors."""
    import torch

    return torch.nn.ModuleDict({name: torch.nn.ModuleList(modules) for name, modules in lists.items()})


def _linears(features: int, hidden: int, outputs: int) -> list[Any]:
    import torch

    return [torch.nn.Linear(features, hidden), torch.nn.Linear(hidden, outputs)]


def _linear(layer: Any, x: Any) -> Any:
    """Returns a linear map of features that may be sparse."""
    import torch

    return torch.addmm(layer.bias, x, layer.weight.T)


def _with_loops(data: PreparedData) -> tuple[np.ndarray, np.ndarray]:
    """Returns senders and receivers of the edges, then of one self loop per node."""
    graph: Any = data.batch.graph
    loops = np.arange(data.dataset.features.shape[0])
    return np.concatenate([graph.senders, loops]), np.concatenate([graph.receivers, loops])


def _adjacency(data: PreparedData) -> Any:
    import torch

    graph: Any = data.batch.graph
    values = np.concatenate([graph.edges.coefficients, graph.edges.self_coefficients])
    senders, receivers = _with_loops(data)
    ends = torch.from_numpy(np.stack([receivers, senders]).astype(np.int64))
    nodes = data.dataset.features.shape[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls its CSR tensors a prototype
        return torch.sparse_coo_tensor(ends, torch.from_numpy(values), (nodes, nodes)).to_sparse_csr()


def _features(data: PreparedData) -> Any:
    """Returns the features as PyTorch multiplies them fastest: CSR where they are sparse."""
    import scipy.sparse as sp
    import torch

    features: Any = data.dataset.features
    if not sp.issparse(features):
        return torch.from_numpy(np.array(features))
    parts = (torch.from_numpy(part) for part in (features.indptr, features.indices, features.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(*parts, size=features.shape)
