"""What every distillation loss must satisfy, whatever it computes."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill_samples import QUICK, make_output, random_params
from numpy.testing import assert_allclose, assert_array_equal

from abkd_jax.distill import (
    Part,
    Term,
    abkd,
    all_to_last,
    attention_transfer,
    cka,
    closed_form,
    combined,
    depth_proportional,
    fitnet,
    fixed,
    fixed_axes,
    gcrd,
    geometric,
    greedy,
    gsp,
    last_layer,
    last_to_all,
    learned,
    lsp,
    mustad,
    output_error,
    soft_label,
    soft_label_multilabel,
    stride,
    structure,
    trained_heads,
    uniform,
    weighted_sum,
    with_logits,
)
from abkd_jax.graph import from_edges
from abkd_jax.types import GNNOutput, NodeMasks, Objective

ATTENTIONS = {"learned": lambda: learned(4), "uniform": uniform, "last": last_layer}
DISSIMILARITIES = {
    "per_node": lambda: trained_heads(4),
    "pooled": lambda: trained_heads(4, reduce="pooled"),
    "fixed": lambda: fixed_axes(4),
    "closed": lambda: closed_form(4),
    "cka": cka,
}
OBJECTIVES = {
    f"{a}-{d}": lambda a=a, d=d: abkd(ATTENTIONS[a](), DISSIMILARITIES[d]())
    for a, d in itertools.product(ATTENTIONS, DISSIMILARITIES)
} | {
    "teacher-closed": lambda: abkd(learned(4, over="teacher"), closed_form(4)),
    "pairs-per_node": lambda: abkd(learned(4, over="pairs"), trained_heads(4)),
    "max-fixed": lambda: abkd(learned(4, query="max"), fixed_axes(4)),
    "detached-closed": lambda: abkd(learned(4, detach=True), closed_form(4), "mean"),
    "all_to_last-closed": lambda: abkd(all_to_last(), closed_form(4)),
    "last_to_all-cka": lambda: abkd(last_to_all(), cka()),
    "depth-fixed": lambda: abkd(depth_proportional(), fixed_axes(4)),
    "given-cka": lambda: abkd(fixed([[0.0, 2.0], [0.5, 0.25], [0.0, 1.0]]), cka()),
    "greedy-fixed": lambda: abkd(greedy(), fixed_axes(4)),
    "greedy-closed": lambda: abkd(greedy(closed_form(4)), closed_form(4)),
    "learned-gcrd": lambda: abkd(learned(4), structure(gcrd(dim=5))),
    "uniform-gcrd-drawn": lambda: abkd(uniform(), structure(gcrd(0.5, max_nodes=10, dim=4))),
    "uniform-lsp": lambda: abkd(uniform(), structure(lsp())),
    "last_to_all-gsp": lambda: abkd(last_to_all(), structure(gsp("rbf"))),
    "uniform-gsp-heads": lambda: abkd(uniform(), structure(gsp("l2", head="linear", dim=3))),
    "learned-combined": lambda: abkd(
        learned(4), combined(Part("axes", 0.5, fixed_axes(4)), Part("edges", 2.0, structure(lsp("rbf"))))
    ),
    "stride": lambda: stride(4),
    "logits-closed": lambda: with_logits(abkd(learned(4), closed_form(4))),
    "logits-lsp": lambda: with_logits(lsp()),
    "uniform-plain_heads": lambda: abkd(uniform(), trained_heads(4, projection=False), "sum"),
    "uniform-shared_heads": lambda: abkd(uniform(), trained_heads(4, per_layer=False)),
    "soft_label": soft_label,
    "soft_label-hot-all": lambda: soft_label(4.0, "all"),
    "soft_label-sharp": lambda: soft_label(0.25),
    "soft_label-one_sided": lambda: soft_label(2.0, student_temperature=1.0),
    "soft_label_multilabel": soft_label_multilabel,
    "output_error": output_error,
    "fitnet": fitnet,
    "fitnet-linear": lambda: fitnet("linear", 5),
    "fitnet-equal": lambda: fitnet("none"),
    "attention_transfer": attention_transfer,
    "mustad-kl": mustad,
    "mustad-lin-equal": lambda: mustad("lin"),
    "mustad-poly": lambda: mustad("poly"),
    "mustad-dist": lambda: mustad("dist"),
    "mustad-rbf-equal": lambda: mustad("rbf"),
    "lsp-cosine": lsp,
    "lsp-l2": lambda: lsp("l2"),
    "lsp-rbf-mse": lambda: lsp("rbf", "mse"),
    "gsp-poly": lambda: gsp("poly"),
    "gsp-l2-drawn": lambda: gsp("l2", max_nodes=10),  # of 12 nodes: all nine that the mask holds are among them
    "gsp-rbf-linear": lambda: gsp("rbf", head="linear", dim=5),
    "gcrd": gcrd,
    "gcrd-drawn-equal": lambda: gcrd(0.5, max_nodes=10, head="none"),
    "sigmoid": lambda: geometric(layers=((0, 0), (2, 1))),
    "gaussian": lambda: geometric("gaussian", delta=0.1, layers=((1, 0), (2, 1))),
    "weighted_sum": lambda: weighted_sum(
        Term("kd", 1.0, soft_label(2.0)), Term("abkd", 0.1, abkd(learned(4), closed_form(4)), "train")
    ),
}
N = 12
KEY = jax.random.key(0)
RING = np.arange(N), (np.arange(N) + 1) % N
GRAPH = from_edges(*RING, N, undirected=True)
MASKS = NodeMasks(all=jnp.arange(N) < 9, train=jnp.arange(N) < 7)  # the last three nodes are padding

every_objective = pytest.mark.parametrize("name", OBJECTIVES)


@functools.cache
def objective(name: str) -> Objective:
    return OBJECTIVES[name]()


def mask_of(name: str, masks: NodeMasks = MASKS):
    return masks if name == "weighted_sum" else masks.all


def forward(name: str, params, student: GNNOutput, teacher: GNNOutput, mask, graph=GRAPH):
    """`(loss, (metrics, targets))` from the raw outputs of both models."""
    targets = objective(name).targets(teacher, graph=graph, mask=mask)
    loss, metrics = objective(name).apply(params, targets, student, graph=graph, mask=mask, key=KEY)
    return loss, (metrics, targets)


@functools.cache
def compiled(name: str):
    """`((loss, (metrics, targets)), gradients)`, the gradients to the parameters, the student and the teacher."""
    program = jax.jit(
        jax.value_and_grad(functools.partial(forward, name), argnums=(0, 1, 2), has_aux=True), compiler_options=QUICK
    )
    return lambda params, student, teacher, mask, graph=GRAPH: program(params, student, teacher, mask, graph)


@functools.cache
def example(name: str):
    """`(params, student, teacher)`; widths and depths differ, but for one head on all layers, or names in `-equal`."""
    shared = name == "uniform-shared_heads"
    teacher = make_output(0, (6, 6, 6) if shared else (7, 5, 6), N)
    student = make_output(1, (4, 4) if shared else (4, 6 if name.endswith("-equal") else 3), N)
    return random_params(objective(name), teacher, student), student, teacher


def assert_finite(tree) -> None:
    for leaf in jax.tree.leaves(tree):
        assert np.isfinite(leaf).all()


def assert_close(actual, expected, rtol=2e-4, atol=2e-5) -> None:
    jax.tree.map(functools.partial(assert_allclose, rtol=rtol, atol=atol), actual, expected)


@every_objective
def test_is_finite_and_moves_the_student_but_not_the_teacher(name):
    result = compiled(name)(*example(name), mask_of(name))
    assert_finite(result)
    (loss, _), (_, to_student, to_teacher) = result
    assert loss.shape == ()
    assert loss > 0
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(to_student)) > 1e-6
    jax.tree.map(lambda g: assert_array_equal(g, 0.0), to_teacher)


@every_objective
def test_order_of_the_nodes_does_not_matter(name):
    params, student, teacher = example(name)
    order = np.random.default_rng(3).permutation(N)
    shuffled = jax.tree.map(lambda x: x[order], (student, teacher, mask_of(name)))
    graph = from_edges(*np.argsort(order)[np.stack(RING)], N, undirected=True)  # as many edges, among the new numbers
    (loss, (metrics, _)), (to_params, to_student, _) = compiled(name)(params, student, teacher, mask_of(name))
    (loss2, (metrics2, _)), (to_params2, to_student2, _) = compiled(name)(params, *shuffled, graph)
    assert_close((loss2, metrics2, to_params2), (loss, metrics, to_params))
    assert_close(to_student2, jax.tree.map(lambda x: x[order], to_student))


@every_objective
@pytest.mark.parametrize("garbage", [1e6, np.nan])
def test_padded_nodes_change_nothing(name, garbage):
    params, student, teacher = example(name)
    spoil = lambda x: x.at[9:].set(garbage)  # noqa: E731
    (loss, (metrics, _)), (to_params, to_student, _) = compiled(name)(params, student, teacher, mask_of(name))
    spoiled = jax.tree.map(spoil, (student, teacher))
    (loss2, (metrics2, _)), (to_params2, to_student2, _) = compiled(name)(params, *spoiled, mask_of(name))
    jax.tree.map(assert_array_equal, (loss2, metrics2, to_params2, to_student2), (loss, metrics, to_params, to_student))
    for gradient in jax.tree.leaves(to_student):
        assert_array_equal(gradient[9:], 0.0)


@every_objective
def test_seeds_side_by_side_equal_seeds_one_by_one(name):
    params, student, teacher = example(name)
    other = jax.tree.map(lambda x: 0.5 * x[::-1], student)
    other_params = random_params(objective(name), teacher, student, seed=1)
    stack = functools.partial(jax.tree.map, lambda *xs: jnp.stack(xs))
    seeds = jax.jit(jax.vmap(functools.partial(forward, name), in_axes=(0, 0, None, None)), compiler_options=QUICK)
    together = seeds(stack(params, other_params), stack(student, other), teacher, mask_of(name))
    alone = [compiled(name)(*pair, teacher, mask_of(name))[0] for pair in ((params, student), (other_params, other))]
    assert_close(together, stack(*alone))


@every_objective
def test_compiled_equals_step_by_step(name):
    params, student, teacher = example(name)
    assert_close(
        forward(name, params, student, teacher, mask_of(name)), compiled(name)(*example(name), mask_of(name))[0]
    )


@pytest.mark.parametrize(
    "name",
    [
        "learned-per_node",
        "learned-fixed",
        "uniform-shared_heads",
        "weighted_sum",
        "fitnet",
        "fitnet-linear",
        "mustad-kl",
        "gsp-rbf-linear",
        "gcrd",
        "uniform-gsp-heads",
        "stride",
        "logits-closed",
    ],
)
def test_init_needs_shapes_alone(name):
    _, student, teacher = example(name)
    shapes = jax.eval_shape(objective(name).init, KEY, teacher, student)
    params = jax.jit(objective(name).init, compiler_options=QUICK)(KEY, teacher, student)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes, params)
    assert_finite(params)


@every_objective
@pytest.mark.parametrize(
    ("given", "computed"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_type_follows_the_inputs_from_float32_up(name, given, computed, x64):
    _, student, teacher = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, given), example(name))

    def everything(teacher, student, mask):
        params = objective(name).init(jax.random.key(0), teacher, student)
        targets = objective(name).targets(teacher, graph=GRAPH, mask=mask)
        loss, metrics = objective(name).apply(params, targets, student, graph=GRAPH, mask=mask, key=KEY)
        return params, targets, loss, metrics

    for leaf in jax.tree.leaves(jax.eval_shape(everything, teacher, student, mask_of(name))):
        assert leaf.dtype == computed


@every_objective
def test_degenerate_inputs_stay_finite(name):
    params, student, teacher = example(name)
    with_zero_rows = jax.tree.map(lambda x: x.at[2:5].set(0.0), (student, teacher))
    dead = student._replace(hiddens=(student.hiddens[0], 0.0 * student.hiddens[1]))
    dead_teacher = teacher._replace(hiddens=(0.0 * teacher.hiddens[0], *teacher.hiddens[1:]))
    one = NodeMasks(jnp.arange(N) == 3, jnp.arange(N) == 3)
    none = NodeMasks(jnp.zeros(N, bool), jnp.zeros(N, bool))
    assert_finite(compiled(name)(params, *with_zero_rows, mask_of(name)))
    assert_finite(compiled(name)(params, dead, teacher, mask_of(name)))
    assert_finite(compiled(name)(params, student, dead_teacher, mask_of(name)))
    assert_finite(compiled(name)(params, student, teacher, mask_of(name, one)))
    assert_finite(compiled(name)(params, student, teacher, mask_of(name, none)))
