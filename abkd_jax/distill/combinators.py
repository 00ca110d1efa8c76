"""Objectives made of objectives: the weights, the choice of nodes, and the freezing of the teacher."""

import math
from collections import Counter
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array

from abkd_jax.distill.checks import require_choice
from abkd_jax.types import GNNOutput, InputError, NodeMasks, Objective, PRNGKey, Pytree

__all__ = ["Term", "freeze", "weighted_sum"]


def freeze(output: GNNOutput) -> GNNOutput:
    """Stop the gradient through everything that a model returned.

    The first line of the `targets` of every objective and pair map that looks at the teacher itself; those made of
    others (`weighted_sum`, `abkd`) leave it to their parts.

    Args:
        output: what the frozen model returned.

    Returns:
        The same arrays, constant under differentiation.
    """
    return jax.lax.stop_gradient(output)


class Term(NamedTuple):
    """One term of a weighted sum of distillation losses.

    Attributes:
        name: key of the term's parameters, and prefix of its metrics.
        weight: factor of the term in the total loss, finite and not negative.
        objective: the distillation loss.
        nodes: the nodes it looks at: `"all"` or `"train"`, a field of `NodeMasks`.
    """

    name: str
    weight: float
    objective: Objective
    nodes: Literal["all", "train"] = "all"


def weighted_sum(*terms: Term) -> Objective:
    """The sum of `weight * loss` over the terms; the only place where weights and nodes are chosen.

    Parameters and targets are dicts keyed by the terms' names, and the metrics are `"<term>/<metric>"` together with
    the unweighted `"<term>/loss"`. `targets` and `apply` take `mask: NodeMasks`, and hand each term its own `[n]`
    mask. The key of a term is the given key folded with the term's position.

    Args:
        *terms: the terms, at least one, with different names.

    Returns:
        An objective whose `mask` is a `NodeMasks`. Its `key` may be None where no term draws random numbers.

    Raises:
        InputError: no term, two terms with one name, an unknown choice of nodes, or a weight that is negative,
            infinite or NaN.
    """
    _check_terms(terms)

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        keys = _term_keys(key, terms)
        return {term.name: term.objective.init(keys[term.name], teacher, student) for term in terms}

    def targets(teacher: GNNOutput, *, graph: Any, mask: NodeMasks) -> Pytree:
        return {
            term.name: term.objective.targets(teacher, graph=graph, mask=getattr(mask, term.nodes)) for term in terms
        }

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: Any, mask: NodeMasks, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        keys = _term_keys(key, terms)
        losses, metrics = [], {}
        for name, weight, objective, nodes in terms:
            loss, details = objective.apply(
                params[name], targets[name], student, graph=graph, mask=getattr(mask, nodes), key=keys[name]
            )
            losses.append(float(weight) * loss)
            metrics |= {f"{name}/loss": loss} | {f"{name}/{metric}": value for metric, value in details.items()}
        return sum(losses[1:], losses[0]), metrics

    return Objective(init, targets, apply)


def _term_keys(key: PRNGKey | None, terms: tuple[Term, ...]) -> dict[str, PRNGKey | None]:
    return {term.name: None if key is None else jax.random.fold_in(key, i) for i, term in enumerate(terms)}


def _check_terms(terms: tuple[Term, ...]) -> None:
    if not terms:
        raise InputError("weighted_sum: no term was given, expected at least one")
    name, count = Counter(term.name for term in terms).most_common(1)[0]
    if count > 1:
        raise InputError(f"weighted_sum: {count} terms are called {name!r}, expected different names")
    for term in terms:
        require_choice("weighted_sum", f"nodes of the term {term.name!r}", term.nodes, NodeMasks._fields)
        if not (math.isfinite(term.weight) and term.weight >= 0):
            raise InputError(
                f"weighted_sum: weight of the term {term.name!r} is {term.weight}, expected a finite number >= 0"
            )
