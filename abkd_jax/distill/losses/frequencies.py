"""Low- and high-frequency knowledge of a teacher (FF-G2M)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.losses.logits import init_of_logits
from abkd_jax.distill.ops.checks import constant, require_rows, require_temperature
from abkd_jax.distill.ops.numerics import masked_rows
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.soft_targets import counted_edges, divergence, from_neighbours, log_probabilities
from abkd_jax.graph.precision import masked_mean
from abkd_jax.types import GNNOutput, Mask, Objective, PRNGKey, Pytree, Scalar

__all__ = ["ff_g2m"]


def ff_g2m(temperature: Scalar = 1.0, difference_temperature: Scalar = 1.0) -> Objective:
    """Builds the two terms of full-frequency distillation (FF-G2M, Wu et al., AAAI 2023, arXiv 2305.10758).

        low:   mean over v and u in N(v) or u = v of KL(softmax(z^t_u / T) || softmax(z^s_v / T))
        high:  mean over v and u in N(v) of KL(softmax(|z^t_u - z^t_v| / T_d) || softmax(|z^s_u - z^s_v| / T_d))
        loss = low + high

    The teacher's soft labels of a node and of its neighbours are what a low-pass filter keeps; differences along the
    edges are what it removes. `z` are the logits, as in the authors' code (github.com/LirongWu/FF-G2M), whose `T` is 1
    and `T_d` 1 to 1.5. The low term holds `soft_label`, which is not needed beside it. Edges count where the mask holds
    both ends, once each whatever their types, and without self loops; metrics are `"low"` and `"high"`.

    Args:
        temperature: `T`, 1e-3 to 1e3; traced, it is not checked.
        difference_temperature: `T_d`, likewise.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student of different numbers of classes or nodes.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("ff_g2m", 1.0, ff_g2m(difference_temperature=1.5)))
    """
    require_temperature("ff_g2m", temperature=temperature, difference_temperature=difference_temperature)
    temperature, difference_temperature = constant(temperature), constant(difference_temperature)

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        logits = freeze(teacher).logits
        log_p = log_probabilities(logits, mask, temperature)
        return {
            "low": from_neighbours(log_p, jnp.ones_like(log_p[:, 0]), graph, mask, own=True),
            "high": _differences(logits, graph, mask, difference_temperature),
        }

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        low = divergence(targets["low"], log_probabilities(student.logits, mask, temperature), mask)
        log_p, log_q = targets["high"], _differences(student.logits, graph, mask, difference_temperature)
        senders, receivers, counted = counted_edges(graph, mask)
        require_rows("ff_g2m: targets of the teacher's edges", log_p.shape[0], counted)
        kl = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
        high = masked_mean(kl, counted & (senders != receivers))
        return low + high, {"low": low, "high": high}

    return Objective(functools.partial(init_of_logits, "ff_g2m"), targets, apply)


def _differences(
    logits: Float[Array, "n c"], graph: GraphsTuple, mask: Mask, temperature: Scalar
) -> Float[Array, "e c"]:
    """Computes `log softmax(|z_u - z_v| / T)` along the edges."""
    senders, receivers, _ = counted_edges(graph, mask)
    rows = masked_rows(logits, mask, "logits")
    return jax.nn.log_softmax(jnp.abs(rows[senders] - rows[receivers]) / temperature, axis=-1)
