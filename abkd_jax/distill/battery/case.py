"""Random inputs of a loss, its program, and comparisons of trees of numbers that name the first difference."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from abkd_jax.graph import from_edges
from abkd_jax.types import GNNOutput, NodeMasks, Objective, Pytree

__all__ = [
    "KEPT",
    "NODES",
    "QUICK",
    "RING",
    "BrokenRuleError",
    "Case",
    "make_case",
    "named",
    "random_params",
    "require_close",
    "require_equal",
    "require_finite",
]

NODES, KEPT, CLASSES = 12, 9, 3  # the last three nodes are padding
RING = np.stack([np.arange(NODES), (np.arange(NODES) + 1) % NODES])
QUICK = {"xla_backend_optimization_level": 0}  # running takes microseconds, compiling most of the time


class BrokenRuleError(Exception):
    """One line: what was found, and what was expected."""


class Case(NamedTuple):
    """A loss with random inputs, and its values and gradients as a program that is compiled once.

    Attributes:
        objective: the loss.
        make_mask: `[n]` booleans to the mask that the loss takes.
        params: random parameters.
        student: random output of a student.
        teacher: random output of a teacher.
        forward: `(params, student, teacher, mask, graph) -> (loss, (metrics, targets))`.
        program: the same and the gradients to the first three, compiled.
    """

    objective: Objective
    make_mask: Callable[[np.ndarray], Any]
    params: Pytree
    student: GNNOutput
    teacher: GNNOutput
    forward: Callable[..., Any]
    program: Callable[..., Any]

    def inputs(self, edges: np.ndarray = RING, **changed: Any) -> tuple[Any, ...]:
        """Returns the arguments of `forward` and `program`, with some of them changed."""
        mask = self.make_mask(np.arange(NODES) < KEPT)
        usual = {"params": self.params, "student": self.student, "teacher": self.teacher, "mask": mask}
        return *(usual | changed).values(), from_edges(edges[0], edges[1], NODES, undirected=True)

    def run(self, **changed: Any) -> dict[str, Any]:
        """Returns loss, metrics, targets and gradients by name on the host, for inputs as `inputs` takes them."""
        values, gradients = jax.device_get(self.program(*self.inputs(**changed)))
        return named(values) | {"gradient": dict(zip(("params", "student", "teacher"), gradients, strict=True))}


def make_case(
    objective: Objective, teacher_widths: Sequence[int], student_widths: Sequence[int], node_masks: bool
) -> Case:
    """Draws the inputs of a loss; nothing is compiled yet.

    Args:
        objective: the loss.
        teacher_widths: widths of the teacher's hidden layers.
        student_widths: widths of the student's hidden layers.
        node_masks: whether the loss takes a `NodeMasks` as its mask.

    Raises:
        InputError: the objective refuses these outputs.
    """
    teacher, student = _random_output(0, teacher_widths), _random_output(1, student_widths)

    def forward(params: Pytree, student: GNNOutput, teacher: GNNOutput, mask: Any, graph: Any) -> Any:
        targets = objective.targets(teacher, graph=graph, mask=mask)
        loss, metrics = objective.apply(params, targets, student, graph=graph, mask=mask, key=jax.random.key(0))
        return loss, (metrics, targets)

    def make_mask(kept: np.ndarray) -> Any:
        every, train = jnp.asarray(kept), jnp.asarray(kept & (np.cumsum(kept) < KEPT - 1))
        return NodeMasks(every, train, every, train) if node_masks else every

    program = jax.jit(jax.value_and_grad(forward, argnums=(0, 1, 2), has_aux=True), compiler_options=QUICK)
    return Case(objective, make_mask, random_params(0, objective, teacher, student), student, teacher, forward, program)


def named(values: Any) -> dict[str, Any]:
    """Returns what `Case.forward` returns by name."""
    loss, (metrics, targets) = values
    return {"loss": loss, "metrics": metrics, "targets": targets}


def _random_output(seed: int, widths: Sequence[int]) -> GNNOutput:
    """Draws logits and rectified layers, float32: all rows differ."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(NODES, CLASSES))
    hiddens = [np.maximum(rng.normal(0.5, 1.0, (NODES, width)), 0.0) for width in widths]
    return GNNOutput(jnp.asarray(logits, jnp.float32), tuple(jnp.asarray(h, jnp.float32) for h in hiddens))


def random_params(seed: int, objective: Objective, teacher: GNNOutput, student: GNNOutput) -> Pytree:
    """Draws parameters of the shapes and types that `init` gives: no bias is 0, as after some steps."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(objective.init, jax.random.key(0), teacher, student)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(scale=0.5, size=x.shape), x.dtype), shapes)


def require_equal(actual: Pytree, expected: Pytree, where: str, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Requires two trees to hold the same numbers, bit for bit unless there is a tolerance.

    Args:
        actual: a tree of arrays.
        expected: a tree of the same structure.
        where: under which conditions, for the message.
        rtol: relative tolerance.
        atol: absolute tolerance.

    Raises:
        BrokenRuleError: two arrays differ.
    """
    for (path, x), y in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        if x.shape != y.shape:
            raise BrokenRuleError(f"{where}, {_name(path)} has shape {x.shape}, expected {y.shape}")
        different = np.argwhere(~np.isclose(x, y, rtol, atol))
        if len(different):
            at = tuple(different[0].tolist())
            raise BrokenRuleError(f"{where}, {_name(path)} is {x[at]:.6g} at {list(at)}, expected {y[at]:.6g}")


def require_close(actual: Pytree, expected: Pytree, where: str) -> None:
    """Requires two trees to hold the same numbers up to rounding, as `require_equal` does."""
    require_equal(actual, expected, where, rtol=2e-4, atol=2e-5)


def require_finite(tree: Pytree, where: str) -> None:
    """Requires all numbers of a tree to be finite, as `require_equal` does."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if not np.isfinite(leaf).all():
            raise BrokenRuleError(f"{where}, {_name(path)} is not finite, expected finite numbers")


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
