"""Targets in two stages, for minibatches: a basis of the frozen teacher once, and with it the targets of every batch.

Principal components need an eigendecomposition, which would run in every step and, at a width of 512, take most of the
time to compile it. Those of the teacher over all nodes do not change, and a sample of its outputs gives them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jraph import GraphsTuple

from abkd_jax.types import GNNOutput, Objective, PairMap, Pytree

__all__ = [
    "StagedTargets",
    "batch_targets",
    "exact_in_batches",
    "joined",
    "needs_basis",
    "teacher_basis",
    "with_outputs",
]

Targets = Callable[..., Pytree]  # `types.Targets`


@dataclass(frozen=True)
class StagedTargets:
    """The `targets` of a loss that can also be computed in two stages; a call computes them whole.

    Attributes:
        whole: `(teacher, *, graph, mask) -> targets`, see `types.Targets`.
        basis: `(teacher, mask) -> basis` on the host: NumPy in, NumPy out; `teacher` holds a sample of its rows.
        of_batch: `(basis, teacher, *, graph, mask) -> targets`, of the structure that `whole` returns.
    """

    whole: Targets
    basis: Callable[[GNNOutput, Any], Pytree]
    of_batch: Callable[..., Pytree]

    def __call__(self, teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        """Computes the targets from all nodes that the teacher was run on."""
        return self.whole(teacher, graph=graph, mask=mask)


def needs_basis(loss: Objective | PairMap) -> bool:
    """Tells whether targets of the loss have a form in two stages.

    Examples:
        >>> from abkd_jax import distill
        >>> needs_basis(distill.abkd_closed_form()), needs_basis(distill.soft_label())
        (True, False)
    """
    return isinstance(loss.targets, StagedTargets)


def teacher_basis(loss: Objective | PairMap, teacher: GNNOutput, mask: Any) -> Pytree:
    """Computes what `batch_targets` reads of the teacher beside its outputs for the batch; `{}` where that is nothing.

    A pure function in NumPy: nothing is compiled for it.

    Args:
        loss: an objective or a pair map.
        teacher: a sample of the rows of its outputs, NumPy arrays; see `training.make_sample_outputs`.
        mask: of these rows, as the loss takes it.

    Returns:
        Arrays, which a step takes as an argument.
    """
    return _basis(loss.targets, teacher, mask)


def batch_targets(
    loss: Objective | PairMap, basis: Pytree, teacher: GNNOutput, *, graph: GraphsTuple, mask: Any
) -> Pytree:
    """Computes the targets of a minibatch without an eigendecomposition.

    Args:
        loss: an objective or a pair map.
        basis: from `teacher_basis` of the same loss.
        teacher: what the teacher returned for the batch.
        graph: of the batch.
        mask: of the batch, as the loss takes it.

    Returns:
        What `loss.apply` takes. Of a loss without a basis these are its `targets`.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from abkd_jax import GNNOutput, distill, graph
        >>> g, mask = graph.from_edges(np.array([0]), np.array([1]), 4), np.ones(4, bool)
        >>> x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        >>> loss, teacher = distill.closed_form(k=2), GNNOutput(x, (x,))
        >>> basis = teacher_basis(loss, teacher, mask)
        >>> batch = jax.tree.map(jnp.asarray, teacher)
        >>> batch_targets(loss, basis, batch, graph=g, mask=jnp.asarray(mask))["axes"].round(4).tolist()
        [2.0]
    """
    return _of_batch(loss.targets, basis, teacher, graph, mask)


def joined(parts: Mapping[str, Targets], mask_of: Callable[[str, Any], Any] = lambda _, mask: mask) -> Targets:
    """Joins the targets of several losses into a dict by name; in two stages where one of them is.

    Args:
        parts: by name.
        mask_of: `(name, mask) -> mask` of that part.
    """

    def whole(teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        return {name: part(teacher, graph=graph, mask=mask_of(name, mask)) for name, part in parts.items()}

    def basis(teacher: GNNOutput, mask: Any) -> Pytree:
        return {name: _basis(part, teacher, mask_of(name, mask)) for name, part in parts.items()}

    def of_batch(basis: Pytree, teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        return {name: _of_batch(part, basis[name], teacher, graph, mask_of(name, mask)) for name, part in parts.items()}

    staged = any(isinstance(part, StagedTargets) for part in parts.values())
    return StagedTargets(whole, basis, of_batch) if staged else whole


def exact_in_batches(targets: Callable[..., Pytree], rank: int | None) -> Targets:
    """Returns targets that a minibatch does not reduce to `rank` directions: finding them costs more than they save.

    Args:
        targets: `(teacher, *, graph, mask, rank) -> targets`; the rank may be left out.
        rank: as the loss was given it.
    """

    def of_batch(_: Pytree, teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        return targets(teacher, graph=graph, mask=mask, rank=None)

    return targets if rank is None else StagedTargets(targets, lambda teacher, mask: {}, of_batch)


def with_outputs(targets: Targets, change: Callable[[GNNOutput], GNNOutput]) -> Targets:
    """Returns the targets of a teacher whose outputs are changed, or checked, before anything reads them."""

    def whole(teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        return targets(change(teacher), graph=graph, mask=mask)

    def basis(teacher: GNNOutput, mask: Any) -> Pytree:
        return _basis(targets, change(teacher), mask)

    def of_batch(basis: Pytree, teacher: GNNOutput, *, graph: GraphsTuple, mask: Any) -> Pytree:
        return _of_batch(targets, basis, change(teacher), graph, mask)

    return StagedTargets(whole, basis, of_batch) if isinstance(targets, StagedTargets) else whole


def _basis(targets: Targets, teacher: GNNOutput, mask: Any) -> Pytree:
    return targets.basis(teacher, mask) if isinstance(targets, StagedTargets) else {}


def _of_batch(targets: Targets, basis: Pytree, teacher: GNNOutput, graph: GraphsTuple, mask: Any) -> Pytree:
    if isinstance(targets, StagedTargets):
        return targets.of_batch(basis, teacher, graph=graph, mask=mask)
    return targets(teacher, graph=graph, mask=mask)
