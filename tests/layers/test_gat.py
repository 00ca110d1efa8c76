import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import random_edges
from jax.test_util import check_grads
from layer_samples import EDGES, LAYOUTS, X, graph_of, numbers, params_of, run, value_of

from abkd_jax.layers import GATConv, GATv2Conv
from abkd_jax.layers import edge_logits as pairs
from abkd_jax.layers.edge_logits import pair_logits

NODES = range(9)
PAIRS = [(s, r) for s, r in zip(EDGES.senders.tolist(), EDGES.receivers.tolist(), strict=True)]
KEPT = np.arange(20) % 4 > 0


def _leaky(x, slope=0.2):
    return np.where(x > 0, x, slope * x)


def _attended(entries, sent, logit):
    """`[n, h, d]` by a loop over nodes; `entries` are the (sender, receiver) pairs that count."""
    out = np.zeros(sent.shape)
    for node in NODES:
        senders = [s for s, r in entries if r == node]
        if senders:
            logits = np.stack([logit(s, node) for s in senders])
            weights = np.exp(logits - logits.max(axis=0))
            out[node] = np.einsum("eh,ehd->hd", weights / weights.sum(axis=0), sent[senders])
    return out


def _entries(self_loops, keep=None):
    pairs = [pair for pair, kept in zip(PAIRS, np.ones(20) if keep is None else keep, strict=True) if kept]
    return [(s, r) for s, r in pairs if s != r] + [(v, v) for v in NODES] if self_loops else pairs


def _gat(layer, variables, keep=None):
    h = (X @ value_of(variables, "params/linear/kernel")).reshape(9, layer.heads, layer.features)
    sent, scale = h, np.ones(9)
    if layer.symmetric_norm:
        ends = np.array(_entries(layer.self_loops))
        leaving, entering = (np.maximum(np.bincount(ends[:, i], minlength=9), 1) for i in (0, 1))
        sent, scale = h / np.sqrt(leaving)[:, None, None], np.sqrt(entering)
    source = (sent * value_of(variables, "params/attention_sender")).sum(axis=-1)
    target = np.zeros((9, layer.heads))
    if layer.destination_term:
        target = (h * value_of(variables, "params/attention_receiver")).sum(axis=-1)
    logit = lambda s, r: _leaky(source[s] + target[r], layer.negative_slope)  # noqa: E731
    return _attended(_entries(layer.self_loops, keep), sent, logit) * scale[:, None, None]


def _finished(layer, variables, out):
    out = out.reshape(9, -1) if layer.concat else out.mean(axis=1)
    if layer.residual:
        out = out + X @ value_of(variables, "params/residual/kernel")
    return out + (value_of(variables, "params/bias") if layer.use_bias else 0.0)


GATS = {
    "one head": GATConv(4),
    "heads": GATConv(4, 3, negative_slope=0.5, residual=True),
    "loops as they are": GATConv(4, 2, concat=False, self_loops=False, use_bias=False),
    "the OGB teacher's": GATConv(4, 3, residual=True, destination_term=False, symmetric_norm=True),
    "degrees without loops": GATConv(4, 2, self_loops=False, symmetric_norm=True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", GATS)
def test_gat_conv_is_its_formula(layout, name):
    layer, graph = GATS[name], LAYOUTS[layout](graph_of(EDGES, X))
    variables = params_of(layer, graph, X)
    expected = _finished(layer, variables, _gat(layer, variables))
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["heads", "loops as they are", "the OGB teacher's"])
def test_edges_outside_the_mask_do_not_exist(name):
    """But for the degrees, which are those of the whole graph."""
    layer, graph = GATS[name], graph_of(EDGES, X)
    variables = params_of(layer, graph, X)
    got = jax.jit(layer.apply)(variables, graph, jnp.asarray(X), edge_mask=jnp.asarray(KEPT))
    expected = _finished(layer, variables, _gat(layer, variables, KEPT))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "layer",
    [GATv2Conv(4, 3), GATv2Conv(4, 2, concat=False, share_weights=True, self_loops=False, use_bias=False)],
    ids=["two maps", "one map"],
)
def test_gatv2_conv_is_its_formula(layout, layer):
    graph = LAYOUTS[layout](graph_of(EDGES, X))
    variables = params_of(layer, graph, X)

    def mapped(name):
        bias = value_of(variables, f"params/{name}/bias") if layer.use_bias else 0.0
        return (X @ value_of(variables, f"params/{name}/kernel") + bias).reshape(9, layer.heads, layer.features)

    sent = mapped("sender")
    received = sent if layer.share_weights else mapped("receiver")
    attention = value_of(variables, "params/attention")
    logit = lambda s, r: (_leaky(sent[s] + received[r]) * attention).sum(axis=-1)  # noqa: E731
    expected = _finished(layer, variables, _attended(_entries(layer.self_loops), sent, logit))
    np.testing.assert_allclose(run(layer, variables, graph, X), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [GATConv(9, dropout=0.5, use_bias=False), GATv2Conv(9, dropout=0.5, use_bias=False)])
def test_dropout_takes_attention_weights_whole(layer):
    """Each node sends its own unit vector, so that the output is the matrix of attention weights."""
    graph, x = graph_of(EDGES, np.eye(9, dtype=np.float32)), jnp.eye(9)
    variables = params_of(layer, graph, x)
    name = "linear" if isinstance(layer, GATConv) else "sender"
    variables["params"][name]["kernel"] = jnp.eye(9)

    def drop(key):
        return layer.apply(variables, graph, x, deterministic=False, rngs={"dropout": key})

    whole = np.asarray(run(layer, variables, graph, x))
    many = jax.jit(jax.vmap(drop))(jax.random.split(jax.random.key(0), 20))
    _, counts = np.unique(np.array(_entries(True)), axis=0, return_counts=True)
    shares = []
    for dropped in np.asarray(many):
        kept = dropped[whole > 0] / (2 * whole[whole > 0])
        multiples = np.concatenate([np.arange(c + 1) / c for c in np.unique(counts)])  # duplicates drop one by one
        assert np.abs(kept[:, None] - multiples).min(axis=1).max() < 1e-5
        shares.append(kept.mean())
    assert np.unique(shares).size > 10
    assert abs(np.mean(shares) - 0.5) < 0.1  # 20 x 26 weights: sd 0.02


def test_gradients_of_the_teachers_switches():
    """Against differences, in double precision."""
    layer = GATConv(2, 2, residual=True, destination_term=False, symmetric_norm=True)
    with jax.enable_x64(True):
        x = numbers(5, 9, 5).astype(np.float64)  # no zeros: there the LeakyReLU has a kink
        graph = LAYOUTS["prepared"](graph_of(EDGES, x))
        variables = jax.tree.map(lambda a: a.astype(np.float64), params_of(layer, graph, x))
        function = jax.jit(lambda variables, x: layer.apply(variables, graph, x))
        check_grads(function, (variables, x), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)


def test_parameters_start_as_glorots():
    """Uniform within sqrt(6 / (in + out)), attention vectors as matrices of heads and features; biases at zero."""
    x = np.ones((9, 40), np.float32)
    init = jax.jit(GATConv(60, 2).init)
    params = init(jax.random.key(0), graph_of(EDGES, x), x)["params"]
    for value, bound in [
        (params["linear"]["kernel"], (6 / 160) ** 0.5),
        (params["attention_sender"], (6 / 62) ** 0.5),
        (params["attention_receiver"], (6 / 62) ** 0.5),
    ]:
        assert 0.9 * bound < np.abs(value).max() <= bound
        assert float(jnp.std(value)) == pytest.approx(bound / 3**0.5, rel=0.1)
    np.testing.assert_array_equal(params["bias"], np.zeros(120))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_in_chunks_are_those_at_once(layout, monkeypatch):
    """Seven edges a chunk, of twenty: values and gradients."""
    graph = LAYOUTS[layout](graph_of(EDGES, X))
    inputs = [jnp.asarray(numbers(seed, 9, 2, 3)) for seed in (1, 2)] + [jnp.asarray(numbers(3, 2, 3))]
    cotangent = jnp.asarray(numbers(4, 20, 2))

    def value_and_gradients():
        out, pullback = jax.vjp(lambda *inputs: pair_logits(graph, *inputs, 0.2), *inputs)
        return out, pullback(cotangent)

    at_once = value_and_gradients()
    monkeypatch.setattr(pairs, "CHUNK_BYTES", 7 * 2 * 3 * 4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), value_and_gradients(), at_once)
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    sums = np.asarray(inputs[0])[senders] + np.asarray(inputs[1])[receivers]
    np.testing.assert_allclose(at_once[0], (_leaky(sums) * np.asarray(inputs[2])).sum(-1), rtol=1e-5, atol=1e-6)


def test_chunked_logits_hold_no_row_an_edge(monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK_BYTES", 2**16)
    edges, width = 20_000, 64
    x = np.zeros((500, width), np.float32)
    graph = graph_of(random_edges(0, 500, edges), x)

    def gradient(sent, attention):
        return jax.grad(lambda sent: jnp.sum(pair_logits(graph, sent, sent, attention, 0.2) ** 2))(sent)

    program = jax.jit(gradient).lower(jnp.zeros((500, 1, width)), jnp.zeros((1, width))).compile()
    assert program.memory_analysis().temp_size_in_bytes < edges * width * 4 / 4
