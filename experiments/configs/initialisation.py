"""Initialisation of small students: plain, or cut out of the teacher along a layer map; after STRIDE, section 3.2.3.

Students of one layer and of the run's depth, from `start = "positive"` and from `start = "attention_map"`
(`abkd_jax.distill.attention_map`, this project's rule: the paper's is not public), with soft labels alone and with the
alignment. The map is known before training: it pairs layers of equal relative depth. "No training", the control of the
paper, is epoch 0 of every curve: the command prints it beside the accuracy after training.
Command:  python -m experiments.run initialisation --dataset digits --seeds 5   (or cora, citeseer)
Hardware: 2 CPU cores. Time: 2.5 minutes on digits.
Expected: experiments/results/initialisation_digits/report.md of this repository.
Nothing is tuned here: temperature and weight are those of `experiments.configs.citation`.
"""

from dataclasses import dataclass, field, replace

from abkd_jax.configs.options import DistillConfig, MethodConfig
from abkd_jax.configs.presets import extend
from experiments.configs.citation import plainly_started

__all__ = ["Initialisation", "study"]


@dataclass(frozen=True)
class Initialisation(DistillConfig):
    """The table of initialisations."""

    mapped: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels from the attention-map initialisation."""
    mapped_abkd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and alignment from the attention-map initialisation."""
    one_layer_soft_label: MethodConfig = field(default_factory=MethodConfig)
    """A student of one layer: soft labels, plain initialisation."""
    one_layer_mapped: MethodConfig = field(default_factory=MethodConfig)
    """The same from the attention-map initialisation."""
    one_layer_abkd: MethodConfig = field(default_factory=MethodConfig)
    """A student of one layer: soft labels and alignment, plain initialisation."""
    one_layer_mapped_abkd: MethodConfig = field(default_factory=MethodConfig)
    """The same from the attention-map initialisation."""


def study(dataset: str) -> Initialisation:
    """Returns the study on one data set, with all its methods."""
    base = plainly_started(dataset)
    mapped, mapped_abkd = (replace(method, start="attention_map") for method in (base.soft_label, base.abkd))
    four = {"soft_label": base.soft_label, "mapped": mapped, "abkd": base.abkd, "mapped_abkd": mapped_abkd}
    shallow = replace(base.student, layers=1)
    one = {f"one_layer_{name}": replace(method, student=shallow) for name, method in four.items()}
    return extend(Initialisation, base, (*four, *one), **four, **one)
