"""What stacks share: options against dense NumPy, the scan against the written-out layers, readout, compute type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import dense_normalised
from model_samples import (
    CLASSES,
    EDGES,
    HIDDEN,
    NAMES,
    NODES,
    STACKS,
    X,
    assert_close,
    initialised,
    make,
    trained_once,
    typed_graph,
)

from abkd_jax import models
from abkd_jax.graph import pad_to_bucket
from abkd_jax.models import stack

KEY = jax.random.key(7)
DEPTH = 8  # of which 6 are equal: more than are written out


def _reference(params, matrix, norm, residual, jumping):
    """A GCN of 3 layers in NumPy float64, in train mode: hiddens and logits."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    h, hiddens = X.astype(np.float64), []

    def conv(h, i):
        out = matrix @ h @ p[f"conv_{i}"]["kernel"] + p[f"conv_{i}"]["bias"]
        return out + (h @ p[f"residual_{i}"]["kernel"] if residual == "linear" else 0.0)

    for i in range(3 if jumping else 2):
        out = conv(h, i) + (h if residual == "identity" and i else 0.0)
        if norm != "none":
            axis = 0 if norm == "batch" else 1
            centred = out - out.mean(axis=axis, keepdims=True)
            scaled = centred / np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-5)
            out = scaled * p[f"norm_{i}"]["scale"] + p[f"norm_{i}"]["bias"]
        h = np.maximum(out, 0.0)
        hiddens.append(h)
    if not jumping:
        return hiddens, conv(h, 2)
    joined = {"last": h, "cat": np.concatenate(hiddens, axis=1), "max": np.max(hiddens, axis=0)}[jumping]
    return hiddens, joined @ p["output"]["kernel"] + p["output"]["bias"]


@pytest.mark.parametrize(
    ("norm", "residual", "jumping"),
    [("batch", "identity", None), ("layer", "linear", "cat"), ("none", "identity", "max"), ("batch", "linear", "last")],
)
def test_options_are_their_formulas(norm, residual, jumping):
    model = models.GCN(HIDDEN, 3, CLASSES, norm=norm, residual=residual, jumping=jumping)
    variables = initialised(model)
    _, out, _ = trained_once(model)(variables, typed_graph(), KEY)
    hiddens, logits = _reference(variables["params"], dense_normalised(EDGES), norm, residual, jumping)
    assert len(out.hiddens) == len(hiddens)
    for got, expected in zip([*out.hiddens, out.logits], [*hiddens, logits], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", STACKS)
def test_classifier_reads_the_last_hidden_layer_after_dropout(name):
    """`output` as the identity: each logit is 0 or twice the unit, which hiddens show before dropout."""
    kind, own = STACKS[name]
    model = kind(HIDDEN, 2, HIDDEN, **own, dropout=0.5, jumping="last", norm="layer")
    variables = initialised(model)
    variables["params"]["output"] = {"kernel": jnp.eye(HIDDEN), "bias": jnp.zeros(HIDDEN)}
    _, out, _ = trained_once(model)(variables, typed_graph(), KEY)
    assert len(out.hiddens) == 2
    logits, last = np.asarray(out.logits), np.asarray(out.hiddens[-1])
    dropped = (logits == 0.0) & (last != 0.0)
    np.testing.assert_allclose(logits[~dropped], 2.0 * last[~dropped], rtol=1e-5)
    assert 0 < dropped.sum() < np.count_nonzero(last)


def _written_out(tree):
    """Variables of the scan as those of layers one after the other."""
    blocks = tree.pop("blocks")
    for part, leaves in blocks.items():
        for i in range(DEPTH - 2):
            tree[f"{part}_{i + 1}"] = jax.tree.map(lambda leaf, i=i: leaf[i], leaves)
    return tree


@pytest.mark.parametrize("name", ["gcn", "gat", "rgcn", "mlp"])
def test_scan_is_the_layers_written_out_and_remat_changes_nothing(name, monkeypatch):
    options = {"residual": "identity" if name == "gcn" else "linear", "layers": DEPTH}
    scanned = make(name, **options)
    variables, graph = initialised(scanned), typed_graph()
    expected = trained_once(scanned)(variables, graph, KEY)
    assert_close(trained_once(make(name, remat=True, **options))(variables, graph, KEY), expected)
    monkeypatch.setattr(stack, "UNROLLED", DEPTH)
    split = {name: _written_out(dict(tree)) for name, tree in variables.items()}
    gradients, out, state = trained_once(make(name, **options))(split, graph, KEY)
    assert_close(gradients, _written_out(dict(expected[0])), rtol=1e-3, atol=1e-3)
    assert_close(out, expected[1])
    assert_close(state["batch_stats"], _written_out(dict(expected[2]["batch_stats"])))


@pytest.mark.parametrize("name", ["gcnii", "graphsage", "gatv2", "gin"])
def test_64_layers_trace_to_a_program_as_long_as_8(name):
    lengths = []
    for layers in (DEPTH, 64):
        model = make(name, layers=layers)
        shapes = jax.eval_shape(model.init, KEY, typed_graph())
        lengths.append(len(jax.jit(model.apply).lower(shapes, typed_graph()).as_text()))
    assert lengths[1] < 2 * lengths[0]  # 56 more hiddens to hand out, but not one more layer


def test_gcnii_remat_has_the_same_gradients_and_its_variant_and_residual_their_formula():
    options = {"variant": True, "residual": "identity", "norm": "none", "alpha": 0.2, "lam": 0.7, "layers": 2}
    model = make("gcnii", **options)
    variables, graph = initialised(model), typed_graph()
    expected = trained_once(model)(variables, graph, KEY)
    assert_close(trained_once(make("gcnii", remat=True, **options))(variables, graph, KEY), expected)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    h = h0 = np.maximum(X @ p["input"]["kernel"] + p["input"]["bias"], 0.0)
    for layer, kernel in enumerate(p["blocks"]["conv"]["kernel"], start=1):
        theta, near = np.log(0.7 / layer + 1), dense_normalised(EDGES) @ h
        mapped = np.concatenate([near, h0], axis=1) @ kernel
        h = np.maximum(theta * mapped + (1 - theta) * (0.8 * near + 0.2 * h0) + h, 0.0)
    np.testing.assert_allclose(
        expected[1].logits, h @ p["output"]["kernel"] + p["output"]["bias"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["gin", "gcnii"])
def test_readout_gives_the_logits_of_graphs(name):
    """A padded batch: the graph and, as the last part, its padding, which counts for nothing."""
    options = {"norm": "none", "layers": 2}
    model = make(name, readout="sum", **options)
    variables = initialised(model)
    graph = pad_to_bucket(typed_graph())
    out = jax.jit(model.apply)(variables, graph)
    assert out.logits.shape == (2, CLASSES)
    assert [hidden.shape for hidden in out.hiddens] == [(16, HIDDEN)] * 2
    p = variables["params"]["output"]
    expected = np.asarray(out.hiddens[-1])[:NODES].sum(axis=0) @ np.asarray(p["kernel"]) + np.asarray(p["bias"])
    np.testing.assert_allclose(out.logits[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_a_matter_of_computing_alone(name):
    """Parameters, statistics and logits stay float32; hidden layers do not, scanned or not."""
    layers = 3 if name in ("sign", "gin") else DEPTH
    model = make(name, layers=layers, dtype=jnp.bfloat16)
    variables = jax.eval_shape(model.init, KEY, typed_graph())
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    out = jax.eval_shape(model.apply, variables, typed_graph())
    assert out.logits.dtype == jnp.float32
    assert {hidden.dtype for hidden in out.hiddens} == {jnp.dtype(jnp.bfloat16)}


def test_bfloat16_is_near_float32():
    variables, graph = initialised(make("graphsage")), typed_graph()
    wide, narrow = (jax.jit(make("graphsage", dtype=t).apply)(variables, graph).logits for t in (None, jnp.bfloat16))
    np.testing.assert_allclose(narrow, wide, rtol=0.05, atol=0.1)
    assert (np.asarray(narrow) != np.asarray(wide)).any()
