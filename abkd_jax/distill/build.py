"""Builds the loss of a method from its settings: the one place where the names of losses become functions."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig
from abkd_jax.distill.named import outside
from abkd_jax.distill.ops.checks import is_used
from abkd_jax.outside import is_outside, require_known
from abkd_jax.types import InputError, Objective, PairMap

__all__ = ["AXES_RANK", "OF_LOGITS", "TEACHER_RANK", "LossContext", "build_objective", "terms_of"]

# Directions of the frozen teacher that the alignment keeps. On Cora and Citeseer 64 hold all but 1e-7 of the variance
# of its whitened components, 256 all but 3e-7 of that of the layers themselves: float32 rounding.
AXES_RANK, TEACHER_RANK = 64, 256

STRUCTURE_NODES = 512  # nodes that the structural dissimilarity draws per step, the same for all pairs of layers


OF_LOGITS = ("krd", "ff_g2m", "propagate")  # auxiliary losses that read no hidden layer of the teacher


class LossContext(NamedTuple):
    """Task and training, on which the choice of losses depends beside the method.

    Attributes:
        task: see `types.GraphDataset`.
        graph_level: whether the logits are of graphs.
        minibatches: whether targets are computed anew for every batch: then the teacher is not reduced first.
        scale: `[c]` deviations of real targets; None where there are none.
    """

    task: Literal["classification", "multilabel", "regression"] = "classification"
    graph_level: bool = False
    minibatches: bool = False
    scale: Any = None


def build_objective(method: MethodConfig, context: LossContext = LossContext()) -> Objective | None:  # noqa: B008
    """Builds the distillation loss of a method.

    Args:
        method: settings of the method; its weights and its temperature may be traced.
        context: the task and the training.

    Returns:
        The weighted sum of the method's terms, or None for a student that learns from labels alone.

    Raises:
        InputError: a setting that no loss can be made of.

    Examples:
        >>> build_objective(MethodConfig(soft_label_weight=0.0, alignment_weight=0.0)) is None
        True
    """
    terms = terms_of(method, context)
    return distill.weighted_sum(*terms) if terms else None


def terms_of(method: MethodConfig, context: LossContext = LossContext()) -> list[distill.Term]:  # noqa: B008
    """Builds the terms of that loss, with their weights and nodes.

    Args:
        method: settings of the method.
        context: the task and the training.

    Returns:
        The terms, none for a student that learns from labels alone.

    Raises:
        InputError: a setting that no loss can be made of.

    Examples:
        >>> [term.name for term in terms_of(MethodConfig(soft_label_weight=1.0, alignment_weight=0.1))]
        ['soft_label', 'abkd']
    """
    require_known("auxiliary", method.auxiliary, tuple(_AUXILIARY))
    terms = []
    if is_used(method.soft_label_weight):
        terms.append(distill.Term("soft_label", method.soft_label_weight, *_soft_label(method, context)))
    if is_used(method.alignment_weight):
        alignment = distill.abkd(_attention(method), _dissimilarity(method, context))
        terms.append(distill.Term("abkd", method.alignment_weight, alignment))
    if is_used(method.auxiliary_weight):
        auxiliary = _auxiliary(method, context)
        name = method.auxiliary.rpartition(":")[2]
        terms.append(distill.Term(name, method.auxiliary_weight, auxiliary, method.auxiliary_nodes))
    return terms


def _soft_label(
    method: MethodConfig, context: LossContext
) -> tuple[Objective, Literal["all", "train", "graphs", "train_graphs"]]:
    soft_label = {
        "classification": lambda: distill.soft_label(method.temperature),
        "multilabel": distill.soft_label_multilabel,
        "regression": lambda: distill.output_error(context.scale),
    }[context.task]()
    if not context.graph_level:
        return soft_label, method.soft_label_nodes
    return soft_label, "graphs" if method.soft_label_nodes == "all" else "train_graphs"


def _auxiliary(method: MethodConfig, context: LossContext) -> Objective:
    if is_outside(method.auxiliary):
        return outside(method.auxiliary)
    if method.auxiliary in OF_LOGITS and (context.task != "classification" or context.graph_level):
        raise InputError(f"auxiliary is {method.auxiliary}, which needs one class per node; expected another loss here")
    return _AUXILIARY[method.auxiliary](method)


_AUXILIARY: dict[str, Callable[[MethodConfig], Objective]] = {
    "fitnet": lambda method: distill.fitnet(dim=method.dim),
    "attention_transfer": lambda method: distill.attention_transfer(),
    "lsp": lambda method: distill.lsp(),
    "gsp": lambda method: distill.gsp(max_nodes=method.auxiliary_max_nodes),
    "gcrd": lambda method: distill.gcrd(max_nodes=method.auxiliary_max_nodes, dim=method.dim),
    "mustad": lambda method: distill.mustad(),
    "geometric": lambda method: distill.geometric(delta=0.1, layers=((-1, -1),), max_nodes=method.auxiliary_max_nodes),
    "krd": lambda method: distill.krd(method.temperature),
    "ff_g2m": lambda method: distill.ff_g2m(method.temperature),
    "propagate": lambda method: distill.propagate(method.temperature),
}


def _attention(method: MethodConfig) -> PairMap:
    if method.attention == "learned":
        return distill.learned(method.dim)
    return {
        "uniform": distill.uniform,
        "last_layer": distill.last_layer,
        "all_to_last": distill.all_to_last,
        "last_to_all": distill.last_to_all,
        "depth_proportional": distill.depth_proportional,
        "greedy": distill.greedy,
    }[method.attention]()


def _dissimilarity(method: MethodConfig, context: LossContext) -> PairMap:
    axes_rank, teacher_rank = (None, None) if context.minibatches else (AXES_RANK, TEACHER_RANK)
    return {
        "closed_form": lambda: distill.closed_form(method.axes, rank=axes_rank),
        "fixed_axes": lambda: distill.fixed_axes(method.axes, rank=axes_rank),
        "cka": lambda: distill.cka(rank=teacher_rank),
        "trained_heads": lambda: distill.trained_heads(method.dim, rank=teacher_rank),
        "trained_heads_pooled": lambda: distill.trained_heads(method.dim, reduce="pooled"),
        "structure": lambda: _structure(method),
        "stride": lambda: _stride(method, teacher_rank),
    }[method.dissimilarity]()


def _structure(method: MethodConfig) -> PairMap:
    return distill.structure(distill.gcrd(max_nodes=STRUCTURE_NODES, dim=method.dim))


def _stride(method: MethodConfig, rank: int | None) -> PairMap:
    embedding = distill.Part("embedding", 1.0, distill.trained_heads(method.dim, rank=rank))
    return distill.combined(embedding, distill.Part("structure", 1.0, _structure(method)))
