"""Soft labels that are propagated over the graph before they are learned (P&D)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.losses.logits import init_of_logits
from abkd_jax.distill.ops.checks import constant, require_count, require_in_range, require_temperature
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.soft_targets import SoftTargets, counted_edges, divergence, log_probabilities
from abkd_jax.types import GNNOutput, Mask, Objective, PRNGKey, Pytree, Scalar

__all__ = ["propagate"]


def propagate(temperature: Scalar = 1.0, steps: int = 10, strength: float = 0.5) -> Objective:
    """Builds the divergence from propagated soft labels (P&D, Shin and Shin, LoG 2023, arXiv 2311.17781).

        P <- strength A' P + (1 - strength) P,    `steps` times from softmax(z^t / T),    A' = D^-1/2 (A + I) D^-1/2
        loss = mean_v KL(P_v || softmax(z^s_v / T))

    The rows of the last `P` are scaled to sum 1, as `A'` does not keep their sums. Edges count where the mask holds
    both ends, once each whatever their types; `A` has no other weights and no self loops, and the degrees are those of
    the counted edges. It takes the place of `soft_label`.

    The paper's second form, which resets the rows of training nodes to the teacher's output after every step, is not
    here: a mask does not tell an objective which nodes have labels.

    Args:
        temperature: `T`, 1e-3 to 1e3; traced, it is not checked.
        steps: number of propagations, at least 1.
        strength: share of the neighbours in each, `gamma` of the paper, above 0 and at most 1.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student of different numbers of classes or nodes.

    Examples:
        >>> from abkd_jax.distill import Term, weighted_sum
        >>> objective = weighted_sum(Term("propagate", 1.0, propagate(steps=2, strength=0.9)))
    """
    require_temperature("propagate", temperature=temperature)
    require_count("propagate", steps=steps)
    require_in_range("propagate", 0.0, 1.0, strength=strength)
    temperature = constant(temperature)

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> SoftTargets:
        p = jnp.exp(log_probabilities(freeze(teacher).logits, mask, temperature))
        p = _propagated(p, graph, mask, steps, float(strength))
        negative_entropy = jnp.sum(p * jnp.log(jnp.where(p > 0.0, p, 1.0)), axis=1)
        return SoftTargets(p, negative_entropy, jnp.ones_like(negative_entropy))

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        return divergence(targets, log_probabilities(student.logits, mask, temperature), mask), {}

    return Objective(functools.partial(init_of_logits, "propagate"), targets, apply)


def _propagated(
    p: Float[Array, "n c"], graph: GraphsTuple, mask: Mask, steps: int, strength: float
) -> Float[Array, "n c"]:
    senders, receivers, counted = counted_edges(graph, mask)
    counted = counted & (senders != receivers)
    ones = jnp.where(counted, 1.0, 0.0).astype(p.dtype)
    degrees = 1.0 + jax.ops.segment_sum(ones, receivers, num_segments=mask.shape[0])
    scale = jax.lax.rsqrt(degrees)
    coefficients = (ones * scale[senders] * scale[receivers])[:, None]

    def step(_: Array, p: Array) -> Array:
        neighbours = jax.ops.segment_sum(coefficients * p[senders], receivers, num_segments=mask.shape[0])
        return strength * (neighbours + p / degrees[:, None]) + (1.0 - strength) * p

    p = jax.lax.fori_loop(0, steps, step, p)
    return p / jnp.sum(p, axis=1, keepdims=True)
