"""Contrastive distillation: each student node must find its own teacher node among all the others."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.combinators import freeze
from abkd_jax.distill.ops.checks import require_choice, require_count, require_temperature
from abkd_jax.distill.ops.moments import node_count
from abkd_jax.distill.ops.pairwise_kernels import projected_sides, sum_over_blocks
from abkd_jax.distill.ops.projections import Head, init_sides, last_hidden, last_layers, project, unit_rows
from abkd_jax.types import GNNOutput, InputError, Objective, PRNGKey, Pytree

__all__ = ["gcrd"]


def gcrd(
    temperature: float = 0.075, max_nodes: int | None = None, head: Head = "bnrelu", dim: int | None = None
) -> Objective:
    """Graph contrastive representation distillation (G-CRD, Joshi et al., arXiv 2111.04964).

        loss = mean_v -log( exp(s_v . t_v / tau) / sum_u exp(s_v . t_u / tau) )

    `s` and `t` `[n, dim]` are the last hidden layers through their heads, rows normalised. The student's nodes are the
    anchors, and the negatives of `v` are the teacher's rows of all other masked nodes. Both heads are trained, the
    teacher's features are frozen. The logits exist for a block of rows at a time, forwards and backwards.

    With `max_nodes`, anchors and negatives are that many masked nodes, drawn anew with every key: fewer negatives make
    an easier task and a smaller value. (github.com/chaitjo/efficient-gnns.)

    Args:
        temperature: `tau`, 1e-3 to 1e3.
        max_nodes: nodes drawn each step without replacement; None takes all.
        head: `"bnrelu"`, `"linear"` or `"none"` on both sides, as in `projections.project`.
        dim: width of both heads; None is the student's last width. Without effect for the head `"none"`.

    Returns:
        An objective with parameters `{"teacher": ..., "student": ...}`, one head each; the targets are the teacher's
        last hidden layer `[n, d]`. It needs a key where it draws nodes.

    Raises:
        InputError: a bad argument here; at `init`, a model without hidden layers, or last layers of different widths
            with the head `"none"`; at `apply`, nodes to draw and no key.
    """
    require_temperature("gcrd", temperature=temperature)
    require_choice("gcrd", "head", head, ("none", "linear", "bnrelu"))
    require_count("gcrd", max_nodes=1 if max_nodes is None else max_nodes, dim=1 if dim is None else dim)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        theirs, ours = (layer.shape[1] for layer in last_layers("gcrd", teacher, student))
        if head == "none" and ours != theirs:
            raise InputError(
                f"gcrd: the student's last hidden layer has width {ours}, expected the teacher's {theirs}; "
                "choose a head"
            )
        return init_sides("gcrd", key, teacher, student, head, dim)

    def targets(teacher: GNNOutput, *, graph: Any, mask: Bool[Array, " n"]) -> Float[Array, "n d"]:
        return project({}, last_hidden("gcrd", "teacher", freeze(teacher)), mask, "none")

    def apply(
        params: Pytree,
        targets: Float[Array, "n d"],
        student: GNNOutput,
        *,
        graph: Any,
        mask: Bool[Array, " n"],
        key: PRNGKey | None,
    ) -> tuple[Array, dict[str, Array]]:
        layers = {"teacher": targets, "student": last_hidden("gcrd", "student", student)}
        theirs, ours, kept = projected_sides("gcrd", params, layers, mask, head, max_nodes, key)
        total = _cross_entropy(unit_rows(ours), unit_rows(theirs), kept, float(temperature))
        return total / node_count(kept, total.dtype), {}

    return Objective(init, targets, apply)


def _cross_entropy(
    anchors: Float[Array, "n d"], rows: Float[Array, "n d"], mask: Bool[Array, " n"], temperature: float
) -> Float[Array, ""]:
    """Sum over the masked anchors of the cross-entropy with their own row as the class."""
    lowest = float(jnp.finfo(rows.dtype).min)

    def block(
        part: tuple[Float[Array, "b d"], Float[Array, "b d"], Bool[Array, " b"]],
    ) -> Float[Array, ""]:
        ours, own, counted = part
        logits = jnp.matmul(ours, rows.T, precision="highest") / temperature
        normaliser = jax.nn.logsumexp(jnp.where(mask[None, :], logits, lowest), axis=1)
        return jnp.sum(jnp.where(counted, normaliser - jnp.sum(ours * own, axis=1) / temperature, 0.0))

    return sum_over_blocks(block, (anchors, rows, mask))
