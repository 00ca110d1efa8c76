"""Attention-based knowledge distillation: every teacher layer compared with every student layer (arXiv 2310.15938)."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.alignment.dissimilarity import closed_form, trained_heads
from abkd_jax.distill.alignment.layer_attention import learned
from abkd_jax.distill.alignment.structure import structure
from abkd_jax.distill.combinators import Part, combined
from abkd_jax.distill.losses.contrastive import gcrd
from abkd_jax.distill.ops.checks import require_choice
from abkd_jax.distill.ops.outputs import last_hidden, last_layers
from abkd_jax.distill.ops.staged import joined, with_outputs
from abkd_jax.types import GNNOutput, Mask, Objective, PairMap, PRNGKey, Pytree

__all__ = ["abkd", "abkd_closed_form", "abkd_paper", "stride"]


def abkd(
    attention: PairMap,
    dissimilarity: PairMap,
    normalisation: Literal["rows_mean", "mean", "sum"] = "rows_mean",
) -> Objective:
    """Builds the attention-weighted dissimilarity over all pairs of layers (ABKD, arXiv 2310.15938, Eq. 5).

        loss = 1 / T_l * sum_ij A[i, j] D[i, j]        normalisation = "rows_mean"

    `"mean"` divides by `T_l S_l`, `"sum"` by nothing; the paper does not settle which one it uses.

    Metrics: `"attention"` A, `"dissimilarity"` D and `"unexplained"`, D over the variance of the projected teacher (1
    where that is zero), all `[T_l, S_l]`; `"variance"` `[T_l]`, whose fall shows a collapse; `"row_entropy"`, the mean
    entropy of the rows of A in units of `log S_l`: 1 is uniform, 0 one-hot; and the means of D, D / variance and
    variance over the pairs that count, weighted by A: `"attended_dissimilarity"`, `"attended_unexplained"` and
    `"attended_variance"`, which show a collapse. The same three of each part of a `combined` dissimilarity are
    logged as `"<part>/attended_..."`.

    Args:
        attention: gives A, for instance `learned()`.
        dissimilarity: gives D, for instance `closed_form()`.
        normalisation: `"rows_mean"`, `"mean"` or `"sum"`.

    Returns:
        An objective with parameters `{"attention": ..., "dissimilarity": ...}`.

    Raises:
        InputError: an unknown `normalisation`; at `init` and `targets`, a model that returns no hidden layer.

    Examples:
        >>> from abkd_jax.distill import Term, closed_form, weighted_sum
        >>> alignment = abkd(learned(dim=16), closed_form(k=8, rank=64))
        >>> objective = weighted_sum(Term("abkd", 0.1, alignment))
    """
    require_choice("abkd", "normalisation", normalisation, ("rows_mean", "mean", "sum"))
    parts = {"attention": attention, "dissimilarity": dissimilarity}

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        last_layers("abkd", teacher, student)
        keys = jax.random.split(key)
        return {name: part.init(k, teacher, student) for (name, part), k in zip(parts.items(), keys, strict=True)}

    def checked(teacher: GNNOutput) -> GNNOutput:
        last_hidden("abkd", "teacher", teacher)
        return teacher

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        keys = dict.fromkeys(parts) if key is None else dict(zip(parts, jax.random.split(key), strict=True))
        maps = {
            name: part.apply(params[name], targets[name], student, graph=graph, mask=mask, key=keys[name])
            for name, part in parts.items()
        }
        (a, _), (d, details) = maps["attention"], maps["dissimilarity"]
        divisor = {"rows_mean": a.shape[0], "mean": a.size, "sum": 1}[normalisation]
        return jnp.sum(a * d) / divisor, jax.lax.stop_gradient(_metrics(a, details | {"dissimilarity": d}))

    targets = joined({name: part.targets for name, part in parts.items()})
    return Objective(init, with_outputs(targets, checked), apply)


def abkd_paper(dim: int = 16, reduce: Literal["per_node", "pooled"] = "per_node") -> Objective:
    """Builds ABKD as the paper describes it: learned attention and trained projections on both sides.

    Args:
        dim: width of all projections.
        reduce: the reading of Eq. 4, as in `trained_heads`.

    Raises:
        InputError: a bad argument, as in `trained_heads`.
    """
    return abkd(learned(dim), trained_heads(dim, reduce=reduce))


def abkd_closed_form(k: int = 8) -> Objective:
    """Builds ABKD with learned attention and the closed-form dissimilarity, which cannot collapse.

    Args:
        k: principal components per teacher layer, as in `closed_form`.

    Raises:
        InputError: `k` below 1.

    Examples:
        >>> from abkd_jax.distill import Term, soft_label, weighted_sum
        >>> alignment = Term("abkd", 0.1, abkd_closed_form(k=8))
        >>> objective = weighted_sum(Term("soft_label", 1.0, soft_label(temperature=0.25)), alignment)
    """
    return abkd(learned(), closed_form(k))


def stride(dim: int = 16, structure_weight: float = 1.0, max_nodes: int | None = None) -> Objective:
    """Builds STRIDE (arXiv 2310.15938v2): one learned attention over ABKD's dissimilarity and a structural one.

        D[t, s] = trained_heads[t, s] + structure_weight * structure(gcrd)[t, s]

    E-STRIDE, of embeddings alone, is `abkd_paper(dim)`; S-STRIDE, of structure alone, is
    `abkd(learned(dim), structure(gcrd(max_nodes=max_nodes, dim=dim)))`.
    The paper's weights are not known. Projections are trained on both sides of both parts, so either can collapse:
    watch `"embedding/attended_unexplained"`, `"embedding/attended_variance"` and `"structure/attended_dissimilarity"`.

    Args:
        dim: width of all projections.
        structure_weight: weight of the structural part.
        max_nodes: nodes drawn per step for the structural part, as in `gcrd`.

    Raises:
        InputError: a bad argument.
    """
    structural = structure(gcrd(max_nodes=max_nodes, dim=dim))
    parts = Part("embedding", 1.0, trained_heads(dim)), Part("structure", structure_weight, structural)
    return abkd(learned(dim), combined(*parts))


def _metrics(a: Float[Array, "T_l S_l"], details: dict[str, Array]) -> dict[str, Array]:
    parts = [name.removesuffix("dissimilarity") for name in details if name.endswith("dissimilarity")]  # "" the whole
    attended = {}
    for part in parts:
        attended |= _attended(a, details[f"{part}dissimilarity"], details[f"{part}variance"], part)
    return {
        "attention": a,
        "dissimilarity": details["dissimilarity"],
        "unexplained": _unexplained(details["dissimilarity"], details["variance"]),
        "variance": details["variance"],
        "row_entropy": _row_entropy(a),
        **attended,
    }


def _attended(
    a: Float[Array, "T_l S_l"], d: Float[Array, "T_l S_l"], variance: Float[Array, " T_l"], part: str
) -> dict[str, Float[Array, ""]]:
    variances = jnp.broadcast_to(variance[:, None], a.shape)
    maps = {"dissimilarity": d, "unexplained": _unexplained(d, variance), "variance": variances}
    return {f"{part}attended_{name}": jnp.sum(a * values) / jnp.sum(a) for name, values in maps.items()}


def _unexplained(d: Float[Array, "T_l S_l"], variance: Float[Array, " T_l"]) -> Float[Array, "T_l S_l"]:
    varies = variance > 0.0
    return jnp.where(varies[:, None], d / jnp.where(varies, variance, 1.0)[:, None], 1.0)


def _row_entropy(a: Float[Array, "T_l S_l"]) -> Float[Array, ""]:
    """Averages the entropy of the rows, scaled to sum 1, over `log S_l`; an empty row or a single column counts 0."""
    total = jnp.sum(a, axis=1, keepdims=True)
    normalised = a / jnp.where(total > 0.0, total, 1.0)
    return jnp.mean(jnp.sum(entr(normalised), axis=1)) / math.log(max(a.shape[1], 2))
