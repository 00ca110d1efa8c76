"""Settings of each data set: teacher, student, methods. No jax, so that `--help` prints at once."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, TypeVar

from abkd_jax.configs import large_presets, rules
from abkd_jax.configs.large_presets import Preset
from abkd_jax.configs.methods import AUXILIARY_WEIGHTS
from abkd_jax.configs.names import DATASETS, canonical
from abkd_jax.configs.options import DistillConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.configs.rules import Facts

__all__ = ["AUXILIARY_WEIGHTS", "DATASETS", "distill_config", "extend", "methods", "preset", "student", "teacher"]

Study = TypeVar("Study", bound=DistillConfig)


def preset(dataset: str, facts: Facts | None = None) -> Preset:
    """Returns the settings of a data set.

    Args:
        dataset: its name or path.
        facts: for `rules.preset`, where the set is not in the list. Without them it takes a GCNII teacher and a 4 x 4
            student.

    Examples:
        >>> many_labels = Facts("node", "classification", 10_000, 39_402, features=7, outputs=2, train=5_000)
        >>> preset("heterophilous:minesweeper", many_labels).teacher.model.name, preset("cora").teacher.model.name
        ('graphsage', 'gcnii')
    """
    named = canonical(dataset)
    if named not in DATASETS:
        return _citation(named) if facts is None else rules.preset(facts)
    if named == "ogbn-arxiv":
        return large_presets.arxiv()
    if named == "ogbn-mag":
        return large_presets.mag()
    if named == "aifb" or named.startswith("heco_"):
        return large_presets.heterogeneous(no_features="freebase" in named, bases=named == "aifb")
    if named in ("mutag", "proteins") or named.startswith("ogbg-"):
        return large_presets.graph_level(small=named in ("mutag", "proteins"))
    if named in ("amazon_photo", "coauthor_cs"):
        return rules.shallow()
    return _citation(named)


def _citation(dataset: str) -> Preset:
    """Returns the semi-supervised recipe with what was tuned for a set, methods as chosen on validation nodes.

    The student has its teacher's lambda and no dropout. `experiments/tune.py` chose temperature and decay: of Cora at
    commit 03abe2a, of Citeseer at 3276919; Pubmed takes Cora's.
    """
    base, recipe = rules.semi_supervised(), _gcnii_teacher(dataset)
    labels = replace(base.supervised.optim, dense_decay=1e-4 if dataset == "citeseer" else 5e-4)
    temperature = 0.125 if dataset in ("cora", "citeseer", "pubmed") else 0.25
    return replace(
        base,
        teacher=recipe,
        student=replace(base.student, lam=recipe.model.lam),
        supervised=replace(base.supervised, optim=labels),
        soft_label=replace(base.soft_label, temperature=temperature),
    )


def _gcnii_teacher(dataset: str) -> TeacherConfig:
    """Returns GCNII's semi-supervised recipe (arXiv 2007.02133, appendix) at 64 layers x 64.

    Sets outside that paper take Cora's recipe; the embedded `digits` a shallower one that trains in a minute.
    """
    base = TeacherConfig()
    if dataset == "citeseer":
        return replace(base, model=replace(base.model, lam=0.6, dropout=0.7))
    if dataset == "pubmed":
        return TeacherConfig(replace(base.model, lam=0.4, dropout=0.5), replace(base.optim, conv_decay=5e-4))
    if dataset in ("digits", "synthetic"):
        return TeacherConfig(
            ModelConfig(layers=16, hidden=64, dropout=0.5),
            replace(base.optim, epochs=300, patience=50, conv_decay=5e-4),
        )
    return base


def teacher(dataset: str) -> TeacherConfig:
    """Returns the teacher for a data set.

    Examples:
        >>> recipe = teacher("cora")
        >>> recipe.model.name, recipe.model.layers, recipe.optim.patience
        ('gcnii', 64, 100)
    """
    return preset(dataset).teacher


def student(dataset: str) -> ModelConfig:
    """Returns the student for a data set.

    Examples:
        >>> model = student("heco_acm")
        >>> model.name, model.layers, model.hidden
        ('rgcn', 2, 8)
    """
    return preset(dataset).student


def methods(dataset: str, facts: Facts | None = None) -> dict[str, MethodConfig]:
    """Returns the methods that `distill` compares, by name; `facts` as in `preset`."""
    chosen = preset(dataset, facts)
    return {
        "supervised": chosen.supervised,
        "soft_label": chosen.soft_label,
        "abkd": chosen.abkd,
        "abkd_paper": replace(chosen.abkd, dissimilarity="trained_heads"),
        **{
            name: replace(chosen.soft_label, auxiliary=name, auxiliary_weight=weight)
            for name, weight in AUXILIARY_WEIGHTS.items()
        },
        "glnn": _glnn(dataset),
    }


def _glnn(dataset: str) -> MethodConfig:
    """Returns GLNN (Zhang et al., arXiv 2110.08727): an MLP learns the soft labels of all nodes, at temperature 1.

    Sizes, dropout, decay and learning rate of each graph from github.com/snap-research/graphless-neural-networks; other
    graphs take Cora's. It trains without early stopping here: the last epoch is
    the result, the best one is reported beside it.
    """
    dropout, decay, rate = {"citeseer": (0.1, 1e-3, 0.01), "pubmed": (0.4, 0.0, 0.005)}.get(
        canonical(dataset), (0.6, 5e-3, 0.01)
    )
    return MethodConfig(
        task_weight=0.0,
        soft_label_weight=1.0,
        temperature=1.0,
        start="default",
        student=ModelConfig(name="mlp", layers=2, hidden=128, dropout=dropout),
        optim=OptimConfig(
            epochs=500, eval_every=10, monitor="val_accuracy", learning_rate=rate, conv_decay=decay, dense_decay=decay
        ),
    )


def distill_config(dataset: str, facts: Facts | None = None) -> DistillConfig:
    """Returns the default run on a data set.

    Args:
        dataset: its name or path.
        facts: as in `preset`; `datasets.facts` returns them.

    Examples:
        >>> run = distill_config("ogbn-mag")
        >>> run.methods, run.batches.kind, run.abkd.alignment_weight
        (('supervised', 'soft_label', 'abkd'), 'walks', 0.1)
    """
    chosen = preset(dataset, facts)
    named: dict[str, Any] = {**methods(dataset, facts)}
    return DistillConfig(
        dataset=dataset, teacher=chosen.teacher, student=chosen.student, batches=chosen.batches, **named
    )


def extend(study: type[Study], base: DistillConfig, names: Iterable[str], **settings: MethodConfig) -> Study:
    """Returns a run as a study of further methods.

    Args:
        study: the subclass of `DistillConfig` with a field per further method.
        base: the run; its options and methods are taken over.
        names: methods to train, in the order of the table.
        **settings: of the further methods, by name; those that `base` has too are replaced.

    Examples:
        >>> from dataclasses import dataclass, field
        >>> @dataclass(frozen=True)
        ... class Depths(DistillConfig):
        ...     shallow: MethodConfig = field(default_factory=MethodConfig)
        >>> shallow = MethodConfig(student=ModelConfig(layers=2))
        >>> extend(Depths, DistillConfig(seeds=5), ("supervised", "shallow"), shallow=shallow).seeds
        5
    """
    inherited = {option.name: getattr(base, option.name) for option in fields(base)}
    return study(**{**inherited, **settings, "methods": tuple(names)})
