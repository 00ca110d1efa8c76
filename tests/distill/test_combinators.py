"""Sums of dissimilarities, the logits as a layer, and the losses of the terms of a sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import EDGELESS, given_map, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import (
    Part,
    Term,
    abkd,
    cka,
    closed_form,
    combined,
    fixed,
    gcrd,
    gsp,
    last_layer,
    learned,
    stride,
    structure,
    term_losses,
    trained_heads,
    uniform,
    weighted_sum,
    with_logits,
)
from abkd_jax.types import GNNOutput, InputError, NodeMasks, PairMap

KEY = jax.random.key(0)
MASK = np.arange(12) < 9
A = np.array([[0.5, 0.5], [1.0, 0.0]])
ONE, TWO = np.array([[1.0, 2.0], [8.0, 5.0]]), np.array([[4.0, 0.0], [2.0, 6.0]])


def run(loss, params, teacher: GNNOutput, student: GNNOutput, key=KEY):
    """`(value or map, details)`, compiled."""

    @jax.jit
    def compiled(params, teacher, student, mask):
        targets = loss.targets(teacher, graph=EDGELESS, mask=mask)
        return loss.apply(params, targets, student, graph=EDGELESS, mask=mask, key=key)

    return compiled(params, teacher, student, jnp.asarray(MASK))


# --- combined


def test_combined_by_hand():
    parts = Part("near", 2.0, given_map(ONE, [4.0, 0.0])), Part("far", 0.5, given_map(TWO, [1.0, 1.0]))
    objective = abkd(fixed(A), combined(*parts), "sum")
    teacher, student = make_output(0, (2, 2)), make_output(1, (2, 2))
    loss, metrics = run(objective, random_params(objective, teacher, student), teacher, student)
    assert_allclose(metrics["dissimilarity"], 2.0 * ONE + 0.5 * TWO)
    assert_allclose(loss, 2.0 * 9.5 + 0.5 * 4.0)  # .5 * 1 + .5 * 2 + 8, and .5 * 4 + 2
    assert_allclose(metrics["variance"], [8.5, 0.5])
    assert_allclose(metrics["near/attended_dissimilarity"], 9.5 / 2)  # the mass of A is 2
    assert_allclose(metrics["near/attended_unexplained"], (0.5 * 0.25 + 0.5 * 0.5 + 1.0) / 2)
    assert_allclose(metrics["near/attended_variance"], (0.5 * 4 + 0.5 * 4) / 2)
    assert_allclose(metrics["far/attended_dissimilarity"], 4.0 / 2)
    assert_allclose(metrics["attended_dissimilarity"], (2.0 * 9.5 + 0.5 * 4.0) / 2)


def test_parts_of_parts_keep_their_names():
    inner = combined(Part("near", 2.0, given_map(ONE)), Part("far", 1.0, given_map(TWO)))
    objective = abkd(fixed(A), combined(Part("both", 0.5, inner)), "sum")
    teacher, student = make_output(0, (2, 2)), make_output(1, (2, 2))
    loss, metrics = run(objective, random_params(objective, teacher, student), teacher, student)
    assert_allclose(loss, 0.5 * (2.0 * 9.5 + 4.0))
    assert_allclose(metrics["both/far/attended_dissimilarity"], 4.0 / 2)
    assert_allclose(metrics["both/attended_dissimilarity"], (2.0 * 9.5 + 4.0) / 2)


def test_combined_of_trained_parts_is_their_sum():
    teacher, student = make_output(0, (4, 3)), make_output(1, (3, 2))
    heads, contrast = trained_heads(3), structure(gcrd(dim=3))
    part = combined(Part("heads", 1.0, heads), Part("contrast", 0.25, contrast))
    params = random_params(part, teacher, student)
    d, details = run(part, params, teacher, student)
    alone = [run(p, params[name], teacher, student)[0] for name, p in (("heads", heads), ("contrast", contrast))]
    assert_allclose(d, alone[0] + 0.25 * alone[1], rtol=1e-5)
    assert_allclose(details["contrast/dissimilarity"], alone[1], rtol=1e-5)


def test_parts_draw_different_nodes():
    drawing = PairMap(
        lambda key, teacher, student: {},
        lambda teacher, *, graph, mask: {},
        lambda params, targets, student, *, graph, mask, key: (
            jax.random.uniform(key, (2, 2)),
            {"variance": jnp.ones(2)},
        ),
    )
    teacher, student = make_output(0, (2, 2)), make_output(1, (2, 2))
    _, details = run(combined(Part("a", 1.0, drawing), Part("b", 1.0, drawing)), {"a": {}, "b": {}}, teacher, student)
    assert np.abs(details["a/dissimilarity"] - details["b/dissimilarity"]).min() > 0.0


def test_stride_weighs_both_of_its_parts_with_one_attention():
    teacher, student = make_output(0, (4, 3)), make_output(1, (3, 3))
    objective = stride(3, structure_weight=0.5, max_nodes=5)
    params = random_params(objective, teacher, student)
    loss, metrics = run(objective, params, teacher, student)
    a = metrics["attention"]
    _, embedding = run(
        abkd(learned(3), trained_heads(3)),
        {"attention": params["attention"], "dissimilarity": params["dissimilarity"]["embedding"]},
        teacher,
        student,
    )
    assert_allclose(a, embedding["attention"], rtol=1e-6)
    assert_allclose(metrics["embedding/attended_unexplained"], embedding["attended_unexplained"], rtol=1e-5)
    structural = metrics["structure/attended_dissimilarity"]
    assert structural > 0.0
    assert_allclose(loss, metrics["embedding/attended_dissimilarity"] + 0.5 * structural, rtol=1e-5)  # rows sum to 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "combined: no part was given, expected at least one"),
        ((Part("a", 1.0, cka()), Part("a", 1.0, cka())), "combined: 2 parts are called 'a', expected different names"),
        ((Part("a", -1.0, cka()),), "combined: weight of the part 'a' is -1.0, expected a finite number >= 0"),
        ((Part("a", np.inf, cka()),), "combined: weight of the part 'a' is inf"),
    ],
)
def test_bad_parts_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        combined(*parts)


# --- the logits as a layer


def appended(output: GNNOutput) -> GNNOutput:
    return GNNOutput(output.logits, (*output.hiddens, output.logits))


@pytest.mark.parametrize(
    "loss",
    [abkd(learned(3), trained_heads(3)), abkd(last_layer(), closed_form(2)), gsp("l2"), learned(4), structure(gsp())],
    ids=["abkd", "last", "gsp", "attention", "structure"],
)
def test_logits_are_one_more_layer_of_both_models(loss):
    teacher, student = make_output(0, (4, 3)), make_output(1, (3,))
    wrapped = with_logits(loss)
    assert type(wrapped) is type(loss)
    params = random_params(wrapped, teacher, student)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        jnp.shape, random_params(loss, appended(teacher), appended(student))
    )
    jax.tree.map(
        assert_array_equal,
        run(wrapped, params, teacher, student),
        run(loss, params, *map(appended, (teacher, student))),
    )


def test_logits_alone_make_a_model_without_hidden_layers_comparable():
    teacher, student = make_output(0, ()), make_output(1, ())
    loss, metrics = run(with_logits(abkd(uniform(), cka())), {"attention": {}, "dissimilarity": {}}, teacher, student)
    x, y = (np.asarray(o.logits, np.float64)[MASK] for o in (teacher, student))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.linalg.norm
    assert metrics["attention"].shape == (1, 1)
    assert_allclose(loss, 1.0 - norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y)), rtol=1e-5)


# --- the losses of the terms


def test_term_losses_add_up_to_the_weighted_sum_on_the_same_draw():
    terms = (
        Term("gcrd", 0.5, gcrd(max_nodes=4, head="linear", dim=3)),
        Term("gsp", 3.0, gsp(max_nodes=3), "train"),
        Term("off", 0.0, gsp()),
    )
    teacher, student = make_output(0, (4,)), make_output(1, (3,))
    masks = NodeMasks(jnp.asarray(MASK), jnp.arange(12) < 6)
    total = weighted_sum(*terms)
    params = random_params(total, teacher, student)
    targets = total.targets(teacher, graph=EDGELESS, mask=masks)
    whole, metrics = total.apply(params, targets, student, graph=EDGELESS, mask=masks, key=KEY)
    losses = term_losses(terms, params, targets, graph=EDGELESS, mask=masks, key=KEY)
    values = {name: float(loss(student)) for name, loss in losses.items()}
    assert_allclose(values["gcrd"], 0.5 * metrics["gcrd/loss"], rtol=1e-6)
    assert_allclose(values["gsp"], 3.0 * metrics["gsp/loss"], rtol=1e-6)
    assert values["off"] == 0.0
    assert_allclose(sum(values.values()), whole, rtol=1e-6)
