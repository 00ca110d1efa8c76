"""Contrastive distillation: InfoNCE between the nodes of the student and those of the teacher."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from abkd_jax.distill.ops.checks import require_choice, require_optional_count, require_temperature
from abkd_jax.distill.ops.moments import node_count
from abkd_jax.distill.ops.numerics import unit_rows
from abkd_jax.distill.ops.outputs import Inputs, Layer, masked_layer, of_last_hidden, require_equal_widths
from abkd_jax.distill.ops.pairwise_kernels import projected_sides, sum_over_blocks
from abkd_jax.distill.ops.projections import HEADS, Head, init_sides
from abkd_jax.types import Mask, Objective, PRNGKey, Pytree

__all__ = ["gcrd"]


def gcrd(
    temperature: float = 0.075, max_nodes: int | None = None, head: Head = "bnrelu", dim: int | None = None
) -> Objective:
    """Builds InfoNCE between student and teacher nodes: graph contrastive distillation (G-CRD, arXiv 2111.04964).

        loss = mean_v -log( exp(s_v . t_v / tau) / sum_u exp(s_v . t_u / tau) )

    `s` and `t` `[n, dim]` are the projected last hidden layers, rows normalised. The student's nodes are the anchors,
    and the negatives of `v` are the teacher's rows of all other masked nodes. Both projections are trained, the
    teacher's features are frozen. The logits exist for one block of rows at a time, forwards and backwards.

    Source: Joshi et al., arXiv 2111.04964, github.com/chaitjo/efficient-gnns.

    With `max_nodes`, anchors and negatives are that many masked nodes, drawn anew with every key: fewer negatives make
    an easier task and a smaller value.

    Args:
        temperature: `tau`, 1e-3 to 1e3.
        max_nodes: nodes drawn per step without replacement; None takes all.
        head: `"bnrelu"`, `"linear"` or `"none"` on both sides, as in `projections.project`.
        dim: width of both projections; None is the student's last width. Without effect for the head `"none"`.

    Returns:
        An objective with parameters `{"teacher": ..., "student": ...}`, one projection each; the targets are the
        teacher's last hidden layer `[n, d]`. It needs a key where it draws nodes.

    Raises:
        InputError: a bad argument here; at `init`, a model without hidden layers, or last layers of different widths
            with the head `"none"`; at `apply`, nodes to draw and no key.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("gcrd", 0.5, gcrd(max_nodes=4096, dim=16), nodes="train"))
    """
    require_temperature("gcrd", temperature=temperature)
    require_choice("gcrd", "head", head, HEADS)
    require_optional_count("gcrd", max_nodes=max_nodes, dim=dim)

    def init(key: PRNGKey, t: Layer, s: Layer) -> Pytree:
        if head == "none":
            require_equal_widths("gcrd", t, s, "choose a head")
        return init_sides(key, t, s, head, dim)

    def loss(
        params: Pytree, t: Float[Array, "n d_t"], s: Float[Array, "n d_s"], inputs: Inputs
    ) -> tuple[Array, dict[str, Array]]:
        t_rows, s_rows, kept = projected_sides("gcrd", params, t, s, inputs, head, max_nodes)
        total = _cross_entropy(unit_rows(s_rows), unit_rows(t_rows), kept, float(temperature))
        return total / node_count(kept, total.dtype), {}

    return of_last_hidden("gcrd", init, masked_layer, loss)


def _cross_entropy(
    anchors: Float[Array, "n d"], rows: Float[Array, "n d"], mask: Mask, temperature: float
) -> Float[Array, ""]:
    """Sums over the masked anchors the cross-entropy whose class is the anchor's own row."""
    lowest = float(jnp.finfo(rows.dtype).min)

    def of_block(block: tuple[Float[Array, "b d"], Float[Array, "b d"], Bool[Array, " b"]]) -> Float[Array, ""]:
        s_block, t_block, counted = block
        logits = jnp.matmul(s_block, rows.T, precision="highest") / temperature
        normaliser = jax.nn.logsumexp(jnp.where(mask[None, :], logits, lowest), axis=1)
        return jnp.sum(jnp.where(counted, normaliser - jnp.sum(s_block * t_block, axis=1) / temperature, 0.0))

    return sum_over_blocks(of_block, (anchors, rows, mask))
