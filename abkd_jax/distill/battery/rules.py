"""The rules of `check_objective`: each raises `BrokenRuleError` for a loss that breaks it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

from abkd_jax.distill.battery.case import (
    KEPT,
    NODES,
    QUICK,
    RING,
    BrokenRuleError,
    Case,
    named,
    random_params,
    require_close,
    require_equal,
    require_finite,
)
from abkd_jax.types import GNNOutput, Pytree

__all__ = ["RULES"]

# Operations that move, choose or convert numbers and do not compute any; `add_any` sums the gradients of two terms.
_MOVES = {
    *("add_any", "convert_element_type", "select_n", "pad", "slice", "dynamic_slice", "dynamic_update_slice", "gather"),
    *("copy", "reshape", "transpose", "squeeze", "broadcast_in_dim", "concatenate", "stop_gradient"),
}

_STEEP = 1e4  # batch normalisation of equal numbers multiplies gradients by a few hundred, dividing by rounding by 1e7


def _values(case: Case) -> None:
    loss, _ = jax.eval_shape(case.forward, *case.inputs())
    if loss.shape != ():
        raise BrokenRuleError(f"the loss has shape {loss.shape}, expected a scalar")
    require_finite(case.run(), "on random outputs")


def _gradients(case: Case) -> None:
    usual = case.run()
    gradient, largest = usual["gradient"], _steepest(usual)
    if not largest > 1e-6:
        raise BrokenRuleError(f"the largest gradient to the student's output is {largest:.6g}, expected more than 1e-6")
    to_teacher = {"gradient": {"teacher": gradient["teacher"]}}
    require_equal(to_teacher, _zeros(to_teacher), "without `distill.freeze` in `targets`")


def _order(case: Case) -> None:
    order = np.random.default_rng(3).permutation(NODES)
    _, *by_node, _ = case.inputs()
    student, teacher, mask = jax.tree.map(lambda x: np.asarray(x)[order], by_node)
    renumbered = np.argsort(order)[RING]  # the same edges in the new numbers of the nodes
    expected, actual = case.run(), case.run(student=student, teacher=teacher, mask=mask, edges=renumbered)
    expected["gradient"]["student"] = jax.tree.map(lambda x: x[order], expected["gradient"]["student"])
    actual, expected = _without(actual, "targets"), _without(expected, "targets")
    require_close(actual, expected, "with the nodes in another order")


def _padding(case: Case) -> None:
    expected = _without(case.run(), "targets")
    outside = {"gradient": {"student": jax.tree.map(lambda x: x[KEPT:], expected["gradient"]["student"])}}
    require_equal(outside, _zeros(outside), "in rows outside the mask")
    for garbage in (1e6, np.nan):
        student, teacher = jax.tree.map(lambda x: x.at[KEPT:].set(garbage), (case.student, case.teacher))  # noqa: B023
        actual = _without(case.run(student=student, teacher=teacher), "targets")
        require_equal(actual, expected, f"without `distill.masked_rows`, for {garbage:g} in rows outside the mask")


def _seeds(case: Case) -> None:
    params = case.params, random_params(1, case.objective, case.teacher, case.student)
    students = case.student, jax.tree.map(lambda x: 0.5 * np.asarray(x)[::-1], case.student)
    stacked = (jax.tree.map(lambda *leaves: np.stack(leaves), *pair) for pair in (params, students))
    program = jax.jit(jax.vmap(case.forward, in_axes=(0, 0, None, None, None)), compiler_options=QUICK)
    together = named(jax.device_get(program(*stacked, *case.inputs()[2:])))
    for seed in range(2):
        alone = _without(case.run(params=params[seed], student=students[seed]), "gradient")
        require_close(jax.tree.map(lambda x: x[seed], together), alone, f"for seed {seed} under jax.vmap")  # noqa: B023


def _compilation(case: Case) -> None:
    compiled = _without(case.run(), "gradient")
    require_close(compiled, named(case.forward(*case.inputs())), "under jax.jit")


def _shapes(case: Case) -> None:
    key, init = jax.random.key(0), case.objective.init
    shapes = jax.eval_shape(init, key, *_as(jnp.float32, (case.teacher, case.student)))
    params = jax.jit(init, compiler_options=QUICK)(key, case.teacher, case.student)
    actual, expected = (jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (params, shapes))
    if actual != expected:
        raise BrokenRuleError(f"`init` gives {actual}, expected {expected} as for shapes alone")
    require_finite({"params": params}, "at `init`")


def _types(case: Case) -> None:
    with jax.enable_x64(True):
        for dtype in ("float32", "float64"):
            student, teacher = _as(dtype, (case.student, case.teacher))
            params = jax.eval_shape(case.objective.init, jax.random.key(0), teacher, student)
            values = jax.eval_shape(case.forward, params, student, teacher, *case.inputs()[3:])
            _require_type(dtype, {"params": params} | named(values), f"as the outputs are {dtype}")


def _degenerate(case: Case) -> None:
    student, teacher = case.student, case.teacher
    rows = jax.tree.map(lambda x: x.at[2:5].set(0.0), {"student": student, "teacher": teacher})
    one, none = (case.make_mask(kept) for kept in (np.arange(NODES) == 3, np.zeros(NODES, bool)))
    for where, changed in {
        "with zero rows": rows,
        "with a dead last layer of the student": {"student": _constant(student, -1, 0.0)},
        "with a dead first layer of the teacher": {"teacher": _constant(teacher, 0, 0.0)},
        "with one node in the mask": {"mask": one},
        "with no node in the mask": {"mask": none},
    }.items():
        require_finite(case.run(**changed), where)
    constant, usual = (_steepest(case.run(student=x)) for x in (_constant(student, -1, 0.1), student))
    if not constant <= _STEEP * usual:
        raise BrokenRuleError(
            f"with a constant last layer of the student, its largest gradient is {constant:.3g}, expected at most "
            f"{_STEEP:g} times the usual {usual:.3g}: the rounding of a mean is no variance"
        )


def _half_precision(case: Case) -> None:
    short = _as(jnp.float16, (case.params, case.student, case.teacher))
    init = {"params": jax.eval_shape(case.objective.init, jax.random.key(0), *short[:0:-1])}
    both = jax.value_and_grad(case.forward, argnums=(0, 1), has_aux=True)
    program, (values, gradients) = jax.make_jaxpr(both, return_shape=True)(*short, *case.inputs()[3:])
    _require_type("float32", init | named(values), "start with `distill.masked_rows`")
    _require_type("float16", {"gradient": gradients}, "gradients have the type of what they belong to")
    computed = sorted(set(_operations_in_16_bits(program.jaxpr)) - _MOVES)
    if computed:
        raise BrokenRuleError(f"computed in 16 bits: {', '.join(computed)}; start with `distill.masked_rows`")


def _operations_in_16_bits(jaxpr: Jaxpr) -> Iterator[str]:
    """Yields the names of operations on float16 numbers, in all programs inside."""
    for equation in jaxpr.eqns:
        inside = list(jaxprs_in_params(equation.params))
        for program in inside:
            yield from _operations_in_16_bits(program)
        if not inside and any(getattr(x.aval, "dtype", None) == jnp.float16 for x in equation.invars):
            yield equation.primitive.name


def _require_type(dtype: str, tree: Pytree, why: str) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != dtype:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise BrokenRuleError(f"{name} is {leaf.dtype}, expected {dtype}: {why}")


def _as(dtype: Any, tree: Pytree) -> Pytree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), tree)


def _constant(output: GNNOutput, layer: int, value: float) -> GNNOutput:
    changed = layer % max(len(output.hiddens), 1)
    hiddens = (jnp.full_like(h, value) if i == changed else h for i, h in enumerate(output.hiddens))
    return output._replace(hiddens=tuple(hiddens))


def _steepest(result: dict[str, Any]) -> float:
    """Returns the largest gradient to the student's output."""
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(result["gradient"]["student"]))


def _zeros(tree: Pytree) -> Pytree:
    return jax.tree.map(np.zeros_like, tree)


def _without(result: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != name}


RULES: dict[str, Callable[[Case], None]] = {
    "values": _values,
    "gradients": _gradients,
    "order": _order,
    "padding": _padding,
    "seeds": _seeds,
    "compilation": _compilation,
    "shapes": _shapes,
    "types": _types,
    "degenerate": _degenerate,
    "half_precision": _half_precision,
}
