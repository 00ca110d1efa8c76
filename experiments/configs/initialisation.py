"""Initialisation of small students: plain, cut out of the teacher along a layer map (STRIDE, section 3.2.3), or fitted.

Students of one layer and of the run's depth, from `start = "positive"`, from `start = "attention_map"`
(`abkd_jax.distill.attention_map`, this project's rule: the paper's is not public) and from `start = "fitted"`
(`abkd_jax.distill.fitted`), with soft labels alone and with the alignment. The map is known before training: it pairs
layers of equal relative depth. "No training", the control of the paper, is epoch 0 of every curve: the command prints
it beside the accuracy after training.
Command:  python -m experiments.run initialisation --dataset digits --seeds 5   (or cora, citeseer)
Hardware: 2 CPU cores. Time: 4 minutes on digits.
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
    fitted: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels from layers that are fitted to the teacher's logits."""
    fitted_abkd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and alignment from there."""
    one_layer_soft_label: MethodConfig = field(default_factory=MethodConfig)
    """A student of one layer: soft labels, plain initialisation."""
    one_layer_mapped: MethodConfig = field(default_factory=MethodConfig)
    """The same from the attention-map initialisation."""
    one_layer_abkd: MethodConfig = field(default_factory=MethodConfig)
    """A student of one layer: soft labels and alignment, plain initialisation."""
    one_layer_mapped_abkd: MethodConfig = field(default_factory=MethodConfig)
    """The same from the attention-map initialisation."""
    one_layer_fitted: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels alone, from layers that are fitted to the teacher's logits."""
    one_layer_fitted_abkd: MethodConfig = field(default_factory=MethodConfig)
    """The same with the alignment."""


def study(dataset: str) -> Initialisation:
    """Returns the study on one data set, with all its methods."""
    base = plainly_started(dataset)
    four = {"soft_label": base.soft_label, "abkd": base.abkd}
    for name, start in (("mapped", "attention_map"), ("fitted", "fitted")):
        soft_label, abkd = (replace(method, start=start) for method in (base.soft_label, base.abkd))
        four |= {name: soft_label, f"{name}_abkd": abkd}
    shallow = replace(base.student, layers=1)
    one = {f"one_layer_{name}": replace(method, student=shallow) for name, method in four.items()}
    return extend(Initialisation, base, (*four, *one), **four, **one)
