"""Structural dissimilarity of layers: an objective that compares two layers, applied to every pair (STRIDE).

Unlike the members of `dissimilarity` the criteria are not moments of the layers, so the pairs are taken one after the
other: nothing of size `n` times the number of pairs is built, forwards or backwards.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from jraph import GraphsTuple

from abkd_jax.distill.ops.moments import stack_layers
from abkd_jax.distill.ops.numerics import widen
from abkd_jax.distill.ops.outputs import freeze, last_hidden, last_layers
from abkd_jax.types import GNNOutput, InputError, Mask, Objective, PairMap, PRNGKey, Pytree

__all__ = ["structure"]


def structure(objective: Objective) -> PairMap:
    """Builds the value of an objective for every pair of layers (structural part of STRIDE, arXiv 2310.15938v2).

        D[t, s] = objective of teacher layer t and student layer s, each as the last hidden layer of its model

    STRIDE takes `gcrd(...)`; `lsp(...)` and `gsp(...)` are its alternatives. Any other objective serves too that reads
    the last hidden layers alone and has at most one projection per side, such as `fitnet`: it is used through its three
    functions. Projections are one per layer and side, not per pair. Where the objective draws nodes, all pairs of a
    step use the same ones, for they share the key. Narrower layers are filled up with zero columns.

    Pairs are taken one by one and computed again in the backward pass: in both directions memory is that of the layers
    and of one pair. The time is `T_l S_l` times that of the objective; give `gcrd` and `gsp` their `max_nodes` where
    the teacher is deep or the graph large.

    A trained projection on the teacher's side (`gcrd`, `gsp` with a head) can lower D by discarding information about
    the teacher; `lsp`, and `gsp` without a head, cannot. `"variance"` is 1: these criteria are not relative to it.

    Args:
        objective: compares the last hidden layers; its parameters are `{}` or `{"teacher": ..., "student": ...}`, one
            projection each.

    Returns:
        A pair map with parameters `{"teacher": ..., "student": ...}`, each stacked over the layers, or `{}`. The
        targets are those of the objective, stacked over the teacher's layers.

    Raises:
        InputError: at `init`, a model without hidden layers, an objective with other parameters, projections of
            different widths, or what the objective itself refuses for a pair.

    Examples:
        >>> from abkd_jax.distill import abkd, gcrd, learned
        >>> objective = abkd(learned(16), structure(gcrd(max_nodes=512, dim=16)))
    """

    def init(key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        last_layers("structure", teacher, student)
        widest = max(_alone(student), key=lambda output: output.hiddens[-1].shape[1])
        pairs = [(t, widest) for t in _alone(teacher)] + [(teacher, s) for s in _alone(student)]
        params = [objective.init(k, *pair) for k, pair in zip(jax.random.split(key, len(pairs)), pairs, strict=True)]
        return _stacked({"teacher": params[: len(teacher.hiddens)], "student": params[len(teacher.hiddens) :]})

    def targets(teacher: GNNOutput, *, graph: GraphsTuple, mask: Mask) -> Pytree:
        last_hidden("structure", "teacher", teacher)
        frozen = freeze(teacher)

        def of_layer(x: Float[Array, "n d"]) -> Pytree:
            return objective.targets(frozen._replace(hiddens=(x,)), graph=graph, mask=mask)

        return jax.lax.map(of_layer, stack_layers(frozen.hiddens))

    def apply(
        params: Pytree, targets: Pytree, student: GNNOutput, *, graph: GraphsTuple, mask: Mask, key: PRNGKey | None
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        params = widen(params)

        def column(of_student: tuple[Pytree, Float[Array, "n d"]]) -> Float[Array, " T_l"]:
            s_head, layer = of_student
            output = student._replace(hiddens=(layer,))

            def pair(of_teacher: tuple[Pytree, Pytree]) -> Float[Array, ""]:
                t_head, of_layer = of_teacher
                return objective.apply(t_head | s_head, of_layer, output, graph=graph, mask=mask, key=key)[0]

            return _map_again(pair, (_side(params, "teacher"), targets))

        d = _map_again(column, (_side(params, "student"), stack_layers(student.hiddens))).T
        return d, {"variance": jnp.ones(len(d), d.dtype)}

    return PairMap(init, targets, apply)


def _alone(output: GNNOutput) -> list[GNNOutput]:
    """Returns one output per hidden layer, with this layer alone."""
    return [output._replace(hiddens=(x,)) for x in output.hiddens]


def _side(params: Pytree, side: str) -> Pytree:
    return {name: heads for name, heads in params.items() if name == side}


def _map_again(function: Callable[[Any], Array], xs: Pytree) -> Array:
    """Applies `jax.lax.map`; the backward pass computes each element again instead of storing its intermediates."""
    return jax.lax.map(jax.checkpoint(function, prevent_cse=False), xs)


def _stacked(params: dict[str, list[Pytree]]) -> Pytree:
    """Stacks the projections of each side over its layers; `{}` where the objective has none."""
    every = [p for of_side in params.values() for p in of_side]
    if not any(every):
        return {}
    if not all(isinstance(p, dict) and p.keys() == params.keys() for p in every):
        raise InputError(
            "structure: the objective has parameters of another kind, expected none, or one projection each for "
            "teacher and student, as gcrd has"
        )
    return {side: _stack_heads(side, [p[side] for p in of_side]) for side, of_side in params.items()}


def _stack_heads(side: str, heads: Sequence[Pytree]) -> Pytree:
    """Stacks the projections of one side, with zero rows for the zero columns of its narrower layers."""
    widths = sorted({leaf.shape[-1] for leaf in jax.tree.leaves(heads)})
    if len(widths) > 1:
        raise InputError(
            f"structure: projections of the {side}'s layers have output widths {', '.join(map(str, widths))}, expected "
            "one width for all; give the objective its dim"
        )
    return jax.tree.map(lambda *leaves: _stack_rows(leaves), *heads)


def _stack_rows(leaves: Sequence[Array]) -> Array:
    rows = max(leaf.shape[0] for leaf in leaves)
    return jnp.stack([jnp.pad(x, [(0, rows - x.shape[0])] + [(0, 0)] * (x.ndim - 1)) for x in leaves])
