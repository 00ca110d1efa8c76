"""Settings of heterogeneous, large and graph-level data sets. No jax, so that `--help` prints at once."""

from dataclasses import dataclass, field, replace

from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig

__all__ = ["Preset", "arxiv", "graph_level", "heterogeneous", "mag", "plain_methods"]


@dataclass(frozen=True)
class Preset:
    """Teacher, student and methods of a data set.

    Attributes:
        teacher: model and training.
        student: the default student of a run.
        supervised: training of a student on labels alone.
        soft_label: the same with soft labels.
        alignment_weight: weight of the layer alignment in `abkd`.
        batches: the part of the graph that a training step reads.
    """

    teacher: TeacherConfig
    student: ModelConfig
    supervised: MethodConfig
    soft_label: MethodConfig
    alignment_weight: float = 0.1
    batches: BatchConfig = field(default_factory=BatchConfig)

    @property
    def abkd(self) -> MethodConfig:
        """Returns soft labels and layer alignment with closed-form projections."""
        return replace(self.soft_label, alignment_weight=self.alignment_weight)


def plain_methods(optim: OptimConfig) -> tuple[MethodConfig, MethodConfig]:
    """Returns labels alone, and labels with soft labels of weight and temperature 1; plain initialisation."""
    supervised = MethodConfig(start="default", optim=optim)
    return supervised, replace(supervised, soft_label_weight=1.0, temperature=1.0)


def heterogeneous(*, no_features: bool = False, bases: bool = False) -> Preset:
    """Returns RGCN on small heterogeneous graphs, full batch.

    Sizes and training are this project's; those without features are the best of 7 tried on validation nodes of
    freebase.

    Args:
        no_features: of any node: all embeddings are learned from few labels, hence more dropout.
        bases: kernels of the edge types are combinations of 30 bases, of 4 in the student.
    """
    model = ModelConfig(name="rgcn", layers=2, hidden=64, dropout=0.8 if no_features else 0.5)
    model = replace(model, bases=30 if bases else None)
    optim = OptimConfig(epochs=200, eval_every=5, monitor="val_accuracy", dense_decay=5e-4, conv_decay=5e-4)
    student = replace(model, hidden=8, dropout=0.0, bases=4 if bases else None)
    teacher = TeacherConfig(model, replace(optim, patience=50, learning_rate=0.001 if no_features else 0.01))
    return Preset(teacher, student, *plain_methods(replace(optim, schedule="cosine")))


def graph_level(*, small: bool) -> Preset:
    """Returns GIN for graph-level tasks: 5 layers as in OGB's baseline (arXiv 2005.00687), which is 300 wide.

    Students are this project's.

    Args:
        small: the settings of MUTAG and PROTEINS, 64 wide with sums; else those of OGB's molecules, 128 with means.
    """
    model = ModelConfig(name="gin", layers=5, hidden=64 if small else 128, dropout=0.5, norm="batch")
    model = replace(model, input_dropout=0.0, readout="sum" if small else "mean")
    optim = OptimConfig(epochs=40, eval_every=2, monitor="val_accuracy", learning_rate=0.01 if small else 0.001)
    student = replace(model, layers=2, hidden=8 if small else 24, dropout=0.0)
    methods = plain_methods(replace(optim, learning_rate=0.01, schedule="cosine"))
    teacher = TeacherConfig(model, replace(optim, patience=20))
    return Preset(teacher, student, *methods, batches=BatchConfig(kind="graphs", size=32))


def arxiv() -> Preset:
    """Returns the GAT of the OGB leader board and the GCN of the G-CRD study (arXiv 2111.04964).

    Sizes and rates as in github.com/chaitjo/efficient-gnns, for the real features. Unlike there, the teacher trains
    with Adam instead of RMSprop, has no labels among its inputs, and ELU in its layers.
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
    teacher = TeacherConfig(model, replace(optim, epochs=1000, learning_rate=0.002))
    return Preset(teacher, student, *plain_methods(optim))


def mag() -> Preset:
    """Returns RGCN 3 x 512 to 2 x 32 on GraphSAINT walks as in the G-CRD study: 20,000 roots, 30 steps per epoch."""
    model = ModelConfig(name="rgcn", layers=3, hidden=512, dropout=0.5, input_dropout=0.0, embedding_width=128)
    optim = OptimConfig(epochs=30, eval_every=5, monitor="val_accuracy", learning_rate=0.005)
    student = replace(model, layers=2, hidden=32)
    batches = BatchConfig(kind="walks", size=20_000, length=2, steps=30)
    return Preset(TeacherConfig(model, optim), student, *plain_methods(optim), batches=batches)
