"""Targets of minibatches with a basis of the teacher: the form of every batch for itself, and no decomposition."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import DECOMPOSITIONS, EDGELESS, make_output, primitives, random_params
from numpy.testing import assert_allclose

from abkd_jax import distill
from abkd_jax.types import GNNOutput, NodeMasks

MASK = np.arange(40) % 4 > 0
TEACHER = make_output(0, (5, 3, 6), n=40)
STUDENT = make_output(1, (4, 2), n=40)
MEMBERS = {
    "closed_form": distill.closed_form(3, rank=4),
    "closed_form of all axes": distill.closed_form(9),
    "fixed_axes": distill.fixed_axes(3, rank=4),
    "cka": distill.cka(rank=4),
    "trained_heads": distill.trained_heads(4, rank=4),
}


def on_host(output: GNNOutput) -> Any:
    return jax.tree.map(np.array, output)


def both_ways(loss, teacher, student, mask, sample=None, sample_mask=None):
    """D with targets of the batch alone, and with a basis of the sample; NumPy arrays."""
    params = random_params(loss, teacher, student)
    sample, sample_mask = (teacher, mask) if sample is None else (sample, sample_mask)
    basis = distill.teacher_basis(loss, on_host(sample), np.asarray(sample_mask))

    @jax.jit
    def values(basis, teacher, student, mask):
        context = {"graph": EDGELESS, "mask": mask}
        alone = loss.targets(teacher, **context)
        given = distill.batch_targets(loss, basis, teacher, **context)
        return [loss.apply(params, targets, student, **context, key=None)[0] for targets in (alone, given)]

    return [np.asarray(d) for d in values(basis, teacher, student, jnp.asarray(mask))]


def with_junk(output: GNNOutput, mask) -> GNNOutput:
    return output._replace(hiddens=tuple(jnp.where(jnp.asarray(mask)[:, None], h, jnp.nan) for h in output.hiddens))


@pytest.mark.parametrize("name", ["closed_form", "closed_form of all axes", "fixed_axes"])
def test_a_basis_of_the_batch_itself_gives_its_own_targets(name):
    """Rows outside the mask hold NaN; the mean is far from zero."""
    far = TEACHER._replace(hiddens=tuple(h + 100.0 for h in TEACHER.hiddens))
    alone, given = both_ways(MEMBERS[name], with_junk(far, MASK), STUDENT, MASK)
    if name == "closed_form":  # which is not reduced to 4 directions in batches
        alone, _ = both_ways(distill.closed_form(3), with_junk(far, MASK), STUDENT, MASK)
    elif name == "fixed_axes":
        alone, _ = both_ways(distill.fixed_axes(3), with_junk(far, MASK), STUDENT, MASK)
    assert_allclose(given, alone, rtol=2e-3, atol=2e-4)


def test_a_sample_of_a_large_graph_serves_its_batches():
    """Axes of a sample and of a batch differ by noise alone: two strong directions, of which the student has one."""
    rng = np.random.default_rng(0)
    latent, noise = rng.normal(size=(2400, 3)), rng.normal(size=(2400, 12))
    mixing = np.linalg.qr(rng.normal(size=(12, 3)))[0].T
    strong, other = (jnp.asarray((latent * scale) @ mixing + 0.3 * noise + 5.0) for scale in ([4, 3, 1], [1, 3, 4]))
    student = jnp.asarray(latent[:, :1] @ rng.normal(size=(1, 4)) + 0.5 * rng.normal(size=(2400, 4)))
    teacher, of_student = (GNNOutput(x[2000:], (x[2000:],)) for x in (strong, student))
    everywhere, of_sample = np.ones(400, bool), np.ones(2000, bool)
    found = [
        both_ways(distill.closed_form(2), teacher, of_student, everywhere, GNNOutput(x, (x,)), of_sample)
        for x in (strong[:2000], other[:2000])
    ]
    (alone, given), (_, wrong) = found
    assert_allclose(given, alone, atol=0.02)
    assert abs(wrong[0, 0] - alone[0, 0]) > 0.1  # axes of another teacher


@pytest.mark.parametrize("nodes", [0, 1, 2])
def test_batches_of_too_few_nodes_have_a_finite_loss_between_0_and_1(nodes):
    _, given = both_ways(distill.closed_form(3), TEACHER, STUDENT, np.arange(40) < nodes, TEACHER, MASK)
    assert ((given >= 0.0) & (given <= 1.0 + 1e-6)).all()
    assert nodes > 1 or (given == 1.0).all()


def test_a_constant_layer_and_one_that_is_not_finite():
    flat = TEACHER._replace(hiddens=(TEACHER.hiddens[0], jnp.full((40, 3), 0.5)))
    _, given = both_ways(distill.closed_form(3), flat, STUDENT, MASK)
    assert_allclose(given[1], 1.0, atol=1e-6)
    assert (given[0] < 0.99).all()
    broken = TEACHER._replace(hiddens=(TEACHER.hiddens[0].at[1].set(jnp.nan),))
    _, given = both_ways(distill.closed_form(3), broken, STUDENT, MASK)
    assert np.isnan(given).all()  # the run is then found to diverge


@pytest.mark.parametrize("name", MEMBERS)
def test_no_batch_is_decomposed(name):
    loss = MEMBERS[name]
    basis = distill.teacher_basis(loss, on_host(TEACHER), MASK)
    context = {"graph": EDGELESS, "mask": jnp.asarray(MASK)}
    whole = jax.make_jaxpr(lambda teacher: loss.targets(teacher, **context))(TEACHER)
    batch = jax.make_jaxpr(lambda teacher: distill.batch_targets(loss, basis, teacher, **context))(TEACHER)
    assert primitives(whole.jaxpr) & DECOMPOSITIONS
    assert not primitives(batch.jaxpr) & DECOMPOSITIONS


def test_losses_made_of_losses_pass_the_basis_on():
    """Each term with its own nodes, the logits as a layer, a sum under one attention, and plain losses beside them."""
    part = distill.Part("axes", 2.0, distill.closed_form(2))
    mixed = distill.combined(part, distill.Part("plain", 1.0, distill.trained_heads(4)))
    objective = distill.weighted_sum(
        distill.Term("soft", 1.0, distill.soft_label()),
        distill.Term("all", 1.0, distill.abkd(distill.greedy(distill.closed_form(2)), mixed)),
        distill.Term("some", 1.0, distill.with_logits(distill.abkd_closed_form(2)), nodes="train"),
    )
    masks = NodeMasks(all=MASK, train=np.arange(40) < 20)
    basis: Any = distill.teacher_basis(objective, on_host(TEACHER), masks)
    assert basis["soft"] == {}
    assert [len(basis[name]) for name in ("all", "some")] == [2, 2]
    own = distill.teacher_basis(distill.closed_form(2), on_host(TEACHER), masks.all)
    jax.tree.map(assert_allclose, basis["all"]["dissimilarity"]["axes"], own)
    assert basis["some"]["dissimilarity"].mean.shape == (4, 6)  # three layers and the logits
    assert_allclose(basis["some"]["dissimilarity"].mean[0, :5], TEACHER.hiddens[0][:20].mean(axis=0), rtol=1e-5)
    context = {"graph": EDGELESS, "mask": jax.tree.map(jnp.asarray, masks)}
    params = random_params(objective, TEACHER, STUDENT)

    @jax.jit
    def losses(teacher, student):
        alone = objective.targets(teacher, **context)
        given = distill.batch_targets(objective, basis, teacher, **context)
        assert jax.tree.structure(given) == jax.tree.structure(alone)
        return [objective.apply(params, targets, student, **context, key=None)[0] for targets in (alone, given)]

    alone, given = losses(TEACHER, STUDENT)
    assert_allclose(given, alone, rtol=1e-4)
    assert distill.needs_basis(objective)
    assert not distill.needs_basis(distill.weighted_sum(distill.Term("soft", 1.0, distill.soft_label())))


def test_the_teacher_is_frozen_and_16_bits_are_widened():
    loss, mask = distill.closed_form(3), jnp.asarray(MASK)
    basis = distill.teacher_basis(loss, on_host(TEACHER), MASK)

    @jax.jit
    def total(teacher):
        targets = distill.batch_targets(loss, basis, teacher, graph=EDGELESS, mask=mask)
        return loss.apply({}, targets, STUDENT, graph=EDGELESS, mask=mask, key=None)[0].sum()

    assert all(not leaf.any() for leaf in jax.tree.leaves(jax.grad(total)(TEACHER)))
    short = jax.tree.map(lambda x: x.astype(jnp.bfloat16), TEACHER)
    assert total(short).dtype == jnp.float32
    assert_allclose(total(short), total(TEACHER), rtol=0.02)
