"""Frozen dataclasses of the options of a run. No jax, so that `--help` prints at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from abkd_jax.configs.words import word

__all__ = [
    "MODELS",
    "BatchConfig",
    "DistillConfig",
    "MethodConfig",
    "ModelConfig",
    "OptimConfig",
    "RunConfig",
    "TeacherConfig",
]


MODELS = ("gcnii", "gcn", "graphsage", "gat", "gatv2", "gin", "rgcn", "sign", "mlp")


@dataclass(frozen=True)
class ModelConfig:
    """A model: architecture and sizes."""

    name: Annotated[str, word("MODEL", MODELS)] = "gcnii"
    """Architecture: gcnii, gcn, graphsage, gat, gatv2, gin, rgcn, sign, mlp; or one of your own, module:function, which
    returns a flax.linen module for these settings and a number of classes (`models.own`)."""
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
    """GCNII: the variant GCNII*, with a separate kernel for the initial residual."""
    repeated: bool = False
    """GCNII: one convolution applied `layers` times, the student of MustaD, instead of one for every layer."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Normalisation after every hidden layer, before its activation (not sign)."""
    activation: Literal["relu", "elu"] | None = None
    """Activation of the hidden layers; default: elu for gat and gatv2, relu for all others (not gcnii, sign)."""
    residual: Literal["none", "identity", "linear"] = "none"
    """Residual connection: identity between layers of equal width, or a linear map in every layer; gcnii takes
    identity, beside its initial residual; not for sign."""
    jumping: Literal["last", "cat", "max"] | None = None
    """Jumping knowledge: a linear classifier on the last hidden layer, on the concatenation or on the maximum of all,
    instead of a last layer that gives the logits (not gcnii, sign)."""
    readout: Literal["sum", "mean", "max"] | None = None
    """Graph-level tasks: reduction of the node vectors to one vector per graph, for a linear classifier (not sign)."""
    input_dropout: float | None = None
    """Dropout rate of the node features; default: the rate of the layers, and 0 for mlp (not sign)."""
    heads: int = 1
    """GAT: attention heads of the hidden layers, a divisor of their width."""
    output_heads: int = 1
    """GAT: attention heads of the last layer, which takes their mean."""
    attention_dropout: float = 0.0
    """GAT: dropout rate of the attention weights."""
    edge_dropout: float = 0.0
    """GAT: share of the edges that each layer leaves out in a training step."""
    destination_term: bool = True
    """GAT: whether the attention logits depend on the receiving node too (not gatv2)."""
    symmetric_norm: bool = False
    """GAT: divide by the root of the sender's degree, multiply by the root of the receiver's (not gatv2)."""
    bases: int | None = None
    """RGCN: number of bases whose combinations are the kernels of the edge types; default: one kernel per type."""
    embedding_width: int | None = None
    """RGCN: width of the learned node embeddings, for nodes without features; default: `hidden`."""
    hops: int = 5
    """SIGN: largest power of the normalised adjacency that is multiplied with the features."""
    remat: bool = False
    """Recompute the inner layers of deep stacks in the backward pass: less memory, about a third more time."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computations inside the layers; parameters and logits are float32 in any case."""


@dataclass(frozen=True)
class OptimConfig:
    """Training of a model with Adam and L2 decay; an epoch is one full-batch step, or one pass over all minibatches."""

    epochs: int = 1500
    """Maximum number of epochs."""
    eval_every: int = 1
    """Number of epochs between two evaluations on the validation nodes."""
    patience: int = 0
    """Stop when the monitored value has not improved for this number of epochs; 0: no early stopping."""
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """Value that decides early stopping and the best epoch."""
    learning_rate: float = 0.01
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning-rate schedule; cosine falls to 0 at the last epoch."""
    conv_decay: float = 0.0
    """L2 decay of the kernels of message-passing layers."""
    dense_decay: float = 0.0
    """L2 decay of all other layers of the model."""


@dataclass(frozen=True)
class TeacherConfig:
    """The teacher: trained on labels, early stopping on the validation loss, weights of the best epoch."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture and sizes."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(epochs=1500, patience=100, conv_decay=0.01, dense_decay=5e-4)
    )
    """Training."""


@dataclass(frozen=True)
class MethodConfig:
    """A method to train a student: the terms of its loss and their weights, its initialisation and its training."""

    task_weight: float = 1.0
    """Weight of the cross-entropy on the labelled nodes."""
    soft_label_weight: float = 0.0
    """Weight of the KL divergence to the teacher's soft labels; 0 leaves the term out."""
    temperature: float = 0.25
    """Temperature of the soft labels; below 1 it sharpens them, since deep GCNII teachers are under-confident."""
    soft_label_nodes: Literal["all", "train"] = "all"
    """Nodes on which soft labels are matched."""
    alignment_weight: float = 0.0
    """Weight of the attention-weighted layer alignment; 0 leaves the term out."""
    attention: Literal[
        "learned", "uniform", "last_layer", "all_to_last", "last_to_all", "depth_proportional", "greedy"
    ] = "learned"
    """Weights of the layer pairs: learned attention, or one of six fixed rules."""
    dissimilarity: Literal[
        "closed_form", "fixed_axes", "cka", "trained_heads", "trained_heads_pooled", "structure", "stride"
    ] = "closed_form"
    """Dissimilarity of a pair of layers. trained_heads is the paper's literal form, per node or pooled, with trained
    projections; structure is G-CRD on every pair, and stride the sum of trained_heads and structure."""
    axes: int = 8
    """Number of principal components of each teacher layer (closed_form, fixed_axes)."""
    dim: int = 16
    """Width d_a of the trained projections: of learned attention, trained_heads, fitnet and gcrd."""
    auxiliary_weight: float = 0.0
    """Weight of a further published loss; 0 leaves the term out."""
    auxiliary: str = "gcrd"
    """That loss: of the last hidden layers fitnet, attention_transfer, lsp, gsp, gcrd, mustad, geometric; of logits and
    edges krd, ff_g2m, propagate; or one of your own, module:function, which returns an Objective. Weights follow the
    order of a loss: attention_transfer has 1 / nodes, geometric nodes^2."""
    auxiliary_nodes: Literal["all", "train"] = "all"
    """Nodes on which it is computed; lsp uses the edges between them."""
    auxiliary_max_nodes: int = 4096
    """gsp, gcrd and geometric compare all pairs of at most this number of nodes, drawn anew every step where there are
    more."""
    start: Literal["auto", "default", "positive", "teacher_directions", "attention_map", "fitted"] = "auto"
    """Initialisation of the student: fitted solves its layers, one after the other, for the principal axes of the
    teacher's logits (gcnii, gcn, mlp, graphsage; no layer norm); attention_map cuts a GCNII out of its GCNII teacher,
    all layers of it; the others concern its input layer, of which positive avoids dead units. auto is fitted where that
    is possible and the student learns from what its teacher returns, else attention_map, else positive; default for a
    model of your own."""
    input: Literal["full", "teacher"] = "full"
    """What the student reads while it trains: the features, or the features through the teacher's first layer, which is
    folded into the student's own afterwards. For few labelled nodes, and nodes whose soft labels are not seen."""
    student: ModelConfig | None = None
    """Student of this method; default: the student of the run."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            epochs=300, eval_every=10, monitor="val_accuracy", learning_rate=0.04, schedule="cosine"
        )
    )
    """Training; the last epoch is the result, the best validation epoch is reported beside it."""


@dataclass(frozen=True)
class BatchConfig:
    """The part of the graph that a training step reads."""

    kind: Literal["full", "neighbours", "walks", "clusters", "graphs"] = "full"
    """The whole graph; sampled neighbours of some nodes (GraphSAGE); the nodes that random walks visit (GraphSAINT);
    joined clusters (Cluster-GCN); or some graphs of a graph-level data set."""
    size: int = 1024
    """Number of root nodes (neighbours, walks), clusters or graphs per batch."""
    fan_outs: tuple[int, ...] = (15, 10)
    """neighbours: maximum number of edges into a node, hop by hop from the root nodes; -1 takes all."""
    length: int = 2
    """walks: number of steps per walk."""
    steps: int = 30
    """walks: number of batches per epoch."""
    parts: int = 100
    """clusters: number of parts that METIS divides the graph into."""
    per_step: int = 1
    """Number of batches that one step reads: its loss is the mean of theirs, and so is its gradient (gradient
    accumulation). A multiple of the data=N devices of --mesh, which share them."""


@dataclass(frozen=True)
class RunConfig:
    """Options of every command that trains or reads models."""

    dataset: str = "digits"
    """Data set: a name that `python -m abkd_jax datasets` lists, `layout:name`, or the path of a graph of your own. The
    defaults below are those of this set."""
    data_root: Path | None = None
    """Folder of the data files; default: $ABKD_JAX_DATA, else ~/.cache/abkd_jax."""
    seeds: int = 3
    """Number of seeds (0, 1, ...), each with one teacher and one student per method."""
    max_epochs: int | None = None
    """Upper limit on the epochs of every training, for a quick try."""
    out: Path | None = None
    """Folder of the run; default: runs/<dataset>/<digest of settings>, and runs/<dataset>/latest points to the last
    one. The same command resumes the run or prints its results; more seeds and other methods extend it."""
    overwrite: bool = False
    """Remove the results of an earlier run from the folder and start anew."""
    teachers: Path | None = None
    """Folder where trained teachers are kept for all runs; default: ~/.cache/abkd_jax/teachers."""
    split: int = 0
    """Seed of the split, or number of the fold, of data sets without an official one."""
    batches: BatchConfig = field(default_factory=BatchConfig)
    """The part of the graph that a training step of teacher and students reads."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher."""
    teacher_outputs: tuple[Path, ...] = ()
    """Files .npz with the outputs of a teacher trained elsewhere (logits or probabilities [n, c], and hidden_0,
    hidden_1, ... [n, width]): nothing else of it is needed; several files are an ensemble. Beside --teacher-weights
    its outputs are compared with those of the file."""
    teacher_weights: Path | None = None
    """File .safetensors with the state_dict of a PyTorch Geometric model of the architecture --teacher.model. What no
    file of weights says is taken to be: mean aggregation of GraphSAGE, no normalize of it, no improved, self loops of
    GCN and GAT, normalisation before the activation, which --teacher.model.activation says. With --teacher-outputs,
    one file of the same model, its outputs are compared with those here, and others are refused."""
    teacher_ensemble: int = 1
    """All students learn from the mean of the teachers of so many seeds, instead of each from its own."""
    mesh: tuple[str, ...] = ()
    """Devices to train on: data=N (minibatches of one step), seeds=N (seeds side by side), nodes=N (blocks of one
    graph), in any order, as in data=4 seeds=2; default: one device."""
    profile_dir: Path | None = None
    """Folder for a trace of some steps of every training, for TensorBoard or Perfetto."""


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """A comparison of students that learn from the same teachers.

    Every field that holds a `MethodConfig` is a method. Losses that `methods` names beyond these get a field of their
    own when a run is resolved (see `configs.methods`); a study subclasses this and adds fields (see `presets.extend`).
    """

    methods: tuple[str, ...] = ("supervised", "soft_label", "abkd")
    """Students to train, in the order of the table: supervised, soft_label, abkd, abkd_paper; glnn; soft labels with a
    published loss: fitnet, attention_transfer, lsp, gsp, gcrd, mustad, geometric, krd, ff_g2m, propagate; or with one
    of your own, module:function, which is then called by the name of its function. A method that is named here has
    options: --help --methods NAME lists them."""
    student: ModelConfig = field(default_factory=lambda: ModelConfig(layers=4, hidden=4, dropout=0.0))
    """The student."""
    supervised: MethodConfig = field(default_factory=MethodConfig)
    """A student that learns from labels alone."""
    soft_label: MethodConfig = field(default_factory=MethodConfig)
    """A student that learns from the teacher's soft labels."""
    abkd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and attention-weighted layer alignment with closed-form projections."""
    abkd_paper: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and the paper's literal layer alignment, with trained projections."""
    fitnet: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and FitNets: the last hidden layers node by node, through trained projections."""
    attention_transfer: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and attention transfer: the nodes' shares in the activation of the last hidden layers."""
    lsp: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and local structure preserving: similarities along the edges."""
    gsp: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and global structure preserving: similarities of all pairs of nodes."""
    gcrd: MethodConfig = field(default_factory=MethodConfig)
    """Soft labels and G-CRD: InfoNCE between the nodes of student and teacher."""
    glnn: MethodConfig = field(default_factory=MethodConfig)
    """GLNN: an MLP of its own size learns the soft labels of all nodes and needs no graph once trained."""
