"""Every rule of `check_objective` finds a loss that breaks it, and names it in one line."""

import jax
import jax.numpy as jnp
import pytest

from abkd_jax.distill import check_objective, fitnet, freeze, masked_rows
from abkd_jax.distill.battery import RULES
from abkd_jax.graph.precision import masked_mean
from abkd_jax.types import InputError, Objective


def sound() -> Objective:
    """The squared distance of the logits."""

    def targets(teacher, *, graph, mask):
        return masked_rows(freeze(teacher).logits, mask)

    def apply(params, targets, student, *, graph, mask, key):
        return masked_mean(jnp.sum((masked_rows(student.logits, mask) - targets) ** 2, axis=1), mask), {}

    return Objective(lambda key, teacher, student: {}, targets, apply)


SOUND = sound()


def distance_of(difference, mean=masked_mean, targets=SOUND.targets) -> Objective:
    """The same with another `difference(student's logits, targets, mask)` `[n, c]`, mean or targets."""

    def apply(params, targets, student, *, graph, mask, key):
        return mean(jnp.sum(difference(student.logits, targets, mask) ** 2, axis=1), mask), {}

    return SOUND._replace(targets=targets, apply=apply)


def difference(logits, targets, mask):
    return masked_rows(logits, mask) - targets


def changed(function) -> Objective:
    """The loss with `function(loss) -> (loss, metrics)` after it."""
    return SOUND._replace(apply=lambda *args, **context: function(SOUND.apply(*args, **context)[0]))


@jax.custom_batching.custom_vmap
def doubled_under_vmap(x):
    return x


@doubled_under_vmap.def_vmap
def _(size, batched, x):
    return 2.0 * x, True


def mean_of_roots(values, mask):
    return masked_mean(jnp.sqrt(values), mask)


def relative_to_its_deviation(params, targets, student, *, graph, mask, key):
    x = masked_rows(student.hiddens[-1], mask)
    centred = masked_rows(x - jnp.sum(x, axis=0, keepdims=True) / 9.0, mask)
    variance = jnp.sum(centred**2)
    scaled = centred / jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0))
    return jnp.sum(scaled[:, :3] * targets), {}


BROKEN = {
    "a loss per node": ("values", changed(lambda x: (x[None], {})), "the loss has shape \\(1,\\), expected a scalar"),
    "not a number": ("values", changed(lambda x: (x, {"log": jnp.log(-x)})), "metrics.log is not finite, expected"),
    "a student out of reach": (
        "gradients",
        changed(lambda x: (jax.lax.stop_gradient(x), {})),
        "student's output is 0,",
    ),
    "a teacher that moves": (
        "gradients",
        SOUND._replace(targets=lambda teacher, *, graph, mask: masked_rows(teacher.logits, mask)),
        r"without `distill.freeze` in `targets`, gradient.teacher.logits is [^\n]* at \[0, 0\], expected 0",
    ),
    "a node before others": (
        "order",
        distance_of(lambda x, t, mask: difference(x, t, mask).at[0].multiply(2.0)),
        "with the nodes in another order, gradient.student.logits is [^\n]*, expected ",
    ),
    "padding in the mean": (
        "padding",
        distance_of(lambda x, t, mask: x - t, lambda values, mask: jnp.mean(values)),
        "in rows outside the mask, gradient.student.logits is [^\n]*, expected 0",
    ),
    "a mask that comes too late": (
        "padding",
        distance_of(lambda x, t, mask: x - t, targets=lambda teacher, *, graph, mask: freeze(teacher).logits),
        "without `distill.masked_rows`, for nan in rows outside the mask, gradient.student.logits is nan",
    ),
    "seeds that meet": (
        "seeds",
        changed(lambda x: (x, {"value": doubled_under_vmap(jax.lax.stop_gradient(x))})),
        "for seed 0 under jax.vmap, metrics.value is ",
    ),
    "another number in jit": (
        "compilation",
        changed(lambda x: (2.0 * x if isinstance(x, jax.core.Tracer) else x, {})),
        "under jax.jit, loss is ",
    ),
    "a number in Python": ("compilation", changed(lambda x: (x * float(x), {})), "ConcretizationTypeError: "),
    "parameters from values": (
        "shapes",
        SOUND._replace(init=lambda key, teacher, student: {"scale": jnp.ones(int(teacher.logits[0, 0] > 0) + 1)}),
        "ConcretizationTypeError: ",
    ),
    "parameters without values": (
        "shapes",
        SOUND._replace(init=lambda key, teacher, student: {"scale": jnp.full(2, jnp.nan)}),
        "at `init`, params.scale is not finite",
    ),
    "always float32": (
        "types",
        distance_of(lambda x, t, mask: difference(x, t, mask).astype(jnp.float32)),
        "loss is float32, expected float64: as the outputs are float64",
    ),
    "no slope at zero": ("degenerate", distance_of(difference, mean_of_roots), "with zero rows, gradient"),
    "nothing over nothing": (
        "degenerate",
        distance_of(difference, lambda x, mask: jnp.sum(jnp.where(mask, x, 0.0)) / jnp.sum(mask).astype(x.dtype)),
        "with no node in the mask, loss is not finite",
    ),
    "a deviation of rounding": (
        "degenerate",
        SOUND._replace(apply=relative_to_its_deviation),
        "with a constant last layer of the student, its largest gradient is .*, expected at most 10000 times the usual",
    ),
    "squares in 16 bits": (
        "half_precision",
        changed(lambda x: ((x.astype(jnp.float16) ** 2).astype(x.dtype), {})),
        "computed in 16 bits: [^\n]*integer_pow",
    ),
    "targets in 16 bits": (
        "half_precision",
        distance_of(
            lambda x, t, mask: masked_rows(x, mask) - masked_rows(t, mask),
            targets=lambda teacher, **_: freeze(teacher).logits,
        ),
        "targets is float16, expected float32: start with `distill.masked_rows`",
    ),
}


def test_every_rule_has_a_broken_loss():
    assert {rule for rule, _, _ in BROKEN.values()} == set(RULES)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_loss_is_found_in_one_line(name):
    rule, objective, message = BROKEN[name]
    with pytest.raises(InputError, match=rf"^check_objective: {name} breaks '{rule}': [^\n]*{message}[^\n]*$"):
        check_objective(objective, name, rules=[rule])


def test_a_sound_loss_passes_with_and_without_hidden_layers():
    check_objective(SOUND)
    check_objective(SOUND, teacher_widths=(), student_widths=(2,))


def test_what_the_objective_refuses_itself_is_said_in_its_words():
    with pytest.raises(
        InputError, match=r"^fitnet: the student's last hidden layer has width 3, expected the teacher's 6"
    ):
        check_objective(fitnet("none"))


def test_unknown_rules_are_refused():
    with pytest.raises(InputError, match=r"^check_objective: rule is 'speed', expected one of values, gradients"):
        check_objective(SOUND, rules=["speed"])
