"""Soft labels of reliable neighbours (KRD)."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.losses.logits import init_of_logits
from abkd_jax.distill.ops.checks import constant, require_in_range, require_positive, require_temperature
from abkd_jax.distill.ops.outputs import freeze
from abkd_jax.distill.ops.soft_targets import (
    SoftTargets,
    divergence,
    from_neighbours,
    log_probabilities,
    negative_entropy,
)
from abkd_jax.types import GNNOutput, Mask, Objective, PRNGKey, Pytree, Scalar

__all__ = ["krd"]


def krd(temperature: Scalar = 1.0, power: float = 1.0, noise: float = 1.0) -> Objective:
    """Builds the divergence from the soft labels of reliable neighbours (KRD, Wu et al., ICML 2023, arXiv 2306.05628).

        loss = sum_{u -> v} a_u KL(softmax(z^t_u / T) || softmax(z^s_v / T)) / sum_{u -> v} a_u
        a_u = 1 - (rho_u / max_w rho_w)^power,    rho_u = E (H(softmax(z^t_u + noise e)) - H(softmax(z^t_u)))^2

    `H` is the entropy: a node is reliable if noise leaves its entropy as it is. Edges count where the mask holds both
    ends, once each whatever their types, and without self loops. It stands beside `soft_label`, the term of the nodes
    themselves.

    Three parts differ from the published method, since an objective has outputs of the teacher alone, and no state:

    - The paper adds the noise to the features, and runs the teacher again. Here it is added to the logits, and the mean
      over `e` is that of the cubature rule of degree 3 (Arasaratnam and Haykin, 2009, `e = +- sqrt(c) unit vector`).
    - The paper fits `power` while it trains, to where student and teacher agree; its code starts from 1 and moves it by
      a hundredth of the difference. Here it is fixed.
    - The paper draws the neighbours with the probabilities `a`. Here all of them count, with the weights `a`: the
      expected value of that draw.

    On minibatches the largest `rho` is that of the batch.

    Args:
        temperature: `T`, 1e-3 to 1e3; traced, it is not checked.
        power: of the decay of reliability, above 0.
        noise: standard deviation of the noise, in units of logits, 1e-3 to 1e3.

    Returns:
        An objective without parameters, which needs neither a key nor hidden layers.

    Raises:
        InputError: a bad argument here; at `init`, teacher and student of different numbers of classes or nodes.

    Examples:
        >>> from abkd_jax.distill import Term, soft_label, weighted_sum
        >>> objective = weighted_sum(Term("soft_label", 1.0, soft_label()), Term("krd", 1.0, krd()))
    """
    require_temperature("krd", temperature=temperature)
    require_positive("krd", power=power)
    require_in_range("krd", 1e-3, 1e3, noise=noise)
    temperature = constant(temperature)

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> SoftTargets:
        logits = freeze(teacher).logits
        variation = jnp.where(mask, _variation(log_probabilities(logits, mask, 1.0), float(noise)), 0.0)
        largest = jnp.max(variation)
        reliable = 1.0 - (variation / jnp.where(largest > 0.0, largest, 1.0)) ** float(power)
        return from_neighbours(log_probabilities(logits, mask, temperature), reliable, graph, mask, own=False)

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        return divergence(targets, log_probabilities(student.logits, mask, temperature), mask), {}

    return Objective(functools.partial(init_of_logits, "krd"), targets, apply)


def _variation(log_p: Float[Array, "n c"], noise: float) -> Float[Array, " n"]:
    """Computes the mean squared change of the entropy over steps of `+- noise sqrt(c)` of one logit at a time.

    The entropy is that of "this class or another", plus the probability of another times the entropy among the others,
    which the step leaves as it is: all of them cost `n c`, and not `n c^2`. Nothing overflows, and no probability is a
    difference of numbers near 1, which would be rounding where a node is certain of its class.
    """
    log_others, among_others = _others(log_p)
    before, step = -negative_entropy(log_p), noise * math.sqrt(log_p.shape[1])

    def squared_changes(step: float) -> Float[Array, " n"]:
        log_odds = log_p + step - log_others
        after = _entropy_of_two(log_odds) + jax.nn.sigmoid(-log_odds) * among_others
        return jnp.sum((after - before[:, None]) ** 2, axis=1)

    return (squared_changes(step) + squared_changes(-step)) / (2.0 * log_p.shape[1])


def _others(log_p: Float[Array, "n c"]) -> tuple[Float[Array, "n c"], Float[Array, "n c"]]:
    """Computes, for each class, the log-probability that it is another, and the entropy among the others."""
    likeliest = jax.nn.one_hot(jnp.argmax(log_p, axis=1), log_p.shape[1], dtype=bool)
    # Of the likeliest class, by sums without it; the lowest number stands for -inf, of which NaN would come.
    without = jnp.where(likeliest, float(jnp.finfo(log_p.dtype).min), log_p)
    log_sum = jax.nn.logsumexp(without, axis=1, keepdims=True)
    among = -negative_entropy(without - log_sum)[:, None]
    # Of any other, with a probability of at most 1/2, by what it leaves of 1 and of the entropy.
    p = jnp.where(likeliest, 0.0, jnp.exp(log_p))
    log_left = jnp.log1p(-p)
    among_left = log_left - (negative_entropy(log_p)[:, None] - p * log_p) / (1.0 - p)
    return jnp.where(likeliest, log_sum, log_left), jnp.where(likeliest, among, among_left)


def _entropy_of_two(log_odds: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Computes the entropy of two classes from the logarithm of their odds."""
    size = jnp.abs(log_odds)
    return jnp.log1p(jnp.exp(-size)) + size * jax.nn.sigmoid(-size)
