"""4-layer, 4-hidden GCNII students of 64-layer, 64-hidden GCNII teachers on Cora and Citeseer (public split).

Shows: what soft labels alone reach, what attention-weighted layer alignment adds to them and does without them, which
part of it matters (learned or uniform attention, last layer only, kind of projections), what a better initialisation
adds, and what the earlier losses add to soft labels, with GLNN's MLP beside them.
Command:  python -m experiments.run --dataset cora --seeds 10   (and --dataset citeseer)
Hardware: 2 CPU cores. Time: 10 teachers about 25 minutes, all students about 8 minutes, per data set.
Expected: experiments/results/<table>/report.md of this repository.
Chosen on validation nodes alone by `python -m experiments.tune`: temperature, alignment weights, supervised decay.
"""

from dataclasses import dataclass, field, replace

from abkd_jax.configs.methods import methods_of
from abkd_jax.configs.options import DistillConfig, MethodConfig
from abkd_jax.configs.presets import AUXILIARY_WEIGHTS, distill_config, extend

__all__ = ["Citation", "grid", "plainly_started", "study"]


@dataclass(frozen=True)
class Citation(DistillConfig):
    """The table of the citation graphs."""

    labels_abkd: MethodConfig = field(default_factory=MethodConfig)
    """Labels and closed-form alignment, no soft labels, as long as `supervised`."""
    labels_fixed_axes: MethodConfig = field(default_factory=MethodConfig)
    """Labels and alignment on fixed principal components, no soft labels."""
    labels_paper: MethodConfig = field(default_factory=MethodConfig)
    """Labels and the paper's literal alignment, no soft labels."""
    soft_label_train: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels on the labelled nodes alone."""
    abkd_uniform: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and closed-form alignment, equal weights of all layer pairs."""
    abkd_last_layer: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and closed-form alignment of the last layers."""
    abkd_fixed_axes: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and alignment on fixed principal components."""
    abkd_paper_pooled: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and the pooled reading of the paper's alignment."""
    three_terms_without: MethodConfig = field(default_factory=MethodConfig)
    """Labels weighted 0.1 and soft labels: the mixture of efficient-gnns, alpha 0.9."""
    three_terms: MethodConfig = field(default_factory=MethodConfig)
    """The same with closed-form alignment: the three terms of the paper."""
    directions: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels from the teacher-direction initialisation, 600 epochs."""
    directions_abkd: MethodConfig = field(default_factory=MethodConfig)
    """The same with closed-form alignment."""


def plainly_started(dataset: str) -> DistillConfig:
    """Returns the run on a data set whose students all start plainly, where `auto` fits them to their teachers."""
    config = distill_config(dataset)
    methods = {name: getattr(config, name) for name in methods_of(config)}
    plain = {name: replace(method, start="positive") for name, method in methods.items() if method.start == "auto"}
    return replace(config, **plain)


def study(dataset: str) -> Citation:
    """Returns the study on one data set, with all its methods."""
    base = plainly_started(dataset)
    supervised, soft_label, abkd = base.supervised, base.soft_label, base.abkd
    labels_abkd = replace(supervised, alignment_weight=1.0)
    directions = replace(soft_label, start="teacher_directions", optim=replace(soft_label.optim, epochs=600))
    further = {
        "labels_abkd": labels_abkd,
        "labels_fixed_axes": replace(labels_abkd, dissimilarity="fixed_axes"),
        "labels_paper": replace(labels_abkd, dissimilarity="trained_heads"),
        "soft_label_train": replace(soft_label, soft_label_nodes="train"),
        "abkd_uniform": replace(abkd, attention="uniform"),
        "abkd_last_layer": replace(abkd, attention="last_layer"),
        "abkd_fixed_axes": replace(abkd, dissimilarity="fixed_axes"),
        "abkd_paper_pooled": replace(abkd, dissimilarity="trained_heads_pooled"),
        "three_terms_without": replace(soft_label, task_weight=0.1),
        "three_terms": replace(abkd, task_weight=0.1),
        "directions": directions,
        "directions_abkd": replace(directions, alignment_weight=abkd.alignment_weight),
    }
    names = ("supervised", "labels_abkd", "labels_fixed_axes", "labels_paper", "soft_label_train", "soft_label")
    names += ("abkd", "abkd_uniform", "abkd_last_layer", "abkd_fixed_axes", "abkd_paper", "abkd_paper_pooled")
    names += ("directions", "directions_abkd", "three_terms_without", "three_terms", *AUXILIARY_WEIGHTS, "glnn")
    return extend(Citation, base, names, **further)


def grid(dataset: str) -> dict[str, MethodConfig]:
    """Returns the candidates among which the validation accuracy decides, by name."""
    base = plainly_started(dataset)
    soft, labels = base.soft_label, base.supervised
    candidates = {f"soft_label temperature={t}": replace(soft, temperature=t) for t in (0.125, 0.25, 0.5, 1.0, 4.0)}
    candidates |= {
        f"abkd weight={w} axes={k}": replace(base.abkd, alignment_weight=w, axes=k)
        for w in (0.03, 0.1, 0.3, 1.0)
        for k in (4, 8, 16)
    }
    candidates |= {f"abkd_paper weight={w}": replace(base.abkd_paper, alignment_weight=w) for w in (0.1, 1.0)}
    candidates |= {
        f"supervised dense_decay={d}": replace(labels, optim=replace(labels.optim, dense_decay=d))
        for d in (1e-4, 5e-4, 2e-3)
    }
    candidates |= {f"labels_abkd weight={w}": replace(labels, alignment_weight=w) for w in (0.3, 1.0, 3.0, 10.0)}
    candidates |= {
        f"{name} weight={factor * weight:.3g}": replace(getattr(base, name), auxiliary_weight=factor * weight)
        for name, weight in AUXILIARY_WEIGHTS.items()
        for factor in (0.01, 0.1, 1.0, 10.0)
    }
    candidates |= {
        f"glnn temperature={t} dense_decay={d}": replace(
            base.glnn, temperature=t, optim=replace(base.glnn.optim, dense_decay=d, conv_decay=d)
        )
        for t in (soft.temperature, 1.0)
        for d in (5e-4, 1e-3, 5e-3)
    }
    return candidates
