"""Initialisations that a student can have, and which of them `auto` is."""

import dataclasses

from abkd_jax.configs.options import MethodConfig, ModelConfig
from abkd_jax.outside import is_outside
from abkd_jax.types import InputError

__all__ = ["STARTS_OF_TEACHER", "STARTS_OF_WEIGHTS", "check_start", "possible", "with_start"]

STARTS_OF_WEIGHTS = ("teacher_directions", "attention_map")  # that read parameters of the teacher
STARTS_OF_TEACHER = (*STARTS_OF_WEIGHTS, "fitted")  # that read anything of it
LINEAR_LAYERS = ("gcnii", "gcn", "mlp", "graphsage")  # models whose layers are linear in their parameters
LINEAR_INPUT = {"gcnii", "gcn", "mlp"}  # models whose input layer is one linear map, as `teacher_directions` reads it


def possible(student: ModelConfig, teacher: ModelConfig | None) -> tuple[str, ...]:
    """Returns the initialisations that a student can have.

    Args:
        student: architecture and sizes.
        teacher: likewise; None where no single model is known.

    Examples:
        >>> possible(ModelConfig(name="rgcn", hidden=8), ModelConfig(name="rgcn"))
        ('default', 'positive')
    """
    if is_outside(student.name):
        return ("default",)
    fits = () if _unfit(student) else ("fitted",)
    if teacher is None or {student.name, teacher.name} - LINEAR_INPUT:
        return ("default", "positive", *fits)
    found = ("positive",) if student.hidden > teacher.hidden else ("positive", "teacher_directions")
    return found + (("attention_map",) if found[1:] and _unlike(student, teacher) is None else ()) + fits


def with_start(method: MethodConfig, student: ModelConfig, teacher: ModelConfig | None) -> MethodConfig:
    """Returns a method whose start `auto` is decided: fitted to the teacher, cut out of it, or plain.

    A student that learns from what its teacher returns is fitted to it where it can be, else cut out of it; labels
    alone are to have nothing of a teacher, by `distill`: studies tune the start of `supervised` as well. Among the
    points that tunings try, the fitted start is ahead of the others by the mean validation accuracy
    (`experiments/README.md`), so it is the one for settings that nobody tunes.

    Args:
        method: its settings.
        student: architecture and sizes.
        teacher: likewise; None where no single model is known.

    Examples:
        >>> small = ModelConfig(layers=4, hidden=4)
        >>> with_start(MethodConfig(soft_label_weight=1.0), small, ModelConfig()).start
        'fitted'
        >>> with_start(MethodConfig(), small, ModelConfig()).start
        'positive'
    """
    if method.start != "auto":
        return method
    learns = bool(method.soft_label_weight or method.alignment_weight or method.auxiliary_weight)
    wanted = ("fitted", "attention_map") if method.input == "full" else ("fitted",)
    there = possible(student, teacher)
    found = [start for start in wanted if learns and start in there]
    return dataclasses.replace(method, start=found[0] if found else "positive" if "positive" in there else "default")


def check_start(
    name: str, start: str, student: ModelConfig, teacher: ModelConfig | None, *, path: str = "--student"
) -> None:
    """Checks that a student can have the start that its settings name.

    Args:
        name: of the method.
        start: one of `STARTS_OF_TEACHER`.
        student: architecture and sizes.
        teacher: likewise; None where no single model is known.
        path: option of the student.

    Raises:
        InputError: it cannot.
    """
    if start == "fitted":
        unfit = _unfit(student, path)
        if unfit:
            raise InputError(f"{name}: start fitted {unfit}")
        return
    if teacher is None:
        raise InputError(
            f"{name}: start {start} reads the parameters of one teacher, which --teacher-outputs and "
            f"--teacher-ensemble do not have; expected --{name.replace('_', '-')}.start auto, positive or default"
        )
    own = [model.name for model in (student, teacher) if is_outside(model.name)]
    if own:
        raise InputError(
            f"{name}: start {start} knows the parameters of the models here, not those of {' and '.join(own)}; "
            f"expected --{name.replace('_', '-')}.start default"
        )
    unlike = _unlike(student, teacher, path) if start == "attention_map" else None
    if unlike:
        raise InputError(f"{name}: start attention_map {unlike}")
    if student.hidden > teacher.hidden:
        raise InputError(
            f"{name}: start {start} needs a student no wider than its teacher, got {student.hidden} and "
            f"{teacher.hidden} units"
        )


def _unfit(student: ModelConfig, path: str = "--student") -> str | None:
    """Returns why no student like this can be fitted layer by layer; None where it can."""
    if student.name not in LINEAR_LAYERS:
        return f"solves layers linear in their parameters ({', '.join(LINEAR_LAYERS)}), not those of {student.name}"
    for option, *expected in (("repeated", False), ("norm", "none", "batch"), ("readout", None)):
        if getattr(student, option) not in expected:
            wanted = " or ".join(map(str, expected))
            return f"solves the layers of a node-level model one by one, expected {path}.{option} {wanted}"
    return None


def _unlike(student: ModelConfig, teacher: ModelConfig, path: str = "--student") -> str | None:
    """Returns why no student like this can be cut out of such a teacher, whatever their widths; None where it can."""
    if (student.name, teacher.name) != ("gcnii", "gcnii"):
        return f"cuts a gcnii out of a gcnii, not {student.name} of {teacher.name}"
    for side, model in (("--teacher.model", teacher), (path, student)):
        for option, expected in (("repeated", False), ("variant", False), ("norm", "none")):
            if getattr(model, option) != expected:
                return f"averages the kernels of plain layers, expected {side}.{option} {expected}"
    return None
