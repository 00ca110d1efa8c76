"""A table as data: what is compared with what, how it is tuned, for how long it trains."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from abkd_jax.configs.options import ModelConfig, TeacherConfig
from abkd_jax.types import InputError

__all__ = ["STUDENT", "Table", "Tuning", "student_model"]

STUDENT = re.compile(
    r"(?:(?P<name>[\w.]+(?::\w+)?):)?(?P<layers>[1-9]\d*)x(?P<hidden>[1-9]\d*)(?::(?P<norm>batch|layer))?"
)


@dataclass(frozen=True)
class Tuning:
    """Choice of the numbers of a method on validation nodes; the budget is the same for every method."""

    trials: int = 16
    """Settings that are tried: the preset of the data set, then points of a Sobol sequence."""
    seeds: int = 2
    """Students of each setting. Their seeds start at 1000, apart from the reported ones; their teachers do not."""
    finalists: int = 4
    """The best settings of those, among which further students decide."""
    final_seeds: int = 4
    """Further students of each finalist."""
    epochs: int = 300
    """Epochs of each."""
    draw: int = 0
    """Another draw of the same budget: other points, and other seeds of the students that are tried."""

    def student_seeds(self) -> range:
        """Returns the seeds of the students that are tried, those of finalists last; every draw has its own.

        Examples:
            >>> Tuning(seeds=2, final_seeds=4).student_seeds()
            range(1000, 1006)
        """
        first = 1000 * (1 + self.draw)
        return range(first, first + self.seeds + self.final_seeds)


@dataclass(frozen=True)
class Table:
    """A table: data sets x regimes x students x methods, each with the same seeds."""

    name: str = "main"
    """Name of the table and of the folder of its results."""
    datasets: tuple[str, ...] = ("cora",)
    """Data sets."""
    regimes: tuple[str, ...] = ("transductive",)
    """What the students may see: transductive, labelled_only, inductive, unseen_validation, perturbed, labels_1,
    labels_5, labels_20."""
    students: tuple[str, ...] = ("4x4",)
    """Sizes, layers x units: 4x4, or mlp:2x128 for another architecture than that of the data set's student, also
    for one of your own: my_models:tiny:2x8."""
    methods: tuple[str, ...] = ("supervised", "soft_label", "abkd")
    """Methods, by name, or module:function for a loss of your own beside soft labels."""
    seeds: int = 10
    """Seeds that are reported."""
    lengths: tuple[int, ...] = (300, 900)
    """Epochs; each method is reported at the length that the mean validation score of its seeds chooses."""
    tuning: Tuning = field(default_factory=Tuning)
    """Choice of each method's numbers."""
    teacher: TeacherConfig | None = None
    """Teachers; default: those of the data set."""
    max_teacher_epochs: int | None = None
    """Upper limit on the epochs of the teachers, for a quick try."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""

    def small(self) -> "Table":
        """Returns the table with few seeds, trials and epochs, to see that all of it runs."""
        tuning = replace(self.tuning, trials=2, seeds=1, finalists=1, final_seeds=1, epochs=4)
        return replace(
            self, name=f"{self.name}_smoke", seeds=min(self.seeds, 2), lengths=(4,), tuning=tuning, max_teacher_epochs=4
        )


def student_model(text: str, base: ModelConfig) -> ModelConfig:
    """Returns the student that a text names, with what else the data set's student has.

    Raises:
        InputError: the text is not of the form `4x4`, `mlp:2x128`, `my_models:tiny:2x8`, or `gcn:4x4:batch`, whose
            layers are normalised.

    Examples:
        >>> model = student_model("mlp:2x128", ModelConfig())
        >>> model.name, model.layers, model.hidden
        ('mlp', 2, 128)
    """
    found = STUDENT.fullmatch(text)
    if found is None:
        forms = "4x4, mlp:2x128, my_models:tiny:2x8 or gcn:4x4:batch"
        raise InputError(f"student {text!r}: expected layers x units, as in {forms}")
    name, layers, hidden = found["name"] or base.name, int(found["layers"]), int(found["hidden"])
    if name != base.name:
        base = ModelConfig(dropout=0.0)
    sizes = {"layers": layers, "hidden": hidden, "norm": found["norm"] or base.norm}
    return replace(base, name=name, **sizes)
