"""One call that tests a distillation loss."""

import contextlib
from collections.abc import Iterator, Sequence

from abkd_jax.distill.battery.case import BrokenRuleError, make_case
from abkd_jax.distill.battery.rules import RULES
from abkd_jax.distill.ops.checks import require_choice
from abkd_jax.types import InputError, Objective

__all__ = ["check_objective"]


def check_objective(
    objective: Objective,
    name: str = "the objective",
    *,
    teacher_widths: Sequence[int] = (7, 5, 6),
    student_widths: Sequence[int] = (4, 3),
    node_masks: bool = False,
    rules: Sequence[str] | None = None,
) -> None:
    """Tests a distillation loss on random outputs of two models, rule by rule, in a few seconds.

    Every objective of this package passes:

        values          the loss is a scalar, and all numbers are finite
        gradients       the student gets a gradient, the frozen teacher none
        order           the order of the nodes does not matter
        padding         rows outside the mask may hold anything, NaN too, and get no gradient
        seeds           `jax.vmap` over seeds gives the numbers of each seed
        compilation     `jax.jit` gives the numbers of the uncompiled functions
        shapes          `init` reads nothing but the shapes of the outputs
        types           float32 outputs give float32 numbers, and float64 outputs float64
        degenerate      zero rows, dead layers, one node or none in the mask: all numbers stay finite; where a layer of
                        the student is constant, its gradients are no more than 1e4 times the usual ones
        half_precision  16-bit outputs are widened before anything is computed from them

    The outputs have 3 classes and 12 nodes, 9 of them in the mask. A loss that draws nodes must draw all of these for
    `"order"` and `"padding"`.

    Args:
        objective: the loss.
        name: of the loss, for the messages.
        teacher_widths: widths of the teacher's hidden layers; choose such as the loss accepts.
        student_widths: widths of the student's hidden layers.
        node_masks: whether the mask of the loss is a `NodeMasks`, as that of `weighted_sum` is.
        rules: names of the rules to test; None is all of them.

    Raises:
        InputError: a rule is broken, or there is none of this name; or the objective refuses these outputs.

    Examples:
        >>> from abkd_jax import distill
        >>> check_objective(distill.output_error(), "output_error", rules=["shapes", "half_precision"])
        >>> careless = distill.output_error()._replace(targets=lambda teacher, *, graph, mask: teacher.logits)
        >>> check_objective(careless, "careless", rules=["half_precision"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        abkd_jax.types.InputError: check_objective: careless breaks 'half_precision': ...
    """
    for rule in rules or ():
        require_choice("check_objective", "rule", rule, tuple(RULES))
    with _in_one_line(name, "shapes"):
        case = make_case(objective, teacher_widths, student_widths, node_masks)
    for rule in RULES if rules is None else rules:
        with _in_one_line(name, rule):
            RULES[rule](case)


@contextlib.contextmanager
def _in_one_line(name: str, rule: str) -> Iterator[None]:
    """Turns every exception but those of the objective's own checks into one line that names the rule."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, BrokenRuleError) else f"{type(error).__name__}: {error}"
        line = reason.strip().partition("\n")[0]
        if isinstance(error, AttributeError) and rule == "values":
            line += "; a loss of NodeMasks, as weighted_sum's, is tested with node_masks=True"
        raise InputError(f"check_objective: {name} breaks {rule!r}: {line}") from error
