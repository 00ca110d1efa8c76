"""Frozen dataclasses that describe a run. No jax: help must print at once."""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "BatchConfig",
    "DistillConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimConfig",
    "RunConfig",
    "TeacherConfig",
    "described",
]


@dataclass(frozen=True)
class ModelConfig:
    """A model: architecture and sizes."""

    name: Literal["gcnii", "gcn", "graphsage", "gat", "gatv2", "gin", "rgcn", "sign", "mlp"] = "gcnii"
    """Architecture."""
    layers: int = 64
    """Number of message-passing layers (of linear maps for mlp, and in each part of sign)."""
    hidden: int = 64
    """Width of every hidden layer; of all heads together for gat and gatv2."""
    dropout: float = 0.6
    """Dropout rate before every layer, while training."""
    alpha: float = 0.1
    """GCNII: share of the initial residual."""
    lam: float = 0.5
    """GCNII: lambda of the identity mapping, theta_l = ln(lambda / l + 1)."""
    variant: bool = False
    """GCNII: the variant GCNII*, with a kernel of its own for the initial residual."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation after every hidden layer, before its activation (not sign)."""
    residual: Literal["none", "identity", "linear"] = "none"
    """What a layer adds of its input: identity between layers of one width, or a linear map in every layer; gcnii
    takes identity, beside its initial residual; not for sign."""
    jumping: Literal["last", "cat", "max"] | None = None
    """A linear classifier on the last hidden layer, on all together or on their maximum, instead of a last layer that
    gives the logits (not gcnii, sign)."""
    readout: Literal["sum", "mean", "max"] | None = None
    """For graph-level tasks: how node vectors become the graph's, for a linear classifier (not sign)."""
    input_dropout: float | None = None
    """Dropout rate of the node features; default: that of the layers, and none for mlp (not sign)."""
    heads: int = 1
    """GAT: attention heads of the hidden layers, a divisor of their width; the last layer has one."""
    attention_dropout: float = 0.0
    """GAT: dropout rate of the attention weights."""
    edge_dropout: float = 0.0
    """GAT: share of the edges that a layer does not see in a training step."""
    destination_term: bool = True
    """GAT: whether the attention sees the receiving node too (not gatv2)."""
    symmetric_norm: bool = False
    """GAT: roots of the degrees scale the messages (not gatv2)."""
    bases: int | None = None
    """RGCN: number of matrices that those of the edge types are combinations of; default: each has its own."""
    embedding_width: int | None = None
    """RGCN: width of the trained vectors of nodes without features; default: that of the hidden layers."""
    hops: int = 5
    """SIGN: largest power of the normalised adjacency whose product with the features is read."""
    remat: bool = False
    """Compute the inside of deep stacks' layers anew in the backward pass: less memory, about a third more time."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What layers compute in; parameters and logits are float32 in any case."""


# Written down in any case; the other options of a model only where they are not at their default, so that what was
# trained before an option existed is still found.
_ALWAYS_DESCRIBED = ("name", "layers", "hidden", "dropout", "alpha", "lam")


def described(config: Any) -> dict[str, Any]:
    """A config as nested dicts, to write down and to compare.

    Options of a model at their default are left out, and batches that are the whole graph.
    """
    entries = {}
    for option in fields(config):
        value = getattr(config, option.name)
        silent = isinstance(config, ModelConfig) and option.name not in _ALWAYS_DESCRIBED and value == option.default
        if not silent and value != BatchConfig():
            entries[option.name] = described(value) if is_dataclass(value) else value
    return entries


@dataclass(frozen=True)
class OptimConfig:
    """How a model is trained: Adam with L2 decay inside; an epoch is one step, or all minibatches once."""

    epochs: int = 1500
    """Most epochs to train."""
    eval_every: int = 1
    """Epochs between two evaluations on the validation nodes."""
    patience: int = 0
    """Stop when the monitored value has not improved for so many epochs; 0 trains to the end."""
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What early stopping and the choice of the best epoch look at."""
    learning_rate: float = 0.01
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning-rate schedule; cosine falls to 0 at the last epoch."""
    conv_decay: float = 0.0
    """L2 decay of the convolution kernels."""
    dense_decay: float = 0.0
    """L2 decay of all other layers of the model."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: trained from labels, early stopping on the validation loss, weights of the best epoch."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture and sizes."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(epochs=1500, patience=100, conv_decay=0.01, dense_decay=5e-4)
    )
    """Training."""


@dataclass(frozen=True)
class MethodConfig:
    """How a student learns: the terms of its loss, their weights, its start and its training."""

    task_weight: float = 1.0
    """Weight of the cross-entropy on the labelled nodes."""
    soft_label_weight: float = 0.0
    """Weight of the KL divergence to the teacher's soft labels; 0 leaves the term out."""
    temperature: float = 0.25
    """Temperature of the soft labels. Below 1 sharpens them: deep GCNII teachers are under-confident."""
    soft_label_nodes: Literal["all", "train"] = "all"
    """Nodes on which soft labels are matched."""
    alignment_weight: float = 0.0
    """Weight of the attention-weighted layer alignment; 0 leaves the term out."""
    attention: Literal[
        "learned", "uniform", "last_layer", "all_to_last", "last_to_all", "depth_proportional", "greedy"
    ] = "learned"
    """Which layer pairs count."""
    dissimilarity: Literal[
        "closed_form", "fixed_axes", "cka", "trained_heads", "trained_heads_pooled", "structure", "stride"
    ] = "closed_form"
    """How a pair of layers is compared. trained_heads is the paper's literal form, per node or pooled; structure is
    G-CRD on every pair, and stride the sum of trained_heads and structure."""
    axes: int = 8
    """Principal axes of each teacher layer (closed_form, fixed_axes)."""
    dim: int = 16
    """Width d_a of the attention heads and of trained_heads, and of the heads of fitnet and gcrd."""
    auxiliary_weight: float = 0.0
    """Weight of a further published loss; 0 leaves the term out."""
    auxiliary: Literal["fitnet", "attention_transfer", "lsp", "gsp", "gcrd", "mustad"] = "gcrd"
    """That loss, on the last hidden layers. attention_transfer falls with the number of nodes, so its weight grows."""
    auxiliary_nodes: Literal["all", "train"] = "all"
    """Nodes it looks at; lsp takes the edges between them."""
    auxiliary_max_nodes: int = 4096
    """gsp and gcrd compare all pairs of so many nodes, drawn anew every step where there are more."""
    start: Literal["default", "positive", "teacher_directions", "attention_map"] = "positive"
    """Start of the student: the first three concern its input layer, attention_map all layers of a GCNII."""
    student: ModelConfig | None = None
    """The method's own student; None takes that of the run."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            epochs=300, eval_every=10, monitor="val_accuracy", learning_rate=0.04, schedule="cosine"
        )
    )
    """Training; the last epoch is the result, the best validation epoch is reported beside it."""


@dataclass(frozen=True)
class BatchConfig:
    """What a training step sees of the graph."""

    kind: Literal["full", "neighbours", "walks", "clusters", "graphs"] = "full"
    """The whole graph; sampled neighbours of some nodes (GraphSAGE); what random walks visit (GraphSAINT); joined
    clusters (Cluster-GCN); or some graphs of a graph-level data set."""
    size: int = 1024
    """Start nodes (neighbours, walks), clusters or graphs in a batch."""
    fan_outs: tuple[int, ...] = (15, 10)
    """neighbours: most edges into a node, hop by hop from the start nodes; -1 takes all."""
    length: int = 2
    """walks: steps of a walk."""
    steps: int = 30
    """walks: batches an epoch."""
    parts: int = 100
    """clusters: parts that the graph is cut into."""


@dataclass(frozen=True)
class RunConfig:
    """What every command takes."""

    dataset: str = "digits"
    """Data set; `python -m abkd_jax datasets` lists them. The defaults below are those for this set."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""
    seeds: int = 3
    """Number of seeds (0, 1, ...): one teacher, and one student of every method, each."""
    max_epochs: int | None = None
    """Upper limit on the epochs of every training, for a quick look."""
    out: Path | None = None
    """Folder of the run; default: runs/<dataset>/<digest of settings>, of which runs/<dataset>/latest is the last. The
    same command again resumes it, or shows what it found; more seeds and other methods extend it."""
    overwrite: bool = False
    """Remove what an earlier run left in the folder and start anew."""
    teachers: Path | None = None
    """Folder where trained teachers are kept for all runs; default: ~/.cache/abkd_jax/teachers."""
    split: int = 0
    """Seed of the split, or number of the fold, of data sets without an official one."""
    batches: BatchConfig = field(default_factory=BatchConfig)
    """What a training step of teacher and students sees of the graph."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher."""


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """A comparison of students that learn from the same teachers.

    Every field that holds a `MethodConfig` is a method; a study subclasses this and adds fields of its own.
    """

    methods: tuple[str, ...] = ("supervised", "soft_label", "abkd")
    """Students to train, in the order of the table: supervised, soft_label, abkd, abkd_paper; glnn; and soft labels
    with an earlier loss: fitnet, attention_transfer, lsp, gsp, gcrd."""
    student: ModelConfig = field(default_factory=lambda: ModelConfig(layers=4, hidden=4, dropout=0.0))
    """The student."""
    supervised: MethodConfig = field(default_factory=MethodConfig)
    """A student that learns from labels alone."""
    soft_label: MethodConfig = field(default_factory=MethodConfig)
    """A student that learns from the teacher's soft labels."""
    abkd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and attention-weighted layer alignment with closed-form heads."""
    abkd_paper: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and the paper's literal layer alignment, with trained heads."""
    fitnet: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and FitNets: the last hidden layers node by node, through trained heads."""
    attention_transfer: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and attention transfer: the nodes' shares in the activation of the last hidden layers."""
    lsp: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and local structure preserving: similarities along the edges."""
    gsp: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and global structure preserving: similarities of all pairs of nodes."""
    gcrd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and G-CRD: contrast between the nodes of student and teacher."""
    glnn: MethodConfig = field(default_factory=MethodConfig)
    """GLNN: an MLP of its own size learns the soft labels of all nodes and needs no graph afterwards."""
