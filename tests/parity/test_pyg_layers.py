"""Every other layer against PyTorch Geometric's with the same weights: outputs and every gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity_samples import (
    NODES,
    WIDTH,
    at_precision,
    check,
    jax_graph,
    jax_value_and_gradients,
    node_features,
    numbers,
    pyg,
    torch,
    torch_edges,
    torch_value_and_gradients,
    unique_edges,
)

from abkd_jax.layers import Dense, GATConv, GATv2Conv, GINConv, MaskedBatchNorm, RGCNConv, SAGEConv, SGConv

EDGES = unique_edges(loops=True)
TYPES = np.arange(EDGES.senders.shape[0], dtype=np.int32) % 3
TYPES[EDGES.receivers == 0] = 1  # a node that two types never enter
WAYS = [("float64", "plain"), ("float64", "csr"), ("float32", "segment")]
OTHER_WAYS = [("float64", "bucketed"), ("float32", "dense")]

SAGE = {"lin_l": "neighbour", "lin_r": "root", "lin": "project"}
GAT = {"lin": "linear", "att_src": "attention_sender", "att_dst": "attention_receiver", "res": "residual"}
GATV2 = {"lin_l": "sender", "lin_r": "receiver", "att": "attention", "res": "residual"}
GAT_EDGES = {"lin_edge": "edge", "att_edge": "attention_edge"}
GIN = {"nn.0": "mlp/layers_0", "nn.2": "mlp/layers_2", "eps": "epsilon"}
RGCN = {"weight": "kernel", "comp": "coefficients", "root": "root/kernel"}


class Case(NamedTuple):
    ours: nn.Module
    theirs: Callable[[], Any]
    names: dict[str, str]  # theirs -> ours, of modules and of parameters
    extra: str | None = None  # what the edges have: "types" or "features"


def _mlp():
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4))


MLP = nn.Sequential([Dense(6), nn.relu, Dense(4)])
CASES = {
    "sage": Case(SAGEConv(4), lambda: pyg.SAGEConv(WIDTH, 4), SAGE),
    "sage, widening": Case(SAGEConv(7), lambda: pyg.SAGEConv(WIDTH, 7), SAGE),
    "sage, max": Case(SAGEConv(4, "max"), lambda: pyg.SAGEConv(WIDTH, 4, aggr="max"), SAGE),
    "sage, no root, no bias": Case(
        SAGEConv(4, use_bias=False, root_weight=False),
        lambda: pyg.SAGEConv(WIDTH, 4, bias=False, root_weight=False),
        SAGE,
    ),
    "sage, normalised, projected": Case(
        SAGEConv(4, normalize=True, project=True), lambda: pyg.SAGEConv(WIDTH, 4, normalize=True, project=True), SAGE
    ),
    "gat": Case(GATConv(4), lambda: pyg.GATConv(WIDTH, 4), GAT),
    "gat, heads": Case(
        GATConv(4, 3, negative_slope=0.5, residual=True),
        lambda: pyg.GATConv(WIDTH, 4, 3, negative_slope=0.5, residual=True),
        GAT,
    ),
    "gat, mean of heads, loops as they are": Case(
        GATConv(4, 3, concat=False, self_loops=False, use_bias=False),
        lambda: pyg.GATConv(WIDTH, 4, 3, concat=False, add_self_loops=False, bias=False),
        GAT,
    ),
    "gat, features of edges": Case(
        GATConv(4, 3), lambda: pyg.GATConv(WIDTH, 4, 3, edge_dim=WIDTH), GAT | GAT_EDGES, "features"
    ),
    "gat, features of edges, loops as they are": Case(
        GATConv(4, self_loops=False),
        lambda: pyg.GATConv(WIDTH, 4, edge_dim=WIDTH, add_self_loops=False),
        GAT | GAT_EDGES,
        "features",
    ),
    "gatv2": Case(GATv2Conv(4, 3), lambda: pyg.GATv2Conv(WIDTH, 4, 3), GATV2),
    "gatv2, one map, mean of heads": Case(
        GATv2Conv(4, 3, concat=False, share_weights=True, residual=True),
        lambda: pyg.GATv2Conv(WIDTH, 4, 3, concat=False, share_weights=True, residual=True),
        GATV2,
    ),
    "gatv2, loops as they are": Case(
        GATv2Conv(4, negative_slope=0.5, self_loops=False, use_bias=False),
        lambda: pyg.GATv2Conv(WIDTH, 4, negative_slope=0.5, add_self_loops=False, bias=False),
        GATV2,
    ),
    "gin": Case(GINConv(MLP, 0.25), lambda: pyg.GINConv(_mlp(), eps=0.25), GIN),
    "gin, trained epsilon": Case(GINConv(MLP, train_epsilon=True), lambda: pyg.GINConv(_mlp(), train_eps=True), GIN),
    "gine": Case(GINConv(MLP, train_epsilon=True), lambda: pyg.GINEConv(_mlp(), train_eps=True), GIN, "features"),
    "rgcn": Case(RGCNConv(4, 3), lambda: pyg.RGCNConv(WIDTH, 4, 3), RGCN, "types"),
    "rgcn, widening, no root": Case(
        RGCNConv(7, 3, root_weight=False, use_bias=False),
        lambda: pyg.RGCNConv(WIDTH, 7, 3, root_weight=False, bias=False),
        RGCN,
        "types",
    ),
    "rgcn, bases": Case(RGCNConv(4, 3, bases=2), lambda: pyg.RGCNConv(WIDTH, 4, 3, num_bases=2), RGCN, "types"),
    "rgcn, blocks": Case(RGCNConv(10, 3, blocks=5), lambda: pyg.RGCNConv(WIDTH, 10, 3, num_blocks=5), RGCN, "types"),
    "sgc": Case(SGConv(4, 2), lambda: pyg.SGConv(WIDTH, 4, 2), {"lin": "linear"}),
    "sgc, widening": Case(SGConv(7, 3), lambda: pyg.SGConv(WIDTH, 7, 3), {"lin": "linear"}),
}


def _our_params(named, names):
    """PyTorch Geometric's parameters as ours: kernels transposed, one leading axis less on attention and epsilon."""
    params = {}
    for name, value in named.items():
        module, _, kind = name.rpartition(".")
        if name in names or not module:
            path = names.get(name, name)
            value = value[0] if name == "eps" or name.startswith("att") else value
        else:
            path = f"{names[module]}/{'kernel' if kind == 'weight' else kind}"
            value = value.T if kind == "weight" else value
        *parents, last = path.split("/")
        at = params
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return {"params": params}


@functools.cache
def _expected(name, dtype):
    """Their arrays, output and gradients."""
    case = CASES[name]
    layer = case.theirs()
    arrays = {"x": node_features(dtype)}
    if "max" in name:
        arrays["x"][0] = 0.125  # of a maximum that is exactly zero, PyTorch passes on only half of the gradient
    for seed, (parameter, value) in enumerate(layer.named_parameters()):
        arrays[parameter] = numbers(seed + 10, dtype, *value.shape)
    extra = ()
    if case.extra == "types":
        extra = (torch.tensor(TYPES, dtype=torch.int64),)
    if case.extra == "features":
        arrays["edges"] = numbers(9, dtype, EDGES.senders.shape[0], WIDTH)
    index = torch_edges(EDGES)

    def theirs(x, edges=None, **parameters):
        edge_features = () if edges is None else (edges,)
        return torch.func.functional_call(layer, parameters, (x, index, *extra, *edge_features))

    width = layer(torch.tensor(arrays["x"]).float(), index, *extra, **_edge_attr(arrays)).shape[1]
    cotangent = numbers(3, dtype, NODES, width)
    return arrays, cotangent, torch_value_and_gradients(theirs, arrays, cotangent)


def _edge_attr(arrays):
    return {"edge_attr": torch.tensor(arrays["edges"]).float()} if "edges" in arrays else {}


def _every_case_or_one_a_family():
    """One case a family takes all layouts; typed edges are not grouped by degree."""
    families = {name.partition(",")[0]: name for name in reversed(CASES)}
    for name, case in CASES.items():
        others = [way for way in OTHER_WAYS if way[1] != "bucketed" or case.extra != "types"]
        for precision, layout in WAYS + (others if name in families.values() or "max" in name else []):
            yield pytest.param(name, precision, layout, id=f"{name}-{precision}-{layout}")


@pytest.mark.parametrize(("name", "precision", "layout"), list(_every_case_or_one_a_family()))
def test_layer(name, precision, layout):
    case = CASES[name]
    with at_precision(precision) as (dtype, tolerance):
        arrays, cotangent, expected = _expected(name, dtype)
        held = {"id": np.arange(EDGES.senders.shape[0])}
        if case.extra == "types":
            held["relation"] = TYPES
        graph = jax_graph(EDGES, held, arrays["x"], layout)
        order = (graph.edges if layout == "plain" else graph.edges.features)["id"]  # preparing sorts the edges

        def ours(x, edges=None, **named):
            edge_features = {} if edges is None else {"edges": edges[order]}
            return case.ours.apply(_our_params(named, case.names), graph, x, **edge_features)

        check(jax_value_and_gradients(ours, arrays, cotangent), expected, tolerance)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_masked_batch_norm_is_torchs_on_the_nodes_that_count(precision):
    """Two steps of training on all but the last two nodes, then running statistics."""
    with at_precision(precision) as (dtype, tolerance):
        mask = np.arange(NODES) < NODES - 2
        layer = torch.nn.BatchNorm1d(WIDTH).to(torch.float64 if dtype == np.float64 else torch.float32)
        arrays = {"x": node_features(dtype), "weight": numbers(1, dtype, WIDTH), "bias": numbers(2, dtype, WIDTH)}
        cotangent = numbers(3, dtype, NODES, WIDTH)
        cotangent[~mask] = 0.0
        stats = {"mean": jnp.zeros(WIDTH, dtype), "var": jnp.ones(WIDTH, dtype)}

        def theirs(x, weight, bias):
            out = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x[mask])
            return torch.cat([out, torch.zeros(2, WIDTH, dtype=out.dtype)])

        def ours(x, weight, bias, stats, train):
            variables = {"params": {"scale": weight, "bias": bias}, "batch_stats": stats}
            out, new = MaskedBatchNorm().apply(
                variables, x, use_running_average=not train, mask=jnp.asarray(mask), mutable=["batch_stats"]
            )
            return jnp.where(mask[:, None], out, 0.0), new["batch_stats"]

        for _ in range(2):
            arrays["x"] = arrays["x"] * dtype(2) + dtype(1)
            expected = torch_value_and_gradients(theirs, arrays, cotangent)
            got = jax_value_and_gradients(lambda s=stats, **a: ours(**a, stats=s, train=True)[0], arrays, cotangent)
            check(got, expected, 10 * tolerance)  # the gradient in x cancels
            stats = jax.jit(lambda a, s: ours(**a, stats=s, train=True)[1])(arrays, stats)
            np.testing.assert_allclose(stats["mean"], layer.running_mean, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(stats["var"], layer.running_var, rtol=tolerance)
        layer.eval()
        got = jax_value_and_gradients(lambda **a: ours(**a, stats=stats, train=False)[0], arrays, cotangent)
        check(got, torch_value_and_gradients(theirs, arrays, cotangent), tolerance)
