"""The settings of typed, large and graph-level data sets. No jax: help must print at once."""

from dataclasses import dataclass, field, replace

from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig

__all__ = ["Preset", "preset"]


@dataclass(frozen=True)
class Preset:
    """A data set's teacher, student and methods.

    Attributes:
        teacher: model and training.
        student: the run's student.
        supervised: a student that learns from labels alone.
        soft_label: with soft labels; `abkd` is the same with alignment.
        alignment_weight: of that alignment.
        batches: what a step sees.
    """

    teacher: TeacherConfig
    student: ModelConfig
    supervised: MethodConfig
    soft_label: MethodConfig
    alignment_weight: float
    batches: BatchConfig = field(default_factory=BatchConfig)

    @property
    def abkd(self) -> MethodConfig:
        """Soft labels and alignment with closed-form heads."""
        return replace(self.soft_label, alignment_weight=self.alignment_weight)


def preset(dataset: str) -> Preset | None:
    """The settings of a data set; None where `presets` has those of the citation graphs."""
    if dataset in ("ogbn-arxiv", "ogbn-mag"):
        return _arxiv() if dataset == "ogbn-arxiv" else _mag()
    if dataset == "aifb" or dataset.startswith("heco_"):
        return _typed(dataset)
    if dataset in ("mutag", "proteins") or dataset.startswith("ogbg-"):
        return _graphs(dataset)
    return None


def _methods(optim: OptimConfig, temperature: float, task_weight: float) -> tuple[MethodConfig, MethodConfig]:
    """Labels alone, and soft labels beside a share of the labels' loss; plain starts."""
    supervised = MethodConfig(start="default", optim=optim)
    return supervised, replace(supervised, task_weight=task_weight, soft_label_weight=1.0, temperature=temperature)


def _typed(dataset: str) -> Preset:
    """RGCN on small typed graphs, full batch; sizes and training ours, freebase's among 7 tried on validation nodes."""
    few = "freebase" in dataset  # no node has features: everything is learnt from 60 labels
    model = ModelConfig(name="rgcn", layers=2, hidden=64, dropout=0.8 if few else 0.5)
    model = replace(model, bases=30 if dataset == "aifb" else None)
    optim = OptimConfig(epochs=200, eval_every=5, monitor="val_accuracy", dense_decay=5e-4, conv_decay=5e-4)
    student = replace(model, hidden=8, dropout=0.0, bases=4 if dataset == "aifb" else None)
    supervised, soft_label = _methods(replace(optim, schedule="cosine"), 1.0, 1.0)
    teacher = TeacherConfig(model, replace(optim, patience=50, learning_rate=0.001 if few else 0.01))
    return Preset(teacher, student, supervised, soft_label, 0.1)


def _graphs(dataset: str) -> Preset:
    """GIN for graphs, 5 layers as OGB's baseline (arXiv 2005.00687), which is 300 wide; students ours."""
    small = dataset in ("mutag", "proteins")
    model = ModelConfig(name="gin", layers=5, hidden=64 if small else 128, dropout=0.5, norm="batch")
    model = replace(model, input_dropout=0.0, readout="sum" if small else "mean")
    optim = OptimConfig(epochs=40, eval_every=2, monitor="val_accuracy", learning_rate=0.01 if small else 0.001)
    student = replace(model, layers=2, hidden=8 if small else 24, dropout=0.0)
    supervised, soft_label = _methods(replace(optim, learning_rate=0.01, schedule="cosine"), 1.0, 1.0)
    teacher = TeacherConfig(model, replace(optim, patience=20))
    return Preset(teacher, student, supervised, soft_label, 0.1, BatchConfig(kind="graphs", size=32))


def _arxiv() -> Preset:
    """The GAT of the OGB leader board and the GCN of the G-CRD study (arXiv 2111.04964), for the real features.

    Sizes and rates as in github.com/chaitjo/efficient-gnns. Adam instead of that teacher's RMSprop, no labels among its
    inputs, and its layers have ELU.
    """
    model = ModelConfig(
        name="gat",
        layers=3,
        hidden=750,
        heads=3,
        dropout=0.75,
        input_dropout=0.25,
        norm="batch",
        residual="linear",
        edge_dropout=0.3,
        destination_term=False,
        symmetric_norm=True,
    )
    optim = OptimConfig(epochs=500, eval_every=5, monitor="val_accuracy", learning_rate=0.01)
    student = ModelConfig(name="gcn", layers=2, hidden=256, dropout=0.5, input_dropout=0.0, norm="batch")
    supervised, soft_label = _methods(optim, 1.0, 1.0)
    return Preset(
        TeacherConfig(model, replace(optim, epochs=1000, learning_rate=0.002)), student, supervised, soft_label, 0.1
    )


def _mag() -> Preset:
    """RGCN and GraphSAINT walks as in the G-CRD study: 3 layers x 512, 2 x 32, 20,000 roots, 30 steps an epoch."""
    model = ModelConfig(name="rgcn", layers=3, hidden=512, dropout=0.5, input_dropout=0.0, embedding_width=128)
    optim = OptimConfig(epochs=30, eval_every=5, monitor="val_accuracy", learning_rate=0.005)
    student = replace(model, layers=2, hidden=32)
    supervised, soft_label = _methods(optim, 1.0, 1.0)
    batches = BatchConfig(kind="walks", size=20_000, length=2, steps=30)
    return Preset(TeacherConfig(model, optim), student, supervised, soft_label, 0.1, batches)
