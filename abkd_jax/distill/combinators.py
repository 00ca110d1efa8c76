"""Losses made of losses: their weights, their nodes, and the logits as one more layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.checks import constant, require_choice, require_weights
from abkd_jax.distill.ops.staged import joined, with_outputs
from abkd_jax.types import GNNOutput, InputError, Mask, NodeMasks, Objective, PairMap, PRNGKey, Pytree, Scalar

__all__ = ["Part", "Term", "combined", "term_losses", "weighted_sum", "with_logits"]

Loss = TypeVar("Loss", Objective, PairMap)


class Term(NamedTuple):
    """One term of a weighted sum of distillation losses.

    Attributes:
        name: key of the term's parameters, and prefix of its metrics.
        weight: factor of the term in the total loss, finite and not negative; traced, it is not checked.
        objective: the distillation loss.
        nodes: the nodes it is computed on: `"all"` or `"train"`, a field of `NodeMasks`; `"graphs"` or `"train_graphs"`
            for losses of the logits in graph-level tasks.
    """

    name: str
    weight: Scalar
    objective: Objective
    nodes: Literal["all", "train", "graphs", "train_graphs"] = "all"


def weighted_sum(*terms: Term) -> Objective:
    """Builds the sum of `weight * loss` over the terms; the only place where weights and nodes are chosen.

    Parameters and targets are dicts keyed by the terms' names, and the metrics are `"<term>/<metric>"` together with
    the unweighted `"<term>/loss"`. `targets` and `apply` take `mask: NodeMasks`, and each term is given its own `[n]`
    mask. The key of a term is the given key folded with the term's position.

    Args:
        *terms: the terms, at least one, with different names.

    Returns:
        An objective whose `mask` is a `NodeMasks`. Its `key` may be None where no term draws random numbers.

    Raises:
        InputError: no term, two terms with one name, an unknown choice of nodes, or a weight that is negative,
            infinite or NaN.

    Examples:
        >>> from abkd_jax import distill
        >>> objective = weighted_sum(
        ...     Term("soft_label", 1.0, distill.soft_label(temperature=0.25)),
        ...     Term("abkd", 0.1, distill.abkd(distill.learned(dim=16), distill.closed_form(k=8))),
        ...     Term("gcrd", 0.5, distill.gcrd(max_nodes=4096, dim=16), nodes="train"),
        ... )
    """
    require_weights("weighted_sum", "term", [(term.name, term.weight) for term in terms])
    for term in terms:
        require_choice("weighted_sum", f"nodes of the term {term.name!r}", term.nodes, NodeMasks._fields)
        if not isinstance(term.objective, Objective):
            kind = type(term.objective).__name__
            raise InputError(f"weighted_sum: the term {term.name!r} holds a {kind}, expected an Objective, as gsp()")

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        keys = _keys(key, terms)
        return {term.name: term.objective.init(keys[term.name], teacher, student) for term in terms}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: NodeMasks, key: PRNGKey | None
    ) -> tuple[Array, dict[str, Array]]:
        keys = _keys_if_any(key, terms)
        losses, metrics = [], {}
        for term in terms:
            loss, details = _apply(term, params, targets, student, graph, mask, keys)
            losses.append(constant(term.weight) * loss)
            metrics |= {f"{term.name}/{metric}": value for metric, value in ({"loss": loss} | details).items()}
        return sum(losses[1:], losses[0]), metrics

    by_name = {term.name: term for term in terms}
    parts = {name: term.objective.targets for name, term in by_name.items()}
    return Objective(init, joined(parts, lambda name, masks: _mask_of(by_name[name], masks)), apply)


def term_losses(
    terms: Sequence[Term], params: Pytree, targets: Pytree, *, graph: GraphsTuple, mask: NodeMasks, key: PRNGKey | None
) -> dict[str, Callable[[GNNOutput], Float[Array, ""]]]:
    """Splits `weighted_sum(*terms)` into the contributions of its terms, as functions of the student's output.

    Args:
        terms: as `weighted_sum` takes them.
        params: of that sum.
        targets: of that sum.
        graph: as the sum's `apply` takes it.
        mask: likewise.
        key: likewise; the terms draw the same random numbers as in the sum.

    Returns:
        By name, `student -> weight * loss`.

    Raises:
        InputError: no term, two terms with one name, or a weight that is negative, infinite or NaN.
    """
    require_weights("term_losses", "term", [(term.name, term.weight) for term in terms])
    keys = _keys_if_any(key, terms)

    def of(term: Term) -> Callable[[GNNOutput], Float[Array, ""]]:
        return lambda student: constant(term.weight) * _apply(term, params, targets, student, graph, mask, keys)[0]

    return {term.name: of(term) for term in terms}


class Part(NamedTuple):
    """One part of a combined dissimilarity.

    Attributes:
        name: key of the part's parameters, and prefix of its metrics.
        weight: factor of the part in the whole, finite and not negative.
        dissimilarity: the pair map.
    """

    name: str
    weight: float
    dissimilarity: PairMap


def combined(*parts: Part) -> PairMap:
    """Builds the sum of `weight * D` over dissimilarities, under one attention: STRIDE's D (arXiv 2310.15938v2).

    `"variance"` is the same sum of the parts' variances, so that D / variance is a mean over the parts. The details
    also hold `"<part>/dissimilarity"` and `"<part>/variance"` of each part, and `abkd` logs their attended means: a
    part that collapses shows there, however small it is beside the others. The key of a part is the given key folded
    with its position.

    Args:
        *parts: at least one, with different names.

    Returns:
        A pair map whose parameters and targets are dicts keyed by the parts' names.

    Raises:
        InputError: no part, two parts with one name, or a weight that is negative, infinite or NaN.

    Examples:
        >>> from abkd_jax import distill
        >>> edges = distill.structure(distill.lsp())
        >>> both = combined(Part("embedding", 1.0, distill.trained_heads(4)), Part("edges", 0.5, edges))
        >>> objective = distill.abkd(distill.learned(), both)
    """
    require_weights("combined", "part", [(part.name, part.weight) for part in parts])

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        keys = _keys(key, parts)
        return {part.name: part.dissimilarity.init(keys[part.name], teacher, student) for part in parts}

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        keys = _keys_if_any(key, parts)
        weighted, details = [], {}
        for name, weight, part in parts:
            d, of_part = part.apply(params[name], targets[name], student, graph=graph, mask=mask, key=keys[name])
            weighted.append((float(weight) * d, float(weight) * of_part["variance"]))
            details |= {f"{name}/{detail}": value for detail, value in ({"dissimilarity": d} | of_part).items()}
        d, variance = (jnp.sum(jnp.stack(values), axis=0) for values in zip(*weighted, strict=True))
        return d, details | {"variance": variance}

    return PairMap(init, joined({part.name: part.dissimilarity.targets for part in parts}), apply)


def with_logits(loss: Loss) -> Loss:
    """Wraps an objective or a pair map so that it reads the logits as one more hidden layer, the last, of both models.

    Args:
        loss: what reads the hidden layers: `abkd(...)`, an attention, a dissimilarity, or another objective. To have
            the logits among the layers of ABKD, wrap `abkd(...)` itself, or both its attention and its dissimilarity.

    Returns:
        An objective or a pair map like `loss`, with its parameters, targets and metrics.

    Examples:
        >>> from abkd_jax import distill
        >>> objective = with_logits(distill.abkd(distill.learned(), distill.closed_form()))
    """

    def extended(output: GNNOutput) -> GNNOutput:
        return output._replace(hiddens=(*output.hiddens, output.logits))

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        return loss.init(key, extended(teacher), extended(student))

    def apply(params: Pytree, targets: Pytree, student: GNNOutput, **context: Any) -> tuple[Array, dict[str, Array]]:
        return loss.apply(params, targets, extended(student), **context)

    return type(loss)(init, with_outputs(loss.targets, extended), apply)


def _apply(
    term: Term,
    params: Pytree,
    targets: Pytree,
    student: GNNOutput,
    graph: GraphsTuple,
    mask: NodeMasks,
    keys: Mapping[str, PRNGKey | None],
) -> tuple[Array, dict[str, Array]]:
    name, nodes = term.name, _mask_of(term, mask)
    return term.objective.apply(params[name], targets[name], student, graph=graph, mask=nodes, key=keys[name])


def _mask_of(term: Term, masks: NodeMasks) -> Any:
    mask = getattr(masks, term.nodes)
    if mask is None:
        raise InputError(f"weighted_sum: nodes of the term {term.name!r} is {term.nodes!r}, expected all or train here")
    return mask


def _keys(key: PRNGKey, named: Sequence[Term | Part]) -> dict[str, PRNGKey]:
    return {x.name: jax.random.fold_in(key, i) for i, x in enumerate(named)}


def _keys_if_any(key: PRNGKey | None, named: Sequence[Term | Part]) -> Mapping[str, PRNGKey | None]:
    return dict.fromkeys(x.name for x in named) if key is None else _keys(key, named)
