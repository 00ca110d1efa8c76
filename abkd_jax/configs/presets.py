"""The settings of each data set: teacher, student, methods. No jax: help must print at once."""

from dataclasses import replace
from typing import Any

from abkd_jax.configs.large_presets import preset
from abkd_jax.configs.options import DistillConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig

__all__ = ["AUXILIARY_WEIGHTS", "DATASETS", "distill_config", "methods", "student", "teacher"]

# What `datasets.names()` gives, for the completion of the command line, which must not wait for the readers.
# fmt: off
DATASETS = (
    "digits", "synthetic", "cora", "citeseer", "pubmed", "cora_ml", "amazon_photo", "coauthor_cs", "acm",
    "heco_acm", "heco_acm_40", "heco_acm_60", "heco_freebase", "heco_freebase_40", "heco_freebase_60", "aifb",
    "mutag", "proteins", "ogbn-arxiv", "ogbn-mag", "ogbg-molbace", "ogbg-molbbbp", "ogbg-molclintox", "ogbg-molsider",
    "ogbg-moltox21", "ogbg-moltoxcast", "ogbg-molhiv", "ogbg-molchembl", "ogbg-molesol", "ogbg-molfreesolv",
    "ogbg-mollipo",
)
# fmt: on


def teacher(dataset: str) -> TeacherConfig:
    """The teacher for a data set: GCNII's semi-supervised recipe (arXiv 2007.02133, appendix) at 64 layers x 64.

    Sets outside that paper take Cora's recipe; the embedded `digits` a shallower one that trains in a minute.
    """
    base, large = TeacherConfig(), preset(dataset)
    if large is not None:
        return large.teacher
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


# Weights of the auxiliary losses beside soft labels: those that Joshi et al. chose for ogbn-arxiv (arXiv 2111.04964,
# scripts of github.com/chaitjo/efficient-gnns; G-CRD: ogbn-mag, at the same temperature as here). Two are carried over
# to other sizes: FitNets' value is a mean over the width of its heads, 256 there and 16 here; attention transfer's is
# of order 1 / nodes, 90,941 there and 2,708 on Cora.
AUXILIARY_WEIGHTS = {
    "fitnet": 100.0 * 16 / 256,
    "attention_transfer": 1e4 * 2708 / 90941,
    "lsp": 100.0,
    "gsp": 10.0,
    "gcrd": 0.1,
}


def student(dataset: str) -> ModelConfig:
    """The 4-layer, 4-hidden GCNII of the paper's headline (Pubmed, 141x), with the teacher's lambda and no dropout."""
    large = preset(dataset)
    return (
        ModelConfig(layers=4, hidden=4, dropout=0.0, lam=teacher(dataset).model.lam) if large is None else large.student
    )


def methods(dataset: str) -> dict[str, MethodConfig]:
    """The methods that `distill` compares, with the settings chosen on validation nodes (`experiments/tune.py`)."""
    labels = OptimConfig(
        epochs=1500,
        eval_every=10,
        monitor="val_accuracy",
        learning_rate=0.03,
        conv_decay=0.01,
        dense_decay=1e-4 if dataset == "citeseer" else 5e-4,
    )
    large = preset(dataset)
    temperature = 0.125 if dataset in ("cora", "citeseer", "pubmed") else 0.25
    soft_label = MethodConfig(task_weight=0.0, soft_label_weight=1.0, temperature=temperature)
    supervised, abkd = MethodConfig(optim=labels), replace(soft_label, alignment_weight=0.1)
    if large is not None:
        supervised, soft_label, abkd = large.supervised, large.soft_label, large.abkd
    return {
        "supervised": supervised,
        "soft_label": soft_label,
        "abkd": abkd,
        "abkd_paper": replace(abkd, dissimilarity="trained_heads"),
        **{n: replace(soft_label, auxiliary=n, auxiliary_weight=w) for n, w in AUXILIARY_WEIGHTS.items()},
        "glnn": _glnn(dataset),
    }


def _glnn(dataset: str) -> MethodConfig:
    """GLNN (Zhang et al., arXiv 2110.08727): an MLP learns the soft labels of all nodes, at temperature 1.

    Sizes, dropout, decay and learning rate of each graph from github.com/snap-research/graphless-neural-networks; other
    graphs take Cora's. Without its early stopping: the last epoch is the result, the best one is reported beside it.
    """
    dropout, decay, rate = {"citeseer": (0.1, 1e-3, 0.01), "pubmed": (0.4, 0.0, 0.005)}.get(dataset, (0.6, 5e-3, 0.01))
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


def distill_config(dataset: str) -> DistillConfig:
    """The default run on a data set."""
    named: dict[str, Any] = {**methods(dataset)}
    large = preset(dataset)
    if large is not None:
        named["batches"] = large.batches
    return DistillConfig(dataset=dataset, teacher=teacher(dataset), student=student(dataset), **named)
