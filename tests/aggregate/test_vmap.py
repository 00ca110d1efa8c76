"""`vmap` over seeds and over graphs is a loop, for every aggregation, its gradients, and every backend."""

import jax
import numpy as np
import pytest
from aggregate_samples import (
    LAYOUTS,
    MANY,
    OPS,
    all_inputs,
    all_models,
    all_results,
    arranged,
    relabelled,
    same,
    typed_graph,
)


def _stacked(*trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@pytest.mark.parametrize(
    ("layout", "which"),
    [
        *((layout, "everything") for layout in LAYOUTS),
        *((layout, which) for layout in ("plain", "csr", "bucketed") for which in ("features", "edges")),
    ],
)
def test_over_seeds(layout, which):
    """Seeds that share the values of the edges, that share the features, and that share nothing."""
    axes = {
        name: [0 if which == "everything" or (shape[0] == "e") == (which == "edges") else None for shape in op.shapes]
        for name, op in OPS.items()
    }
    axes = {name: own for name, own in axes.items() if 0 in own}
    seeds = [all_inputs(MANY, seed, tuple(axes)) for seed in range(2)]
    loop, both = [], {}
    for name, own in axes.items():
        pairs = list(zip(seeds[0][0][name], seeds[1][0][name], own, strict=True))
        both[name] = [np.stack([a, b]) if axis == 0 else a for a, b, axis in pairs]
        seeds[1][0][name] = [b if axis == 0 else a for a, b, axis in pairs]
    loop = [all_models(MANY, *seed) for seed in seeds]
    got = jax.jit(jax.vmap(all_results, (None, axes, 0)))(
        arranged(typed_graph(MANY), layout), both, _stacked(*(s[1] for s in seeds))
    )
    same(got, _stacked(*loop))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_over_graphs(layout):
    """Relabelled nodes leave all shapes of the layout as they are, buckets included."""
    order = np.random.default_rng(1).permutation(9).astype(np.int32)
    lists = [MANY, relabelled(MANY, order)]
    graphs = [arranged(typed_graph(edges), layout) for edges in lists]
    inputs = [all_inputs(edges, seed) for seed, edges in enumerate(lists)]
    got = jax.jit(jax.vmap(all_results))(_stacked(*graphs), *(_stacked(*pair) for pair in zip(*inputs, strict=True)))
    same(got, _stacked(*(all_models(edges, *own) for edges, own in zip(lists, inputs, strict=True))))
