"""Weights of PyTorch Geometric's stacks: read and written, the outputs are those of the PyTorch model."""

import jax
import numpy as np
import pytest
from graphs import raw_graph
from numpy.testing import assert_allclose
from parity_samples import WIDTH, node_features, pyg, torch, torch_edges, unique_edges
from pyg_models import CLASSES, MODELS, RELATIONS, gcnii, library, numbered, randomised, relational, state_of

from abkd_jax.configs.options import ModelConfig
from abkd_jax.layers.output import Units, variables_of
from abkd_jax.models import build
from abkd_jax.models.pyg import from_state_dict, to_state_dict
from abkd_jax.types import InputError

EDGES = unique_edges(loops=False)
X = node_features(np.float32)
TYPES = np.arange(EDGES.senders.shape[0], dtype=np.int32) % RELATIONS


def theirs(name, model):
    edges = () if name == "mlp" else (torch_edges(EDGES),)
    typed = (torch.tensor(TYPES, dtype=torch.int64),) if name.startswith("rgcn") else ()
    with torch.no_grad():
        return model(torch.tensor(X), *edges, *typed).numpy()


def ours(config, variables):
    graph = raw_graph(EDGES, X)._replace(edges={"relation": TYPES})
    model = build(config, CLASSES, relations=RELATIONS)
    return jax.jit(lambda variables: model.apply(variables, graph).logits)(variables)


def read(config, state, **changes):
    return from_state_dict(config, state, **{"features": WIDTH, "classes": CLASSES, "relations": RELATIONS} | changes)


@pytest.mark.parametrize("name", MODELS)
def test_weights_give_the_same_outputs_both_ways(name):
    config, make, loads_again = MODELS[name]
    model = randomised(make())
    expected = theirs(name, model)
    variables = read(config, state_of(model))
    assert_allclose(ours(config, variables), expected, rtol=1e-5, atol=1e-5)
    written = to_state_dict(config, variables)
    again = read(config, written)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-6), again, variables)
    if loads_again:
        fresh = make().eval()
        fresh.load_state_dict({key: torch.tensor(value) for key, value in written.items()})
        assert_allclose(theirs(name, fresh), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_units_of_real_targets_are_inside_the_last_layer(name):
    config, make, loads_again = MODELS[name]
    variables = read(config, state_of(randomised(make())))
    units = Units(np.array([8.0, 0.25, 3.0], np.float32), np.array([100.0, -1.0, 0.0], np.float32))
    in_units = {**variables, **variables_of(units)}
    expected = np.asarray(ours(config, variables)) * units.scale + units.shift
    assert_allclose(ours(config, in_units), expected, rtol=1e-6)
    written = to_state_dict(config, in_units)
    assert_allclose(ours(config, read(config, written)), expected, rtol=1e-5, atol=1e-4)
    if loads_again:
        fresh = make().eval()
        fresh.load_state_dict({key: torch.tensor(value) for key, value in written.items()})
        assert_allclose(theirs(name, fresh), expected, rtol=1e-5, atol=1e-4)


def test_all_types_of_nodes_share_the_root_weight():
    config, model = ModelConfig("rgcn", 2, 4), randomised(relational())
    variables = read(config, state_of(model), node_types=2)
    graph = raw_graph(EDGES, {"features": X, "type": np.arange(9, dtype=np.int32) % 2})
    typed = build(config, CLASSES, relations=RELATIONS, node_types=2)
    logits = jax.jit(typed.apply)(variables, graph._replace(edges={"relation": TYPES})).logits
    assert_allclose(logits, theirs("rgcn", model), rtol=1e-5, atol=1e-5)


GCN = ModelConfig("gcn", 2, 4)


def changed(make, **tensors):
    """The state of a model with other tensors; None takes one away."""

    def state():
        found = state_of(make()) | {name.replace("__", "."): value for name, value in tensors.items()}
        return {name: value for name, value in found.items() if value is not None}

    return state


def two_gcn():
    return library.GCN(WIDTH, 4, 2, CLASSES)


FOREIGN = {
    "a tensor is missing": (GCN, changed(two_gcn, convs__1__bias=None), "no convs.1.bias, expected it for"),
    "a tensor without counterpart": (GCN, changed(two_gcn, convs__0__scale=np.ones(4)), "convs.0.scale (4,) has no"),
    "one parameter twice": (
        GCN,
        changed(two_gcn, conv_0__bias=np.zeros(4, np.float32)),
        "both conv_0.bias and convs.0.bias are the parameter params/conv_0/bias",
    ),
    "another width": (
        ModelConfig("gcn", 2, 8),
        changed(two_gcn),
        "the file has hidden 4, layers 2; expected hidden 8, layers 2",
    ),
    "another depth": (ModelConfig("gcn", 3, 4), changed(two_gcn), "layers 2; expected hidden 4, layers 3"),
    "a gcn as gat": (ModelConfig("gat", 2, 4), changed(two_gcn), "no convs.0.att_dst, expected it for the parameter"),
    "other classes": (
        GCN,
        lambda: state_of(library.GCN(WIDTH, 4, 2, 7)),
        "convs.1.bias, here params/conv_1/bias, is (7,), expected (3,)",
    ),
    "other features": (GCN, lambda: state_of(library.GCN(6, 4, 2, CLASSES)), "is (6, 4), expected (5, 4)"),
    "NaN": (GCN, changed(two_gcn, convs__0__bias=np.full(4, np.nan, np.float32)), "convs.0.bias holds NaN"),
    "integers": (GCN, changed(two_gcn, convs__0__bias=np.zeros(4, np.int64)), "convs.0.bias is int64, expected floats"),
    "a vector as kernel": (
        GCN,
        changed(two_gcn, convs__0__lin__weight=np.zeros(4, np.float32)),
        "convs.0.lin.weight is (4,), expected [out, in]",
    ),
    "a norm that the settings do not name": (
        ModelConfig("gcn", 3, 4),
        lambda: state_of(library.GCN(WIDTH, 4, 3, CLASSES, norm="batch_norm")),
        "norms.0.module.running_mean is the parameter batch_stats/norm_0/mean, which the model of the settings",
    ),
    "an MLP with its own norm": (
        ModelConfig("gin", 3, 4, norm="batch"),
        lambda: state_of(library.GIN(WIDTH, 4, 3, CLASSES, norm="batch_norm")),
        "convs.0.nn.norms.0.module.bias (4,) has no counterpart in gin",
    ),
    "an epsilon": (
        ModelConfig("gin", 2, 4),
        changed(lambda: library.GIN(WIDTH, 4, 2, CLASSES), convs__0__eps=np.array([0.5], np.float32)),
        "convs.0.eps is 0.5, expected 0",
    ),
    "heads of the last layer": (
        ModelConfig("gat", 2, 4, heads=2),
        lambda: state_of(library.GAT(WIDTH, 4, 2, CLASSES, heads=2)),
        "output_heads 2; expected hidden 4, layers 2, heads 2, output_heads 1",
    ),
    "edge features": (
        ModelConfig("gat", 2, 4),
        lambda: state_of(numbered(lambda a, b: pyg.GATConv(a, b, edge_dim=2), (WIDTH, 4, CLASSES))),
        "conv1.att_edge (1, 1, 4) has no counterpart in gat",
    ),
    "GCNII* as GCNII": (
        ModelConfig("gcnii", 3, 4),
        lambda: state_of(gcnii(3, shared_weights=False)),
        "convs.0.weight2 (4, 4) has no counterpart in gcnii",
    ),
    "a sign": (ModelConfig("sign", 2, 4), dict, "sign has no counterpart in PyTorch Geometric"),
    "no tensors": (GCN, dict, "no convs.0.bias"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_weights_are_refused_by_the_name_of_the_tensor(case):
    config, state, message = FOREIGN[case]
    with pytest.raises(InputError) as caught:
        read(config, state())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "params", "message"),
    [
        (ModelConfig("gat", 2, 4, symmetric_norm=True), {}, "symmetric_norm True has no counterpart"),
        (ModelConfig("gcnii", 2, 4, repeated=True), {}, "repeated True has no counterpart"),
        (ModelConfig("gin", 2, 4), {"atoms": {"table_0": np.ones((2, 4))}}, "atoms/table_0 has no counterpart"),
        (ModelConfig("rgcn", 2, 4), {"input": {"embedding": np.ones((2, 4))}}, "input/embedding has no counterpart"),
        (
            ModelConfig("rgcn", 2, 4),
            {"conv_0": {"root": {"bias": np.ones((2, 4))}}},
            "conv/root/bias has no counterpart",
        ),
    ],
    ids=["option", "repeated", "categories", "embeddings", "types"],
)
def test_what_pytorch_geometric_lacks_is_not_written(config, params, message):
    with pytest.raises(InputError, match=message):
        to_state_dict(config, {"params": params})
