"""From the settings of a method to its loss: the one place where the names of losses become functions."""

from typing import Literal, NamedTuple

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig
from abkd_jax.types import Objective, PairMap

__all__ = ["AXES_RANK", "TEACHER_RANK", "Setting", "build_objective", "terms_of"]

# Directions of the frozen teacher that the alignment keeps. On Cora and Citeseer 64 hold all but 1e-7 of the variance
# of its whitened axes, 256 all but 3e-7 of that of the layers themselves: float32 rounding.
AXES_RANK, TEACHER_RANK = 64, 256

STRUCTURE_NODES = 512  # nodes that the structural dissimilarity draws every step, the same for all pairs of layers


class Setting(NamedTuple):
    """What a loss must know of the problem.

    Attributes:
        task: see `types.GraphDataset`.
        graph_level: whether the logits are of graphs.
        minibatches: whether targets are computed anew for every batch: then the teacher is not reduced first.
    """

    task: Literal["classification", "multilabel", "regression"] = "classification"
    graph_level: bool = False
    minibatches: bool = False


def build_objective(method: MethodConfig, setting: Setting = Setting()) -> Objective | None:  # noqa: B008
    """The distillation loss of a method, or None for a student that learns from labels alone."""
    terms = terms_of(method, setting)
    return distill.weighted_sum(*terms) if terms else None


def terms_of(method: MethodConfig, setting: Setting = Setting()) -> list[distill.Term]:  # noqa: B008
    """The terms of that loss, with their weights and nodes; none for a student that learns from labels alone."""
    terms = []
    if method.soft_label_weight:
        terms.append(distill.Term("soft_label", method.soft_label_weight, *_soft_label(method, setting)))
    if method.alignment_weight:
        alignment = distill.abkd(_attention(method), _dissimilarity(method, setting))
        terms.append(distill.Term("abkd", method.alignment_weight, alignment))
    if method.auxiliary_weight:
        auxiliary = _auxiliary(method)
        terms.append(distill.Term(method.auxiliary, method.auxiliary_weight, auxiliary, method.auxiliary_nodes))
    return terms


def _soft_label(
    method: MethodConfig, setting: Setting
) -> tuple[Objective, Literal["all", "train", "graphs", "train_graphs"]]:
    soft_label = {
        "classification": lambda: distill.soft_label(method.temperature),
        "multilabel": distill.soft_label_multilabel,
        "regression": distill.output_error,
    }[setting.task]()
    if not setting.graph_level:
        return soft_label, method.soft_label_nodes
    return soft_label, "graphs" if method.soft_label_nodes == "all" else "train_graphs"


def _auxiliary(method: MethodConfig) -> Objective:
    return {
        "fitnet": lambda: distill.fitnet(dim=method.dim),
        "attention_transfer": distill.attention_transfer,
        "lsp": distill.lsp,
        "gsp": lambda: distill.gsp(max_nodes=method.auxiliary_max_nodes),
        "gcrd": lambda: distill.gcrd(max_nodes=method.auxiliary_max_nodes, dim=method.dim),
        "mustad": distill.mustad,
    }[method.auxiliary]()


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


def _dissimilarity(method: MethodConfig, setting: Setting) -> PairMap:
    axes_rank, teacher_rank = (None, None) if setting.minibatches else (AXES_RANK, TEACHER_RANK)
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
