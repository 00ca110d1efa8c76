"""The sample of the teacher's outputs, and distillation steps on minibatches that decompose nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill.distill_samples import DECOMPOSITIONS, primitives
from numpy.testing import assert_allclose, assert_array_equal
from problem_samples import graph_dataset, typed_dataset

from abkd_jax import distill, sampling
from abkd_jax.configs.options import MethodConfig, ModelConfig, OptimConfig
from abkd_jax.distill.build import LossContext, build_objective
from abkd_jax.graph.host import host_graph
from abkd_jax.models import build
from abkd_jax.training.step import init_state, make_distill_step, make_optimizer, with_teacher_targets
from abkd_jax.training.tasks import classification
from abkd_jax.training.teacher_sample import make_sample_outputs
from abkd_jax.types import GNNOutput, InputError

TYPED = {"relations": 3, "node_types": 2, "embeddings": 40}


def teacher(variables, graph):
    """A function of the features alone."""
    h = jnp.tanh(graph.nodes["features"] * variables)
    return GNNOutput(h[:, :2], (h, h[:, 1:]))


def walks():
    return sampling.walk_batches(host_graph(typed_dataset()), roots=8, length=2, steps=6)


def test_rows_are_those_of_four_batches():
    batches = list(walks()(np.random.default_rng(3)))
    out, masks = make_sample_outputs(teacher, rows=20)(2.0, batches)
    of_losses = [np.flatnonzero(batch.masks.all) for batch in batches[:4]]
    assert all(len(nodes) > 5 for nodes in of_losses)
    expected = [teacher(2.0, b.graph).hiddens[0][n] for b, n in zip(batches, of_losses, strict=False)]
    spread = [np.linspace(0, len(nodes) - 1, 5).astype(int) for nodes in of_losses]
    rows = np.concatenate([np.asarray(h)[s] for h, s in zip(expected, spread, strict=True)])
    assert_allclose(out.hiddens[0], rows, rtol=1e-6)
    assert [len(leaf) for leaf in jax.tree.leaves((out, masks))] == [20] * 5
    assert masks.all.all()
    trained = [b.masks.train[n][s] for b, n, s in zip(batches, of_losses, spread, strict=False)]
    assert_array_equal(masks.train, np.concatenate(trained))
    whole, _ = make_sample_outputs(teacher)(2.0, batches)
    assert len(whole.logits) == sum(map(len, of_losses))


def test_stored_outputs_and_logits_of_graphs():
    batch = next(iter(sampling.graph_batches(graph_dataset(), 8)(np.random.default_rng(0))))
    hidden = np.arange(batch.masks.all.shape[0], dtype=np.float32)[:, None]
    stored = GNNOutput(np.ones((batch.masks.graphs.shape[0], 1), np.float32), (hidden,))
    out, masks = make_sample_outputs(None)({}, [batch._replace(targets=stored)] * 2)
    assert_array_equal(out.hiddens[0][:, 0], np.tile(np.flatnonzero(batch.masks.all), 2))
    assert len(out.logits) == len(masks.graphs) == 2 * len(stored.logits)


def test_no_batch_is_refused():
    with pytest.raises(InputError, match="over no minibatch, expected at least one"):
        make_sample_outputs(teacher)(1.0, [])


@pytest.mark.parametrize(
    ("name", "dissimilarity"),
    [(name, "closed_form") for name in ("graphsage", "gat", "rgcn", "gin")]
    + [("graphsage", name) for name in ("fixed_axes", "cka", "trained_heads")],
)
def test_no_sampled_step_decomposes_a_matrix(name, dissimilarity):
    """Traced, not compiled. The student's small ridge system is inverted: a factorisation of its own width."""
    method = MethodConfig(soft_label_weight=1.0, alignment_weight=0.1, dissimilarity=dissimilarity)
    objective = build_objective(method, LossContext(minibatches=True))
    assert objective is not None
    batch = next(iter(walks()(np.random.default_rng(0))))
    models = [build(ModelConfig(name=name, layers=2, hidden=h), 3, **TYPED) for h in (8, 4)]
    variables = jax.eval_shape(models[0].init, jax.random.key(0), batch.graph)
    outs = [
        jax.eval_shape(m.apply, jax.eval_shape(m.init, jax.random.key(0), batch.graph), batch.graph) for m in models
    ]
    optimizer = make_optimizer(OptimConfig())
    step = with_teacher_targets(
        make_distill_step(models[1], objective, optimizer, classification()), objective, models[0].apply
    )
    params = jax.eval_shape(objective.init, jax.random.key(0), *outs)
    state = jax.eval_shape(
        lambda params: init_state(jax.random.key(0), models[1], optimizer, batch, objective_params=params), params
    )
    zeros = jax.tree.map(lambda x: np.zeros((9, *x.shape[1:]), x.dtype), outs[0])
    of_sample = batch.masks._replace(all=np.ones(9, bool), train=np.ones(9, bool))
    basis = distill.teacher_basis(objective, zeros, of_sample)
    found = primitives(jax.make_jaxpr(step)(state, batch, variables, basis).jaxpr)
    assert "dot_general" in found
    assert not found & DECOMPOSITIONS
    if dissimilarity == "closed_form":
        assert primitives(jax.make_jaxpr(step)(state, batch, variables).jaxpr) & DECOMPOSITIONS
