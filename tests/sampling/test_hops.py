"""Layers trimmed to their hops beside layers that compute all rows: the same numbers and gradients at the roots."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from graphs import edge_lists, quick, random_edges
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_samples import CLASSES, HIDDEN, STACKS
from sampling_samples import typed_dataset

from abkd_jax import aggregate, models
from abkd_jax.graph import from_edges, num_nodes, prepare
from abkd_jax.graph.hops import hop_blocks, with_hops
from abkd_jax.graph.host import HostGraph, host_graph
from abkd_jax.layers import GATConv
from abkd_jax.models.stack import UNROLLED
from abkd_jax.sampling import neighbour_batches

FAN_OUTS = (3, 2, 2)


def graph_of(edges, *, weighted: bool = False, features: int = 0) -> HostGraph:
    rng, e = np.random.default_rng(3), edges.senders.shape[0]
    return host_graph(
        typed_dataset(edges, typed=False)._replace(
            edge_weights=rng.uniform(0.5, 2.0, e).astype(np.float32) if weighted else None,
            edge_features=rng.normal(size=(e, features)).astype(np.float32) if features else None,
        )
    )


def both(graph, layers, *, roots=8, fan_outs=FAN_OUTS, seed=1, platform=None):
    """The same minibatches, trimmed for a platform, and as they are for a CPU."""
    choices = ({"layers": layers, "platform": platform}, {"platform": "cpu"})
    made = (neighbour_batches(graph, roots, fan_outs, **options) for options in choices)
    return list(zip(*(sampler(np.random.default_rng(seed)) for sampler in made), strict=True))


def on_backend(batch, backend):
    layout = batch.graph.edges
    info = layout.info.__class__(layout.info.nodes, layout.info.edges, backend)
    return batch._replace(graph=batch.graph._replace(edges=layout._replace(info=info)))


@functools.partial(jax.jit, static_argnums=0)
def results(model, variables, x, batch):
    """Rows of the roots of all outputs, and gradients of a loss of them; with dropout, where the model has any."""
    mask = batch.masks.all[:, None]

    def loss(variables, x):
        out = model.apply(variables, batch.graph._replace(nodes=x), train=True, rngs={"dropout": jax.random.key(4)})
        rows = [jnp.where(mask, leaf, 0.0) for leaf in jax.tree.leaves(out)]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in rows), rows

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, x)


def variables_of(model, batch):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch.graph)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.1, 0.5, leaf.shape), leaf.dtype), shapes)


def check(model, pair, backend="auto"):
    trimmed, whole = on_backend(pair[0], backend), on_backend(pair[1], "auto" if backend == "bucketed" else backend)
    variables = variables_of(model, whole)
    found, expected = (results(model, variables, batch.graph.nodes, batch) for batch in (trimmed, whole))
    assert any(np.abs(leaf).max(initial=0.0) > 1e-3 for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), found, expected)


def stack(name, layers=3, **options):
    kind, own = STACKS[name]
    return kind(HIDDEN, layers, CLASSES, **own, **options)


class WithoutLoops(models.GAT):
    """Attention to the edges that there are."""

    def attention(self):
        return functools.partial(super().attention(), self_loops=False)


TEACHER = {"heads": 2, "destination_term": False, "symmetric_norm": True, "residual": "linear"}  # of ogbn-arxiv, by OGB
CASES = {
    "gcn": stack("gcn", residual="identity"),
    "mean": stack("graphsage", residual="linear", norm="layer", dropout=0.3),
    "max": stack("graphsage", aggregation="max", jumping="max"),
    "gat": stack("gat", attention_dropout=0.3, edge_dropout=0.2, dropout=0.2),
    "gat of edge features": stack("gat", edge_features=2, destination_term=False),
    "gat of degrees": models.GAT(HIDDEN, 3, CLASSES, edge_dropout=0.2, **TEACHER),
    "gat of degrees without loops": WithoutLoops(HIDDEN, 3, CLASSES, edge_dropout=0.2, **TEACHER),
    "gatv2": stack("gatv2", jumping="last"),
    "gin": stack("gin", jumping="cat"),
    "gin of edge features": stack("gin", edge_features=2),
    "mlp": stack("mlp"),
}
SUMS = "mean", "max", "gat", "gat of degrees without loops", "gin of edge features"  # all that a backend computes


@pytest.mark.parametrize(
    ("name", "platform", "backend"),
    [
        *((name, "cpu", "auto") for name in CASES),
        *((name, *of) for name in SUMS for of in (("cpu", "segment"), ("tpu", "bucketed"))),
        ("mean", "cpu", "csr"),
        ("gcn", "cpu", "dense"),
        *(("gcn", "tpu", of) for of in ("auto", "segment")),
    ],
)
def test_roots_have_the_numbers_and_gradients_of_all_rows(name, platform, backend):
    """On every backend; a TPU's minibatches have slots, in which `bucketed` runs on a CPU too."""
    graph = graph_of(random_edges(1, 60, 200), weighted=True, features=2)
    pair = both(graph, 3, platform=platform)[0]
    assert len(pair[0].graph.edges.hops) == 3
    check(CASES[name], pair, backend)


@pytest.mark.parametrize(
    ("depth", "made_for", "hops", "name", "platform", "backend"),
    [
        *((*of, "gcn", "cpu", "auto") for of in ((2, 3, 3), (3, 1, 1), (4, 4, 3))),
        (4, 4, 3, "gcn", "tpu", "bucketed"),
        (3, 1, 1, "gat of degrees", "cpu", "auto"),
    ],
)
def test_any_depth_reads_any_hops(name, depth, made_for, hops, platform, backend):
    """Layers further away than the hops that there are compute all rows."""
    graph = graph_of(random_edges(1, 60, 200))
    pair = both(graph, made_for, platform=platform)[0]
    assert len(pair[0].graph.edges.hops) == hops
    check(CASES[name].clone(layers=depth), pair, backend)


@settings(quick, max_examples=6)
@given(edge_lists([(9, 20), (9, 60)]), st.integers(0, 9))
def test_any_graph(edges, seed):
    check(CASES["mean"].clone(layers=2, dropout=0.0), both(graph_of(edges), 2, roots=2, fan_outs=(3, 2), seed=seed)[-1])


@quick
@given(
    edge_lists([(1, 0), (5, 0), (9, 20), (9, 60)]),
    st.sampled_from([(3, 2, 2), (1, 0), (-1,), (2, -1, 50)]),
    st.integers(1, 4),
    st.integers(0, 9),
    st.sampled_from(["cpu", "tpu"]),
)
@example(random_edges(1, 60, 200), (3, 2, 2), 3, 0, "cpu")  # padding is beyond the rows of every block
@example(random_edges(1, 60, 200), (3, 2, 2), 3, 0, "tpu")
def test_blocks_hold_the_edges_into_the_nodes_within_their_hops(edges, fan_outs, layers, seed, platform):
    """By the edges of the batch, in plain Python; transposes are the same entries by column."""
    made = both(graph_of(edges, weighted=True), layers, roots=2, fan_outs=fan_outs, seed=seed, platform=platform)
    trimmed, whole = made[-1]
    layout, size = whole.graph.edges, num_nodes(whole.graph)
    real = int(whole.graph.n_edge[0])
    ends = zip(layout.pattern.rows[:real].tolist(), layout.pattern.cols[:real].tolist(), strict=True)
    listed = [*zip(ends, layout.coefficients.tolist(), strict=False)]  # ((receiver, sender), coefficient)
    within = set(np.flatnonzero(whole.masks.all).tolist())
    blocks = hop_blocks(trimmed.graph)
    assert len(blocks) in (min(layers, len(fan_outs)), len(fan_outs))
    for block in blocks:
        rows, columns = block.edges.pattern.shape
        assert set(range(int(block.n_node[0]))) == within
        assert (aggregate.num_receivers(block), num_nodes(block)) == (rows, columns)
        assert len(within) < rows <= columns <= size
        expected = [entry for entry in listed if entry[0][0] in within]
        pattern = jax.tree.map(np.asarray, block.edges.pattern)
        found = zip(pattern.rows.tolist(), pattern.cols.tolist(), strict=True)
        assert [*zip(found, block.edges.coefficients.tolist(), strict=True)][: int(block.n_edge[0])] == expected
        np.testing.assert_array_equal(pattern.rows_t, pattern.rows[pattern.order_t])
        np.testing.assert_array_equal(pattern.cols_t, pattern.cols[pattern.order_t])
        np.testing.assert_array_equal(np.diff(pattern.row_ptr), np.bincount(pattern.rows, minlength=rows))
        np.testing.assert_array_equal(np.diff(pattern.col_ptr), np.bincount(pattern.cols, minlength=columns))
        assert (np.diff(pattern.cols_t) >= 0).all()
        within |= {sender for (_, sender), _ in expected}
        assert len(within) < columns


@pytest.mark.parametrize("self_loops", [True, False])
def test_degrees_of_a_block_are_those_of_the_batch(self_loops):
    """Loops of its last nodes are in later blocks alone; with its own degrees a block has other numbers."""
    senders, receivers = np.array([(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2), (2, 2)]).T
    x = jnp.asarray(np.random.default_rng(2).normal(size=(6, 4)), jnp.float32)
    graph = prepare(from_edges(senders, receivers, num_nodes=6, nodes=x), buckets=False)
    blocks = hop_blocks(with_hops(graph, [(1, 2), (2, 5), (3, 7)], [(2, 2), (3, 5), (4, 7)]))
    layer = GATConv(3, 2, symmetric_norm=True, self_loops=self_loops)
    variables, run = jax.jit(layer.init)(jax.random.key(0), graph, x), jax.jit(layer.apply)
    expected = run(variables, graph, x)
    for reached, block in enumerate(blocks, 1):
        counted = block._replace(edges=block.edges._replace(degrees=None))
        found, other = (run(variables, of, of.nodes)[:reached] for of in (block, counted))
        np.testing.assert_allclose(found, expected[:reached], rtol=1e-5, atol=1e-6)
        assert (np.abs(other - found).max() > 1e-2) == (reached < 3)


@pytest.mark.parametrize(("platform", "backend"), [("cpu", "auto"), ("tpu", "bucketed")])
def test_batches_of_an_epoch_share_a_program_and_rows_below_the_hops_are_zero(platform, backend):
    graph = graph_of(random_edges(1, 60, 200))
    model = CASES["gcn"]
    batches = [on_backend(trimmed, backend) for trimmed, _ in both(graph, 3, platform=platform)]
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(batch)) for batch in batches}
    run = jax.jit(lambda v, graph: model.apply(v, graph))
    variables = variables_of(model, batches[0])
    assert len(shapes) < len(batches) == 8
    for batch in batches:
        out = run(variables, batch.graph)
        sizes = [hop.row_ptr.shape[0] - 1 for hop in batch.graph.edges.hops]
        for rows, output in zip(sizes, [out.logits, *reversed(out.hiddens)], strict=True):
            assert output.shape[0] == batch.masks.all.shape[0] > rows
            assert not np.any(output[rows:])
    assert run._cache_size() <= len(shapes)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_a_group_has_one_shape(platform):
    sampler = neighbour_batches(graph_of(random_edges(1, 60, 200)), 8, FAN_OUTS, layers=3, platform=platform)
    builds = next(sampler.groups(np.random.default_rng(0), 4))()
    first, *others = [build().batch for build in builds]
    for other in others:
        chex.assert_trees_all_equal_shapes_and_dtypes(first, other)


def test_batch_normalisation_counts_the_nodes_of_its_hop():
    """The first layer reads no edges: its statistics are those of NumPy over the nodes within two hops."""
    (trimmed, _), *_ = both(graph_of(random_edges(1, 60, 200)), 3)
    model = stack("mlp", norm="batch")
    variables = jax.jit(model.init)(jax.random.key(0), trimmed.graph)
    _, new = model.apply(variables, trimmed.graph, train=True, mutable=["batch_stats"], rngs={})
    kernel, bias = (np.asarray(variables["params"]["dense_0"][name]) for name in ("kernel", "bias"))
    seen = trimmed.graph.nodes[: int(trimmed.graph.edges.hops[2].reached)] @ kernel + bias
    np.testing.assert_allclose(new["batch_stats"]["norm_0"]["mean"], 0.1 * seen.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [
        stack("gcn", layers=UNROLLED + 3),
        stack("gcn", readout="sum"),
        models.RGCN(HIDDEN, 3, CLASSES),
        models.GCNII(HIDDEN, 3, CLASSES),
    ],
)
def test_other_models_compute_all_rows(model):
    (trimmed, whole), *_ = both(graph_of(random_edges(1, 60, 200)), 3)
    variables = variables_of(model, whole)
    found, expected = (jax.jit(model.apply)(variables, batch.graph) for batch in (trimmed, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)
    assert not getattr(model, "trims", False)


def test_batches_without_hops():
    batch = next(neighbour_batches(graph_of(random_edges(1, 60, 200)), 8, FAN_OUTS)(np.random.default_rng(0)))
    assert batch.graph.edges.hops == ()


def test_typed_batches_have_no_hops():
    graph = host_graph(typed_dataset(random_edges(1, 60, 200)))
    batch = next(neighbour_batches(graph, 8, FAN_OUTS, layers=3)(np.random.default_rng(0)))
    assert batch.graph.edges.hops == ()
