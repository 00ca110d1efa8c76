"""Every distillation loss by a name, with inputs, and programs that are compiled once for all tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from distill_samples import make_output, random_params

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
    ff_g2m,
    fitnet,
    fixed,
    fixed_axes,
    gcrd,
    geometric,
    geometric_parametric,
    greedy,
    gsp,
    krd,
    last_layer,
    last_to_all,
    learned,
    lsp,
    mustad,
    output_error,
    propagate,
    soft_label,
    soft_label_multilabel,
    stride,
    structure,
    trained_heads,
    uniform,
    weighted_sum,
    with_logits,
)
from abkd_jax.graph.build import from_edges
from abkd_jax.types import GNNOutput, NodeMasks, Objective

DISSIMILARITIES = {
    "per_node": lambda: trained_heads(4),
    "pooled": lambda: trained_heads(4, reduce="pooled"),
    "fixed": lambda: fixed_axes(4),
    "closed": lambda: closed_form(4),
    "cka": cka,
}
OBJECTIVES = {
    f"uniform-{name}": lambda make=make: abkd(uniform(), make()) for name, make in DISSIMILARITIES.items()
} | {
    "learned-per_node": lambda: abkd(learned(4), trained_heads(4)),
    "learned-closed": lambda: abkd(learned(4), closed_form(4)),
    "last-cka": lambda: abkd(last_layer(), cka()),
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
    "uniform-gcrd-drawn": lambda: abkd(uniform(), structure(gcrd(0.5, max_nodes=10, dim=4))),
    "last_to_all-gsp": lambda: abkd(last_to_all(), structure(gsp("rbf"))),
    "uniform-gsp-heads": lambda: abkd(uniform(), structure(gsp("l2", head="linear", dim=3))),
    "learned-combined": lambda: abkd(
        learned(4), combined(Part("axes", 0.5, fixed_axes(4)), Part("edges", 2.0, structure(lsp("rbf"))))
    ),
    "stride": lambda: stride(4),
    "logits-closed": lambda: with_logits(abkd(learned(4), closed_form(4))),
    "uniform-plain_heads": lambda: abkd(uniform(), trained_heads(4, projection=False), "sum"),
    "uniform-shared_heads": lambda: abkd(uniform(), trained_heads(4, per_layer=False)),
    "soft_label": soft_label,
    "soft_label-hot-all": lambda: soft_label(4.0, "all"),
    "soft_label-sharp": lambda: soft_label(0.25),
    "soft_label-one_sided": lambda: soft_label(2.0, student_temperature=1.0),
    "soft_label_multilabel": soft_label_multilabel,
    "output_error": output_error,
    "krd": krd,
    "krd-sharp": lambda: krd(0.25, power=3.0, noise=2.0),
    "ff_g2m": lambda: ff_g2m(0.5, 2.0),
    "propagate": lambda: propagate(steps=2, strength=0.9),
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
    "gaussian-drawn": lambda: geometric("gaussian", delta=0.1, layers=((-1, -1),), max_nodes=10),
    "parametric-equal": geometric_parametric,
    "weighted_sum": lambda: weighted_sum(
        Term("kd", 1.0, soft_label(2.0)), Term("abkd", 0.1, abkd(learned(4), closed_form(4)), "train")
    ),
}
N = 12
KEY = jax.random.key(0)
RING = np.arange(N), (np.arange(N) + 1) % N
GRAPH = from_edges(*RING, N, undirected=True)
MASKS = NodeMasks(all=jnp.arange(N) < 9, train=jnp.arange(N) < 7)  # the last three nodes are padding


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
    program = jax.jit(jax.value_and_grad(functools.partial(forward, name), argnums=(0, 1, 2), has_aux=True))
    return lambda params, student, teacher, mask, graph=GRAPH: program(params, student, teacher, mask, graph)


def widths_of(name: str) -> dict[str, tuple[int, ...]]:
    if name == "uniform-shared_heads":
        return {"teacher_widths": (6, 6, 6), "student_widths": (4, 4)}
    return {"teacher_widths": (7, 5, 6), "student_widths": (4, 6 if name.endswith("-equal") else 3)}


@functools.cache
def example(name: str):
    """`(params, student, teacher)`; widths and depths differ, but for one head on all layers, or names in `-equal`."""
    teacher, student = (make_output(i, widths, N) for i, widths in enumerate(widths_of(name).values()))
    return random_params(objective(name), teacher, student), student, teacher
