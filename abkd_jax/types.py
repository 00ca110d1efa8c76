"""Data types that all rooms share: outputs of models, distillation losses, batches and data sets."""

from typing import Any, Literal, NamedTuple, Protocol

import jraph
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Key, Shaped

__all__ = [
    "METRICS",
    "Apply",
    "ApplyMap",
    "Batch",
    "Dataset",
    "GNNOutput",
    "GraphDataset",
    "HostOrDevice",
    "Init",
    "InputError",
    "Mask",
    "Metric",
    "NodeMasks",
    "Objective",
    "PRNGKey",
    "PairMap",
    "Pytree",
    "Scalar",
    "Schema",
    "Targets",
    "TaskName",
    "shape_of",
]

PRNGKey = Key[Array, ""]
Pytree = Any
Scalar = float | Float[Array, ""]  # traced where students side by side differ in it
Mask = Bool[Array, " n"]  # which nodes count, or in graph-level losses of the logits which graphs
TaskName = Literal["classification", "multilabel", "regression"]
HostOrDevice = Any  # np.ndarray as built on the host; jax.Array once `jax.device_put` or `jit` has moved it


class InputError(ValueError):
    """Bad input from the user. The message is one line: what is wrong, where, what was expected."""


class Metric(NamedTuple):
    """Format of a stored score. Scores are stored so that higher is better: shares of 1, or minus an error.

    Attributes:
        name: name of the shown value.
        unit: `"%"`, or `""` where it has the units of the targets.
        factor: shown value over stored score.
        higher_is_better: whether a higher shown value is the better one.
    """

    name: str
    unit: str
    factor: float
    higher_is_better: bool

    @property
    def heading(self) -> str:
        """Returns name and unit, as the title of a column or an axis."""
        return f"{self.name} {self.unit}".rstrip()


METRICS = {name: Metric(name, "%", 100.0, True) for name in ("accuracy", "micro-F1", "ROC-AUC")}
METRICS["-RMSE"] = Metric("RMSE", "", -1.0, False)  # by the name that records carry, `Task.metric`


class GNNOutput(NamedTuple):
    """Output of every model.

    Attributes:
        logits: `[n, classes]`; `[graphs, classes]` of a model with a readout.
        hiddens: outputs of the message-passing layers before the logits, input side first, each `[n, width]`: after the
            activation, before dropout. The last is the input of the classifier (or of the last convolution).
    """

    logits: Float[Array, "n c"]
    hiddens: tuple[Float[Array, "n _"], ...]


class NodeMasks(NamedTuple):
    """Nodes, and in graph-level tasks graphs, that a term of the loss may be computed on; padding is in none.

    Attributes:
        all: `[n]` nodes that distillation may use.
        train: `[n]` the labelled ones among them; in graph-level tasks the nodes of labelled graphs.
        graphs: `[g]` graphs whose logits distillation may use; None in node-level tasks.
        train_graphs: `[g]` the labelled ones among them; None in node-level tasks.
    """

    all: Bool[HostOrDevice, " n"]
    train: Bool[HostOrDevice, " n"]
    graphs: Bool[HostOrDevice, " g"] | None = None
    train_graphs: Bool[HostOrDevice, " g"] | None = None

    @property
    def labelled(self) -> Bool[HostOrDevice, " rows"]:
        """Rows of the logits with a label to learn from: nodes, or graphs in graph-level tasks."""
        return self.train if self.train_graphs is None else self.train_graphs


class Init(Protocol):
    """The `init` of an `Objective` or a `PairMap`."""

    def __call__(self, key: PRNGKey, teacher: GNNOutput, student: GNNOutput) -> Pytree:
        """Makes the trainable parameters, `{}` where there are none.

        Args:
            key: a key of `jax.random.key`.
            teacher: what the teacher returns; its shapes suffice, as under `jax.eval_shape`.
            student: likewise.
        """
        ...


class Targets(Protocol):
    """The `targets` of an `Objective` or a `PairMap`."""

    def __call__(self, teacher: GNNOutput, *, graph: jraph.GraphsTuple, mask: Any) -> Pytree:
        """Reduces the frozen teacher to what the loss needs of it, once per teacher or once per minibatch.

        Args:
            teacher: what the teacher returned. No gradient may go into it: see `distill.freeze`.
            graph: the graph that both models read.
            mask: `[n]` booleans, the nodes that count; `NodeMasks` for objectives that choose nodes themselves.
        """
        ...


class Apply(Protocol):
    """The `apply` of an `Objective`."""

    def __call__(
        self,
        params: Pytree,
        targets: Pytree,
        student: GNNOutput,
        *,
        graph: jraph.GraphsTuple,
        mask: Any,
        key: PRNGKey | None,
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Computes the loss, and metrics to log.

        Args:
            params: as `init` makes them.
            targets: as `targets` makes them, of the same nodes.
            student: what the student returned.
            graph: as in `targets`.
            mask: as in `targets`.
            key: for losses that draw random numbers; None where none does.
        """
        ...


class ApplyMap(Protocol):
    """The `apply` of a `PairMap`."""

    def __call__(
        self,
        params: Pytree,
        targets: Pytree,
        student: GNNOutput,
        *,
        graph: jraph.GraphsTuple,
        mask: Any,
        key: PRNGKey | None,
    ) -> tuple[Float[Array, "T_l S_l"], dict[str, Array]]:
        """Computes one number per pair of layers, and details to log; the arguments are those of `Apply`."""
        ...


class Objective(NamedTuple):
    """A distillation loss, possibly trainable: the optax of distillation.

    Attributes:
        init: `(key, teacher, student) -> params`, see `Init`.
        targets: `(teacher, *, graph, mask) -> targets`, see `Targets`.
        apply: `(params, targets, student, *, graph, mask, key) -> (loss, metrics)`, see `Apply`.
    """

    init: Init
    targets: Targets
    apply: Apply


class PairMap(NamedTuple):
    """One number per (teacher layer, student layer) pair: layer attention or layer dissimilarity.

    Attributes:
        init, targets: as of an `Objective`.
        apply: `(params, targets, student, *, graph, mask, key) -> (map [T_l, S_l], details)`, see `ApplyMap`.
    """

    init: Init
    targets: Targets
    apply: ApplyMap


class Batch(NamedTuple):
    """One training batch; the whole graph when training is full batch.

    Attributes:
        graph: plain or prepared.
        labels: `[n]` integer classes or `[n, c]` floats, depending on the task; entries outside the masks are ignored.
        masks: nodes that distillation may use, and the labelled ones among them.
        targets: `Objective.targets` of the frozen teacher, or None where none is needed.
    """

    graph: jraph.GraphsTuple
    labels: Shaped[HostOrDevice, "n ..."]
    masks: NodeMasks
    targets: Pytree = None


class Schema(NamedTuple):
    """Types of a heterogeneous graph.

    Attributes:
        node_types: names of the node types, by number.
        relations: names of the edge types in the files, by number.
        reverses: the type of the reverse edges of each: the same number if undirected, else from `len(relations)` on.
    """

    node_types: tuple[str, ...]
    relations: tuple[str, ...]
    reverses: tuple[int, ...]

    @property
    def num_relations(self) -> int:
        """Returns the number of edge types, those of reverse edges included."""
        return max(len(self.relations), *(number + 1 for number in self.reverses))


def shape_of(features: np.ndarray | sp.csr_matrix) -> tuple[int, int]:
    """Returns the shape of a dense or sparse feature matrix, which SciPy does not annotate."""
    shape: Any = features.shape
    return shape


class Dataset(NamedTuple):
    """Node-classification data set on the host, as its files give it.

    In a heterogeneous graph the nodes are numbered type by type, and those with features come first: `features` has
    `m <= n` rows, and models give each node from `m` on a learned embedding.

    Attributes:
        name: as given to `datasets.load`, or the stem of the path of a graph in the neutral form.
        features: `[m, f]` float32, dense or `scipy.sparse.csr_matrix`; `m = n` without a schema.
        senders, receivers: `[e]` int32. Unless `directed`, the graph made of them has the reverse edges too.
        labels: `[n]` int32 in `[0, num_classes)`, or -1 where unlabelled; of the tasks multilabel and regression
            `[n, num_classes]` float32, NaN where unknown.
        num_classes: width of the logits: number of classes, or of labels or targets per node.
        train_mask, val_mask, test_mask: `[n]` bool; the three are disjoint.
        source: where the data comes from, one line.
        schema: the types of a heterogeneous graph; None for a homogeneous one.
        node_types: `[n]` int32 in `[0, len(schema.node_types))`, ascending; None without a schema.
        relations: `[e]` int32 in `[0, len(schema.relations))`; None without a schema.
        task: one class per node, several binary labels, or real numbers.
        directed: whether the graph has the edges of the list alone.
        edge_weights: `[e]` float32, finite and above 0; None where all are 1.
        edge_features: `[e, k]` float32; None where there are none.
        row_normalised: whether every row of `features` was divided by its sum.
        classes: names of the classes, labels or targets, `num_classes` of them; `()` where they have none.
        node_ids: `[n]` identifiers of the nodes in the files, integers or strings; None where they are the row numbers.
        columns, edge_columns: names of the columns of `features` and of `edge_features`; `()` where they have none.
    """

    name: str
    features: np.ndarray | sp.csr_matrix
    senders: np.ndarray
    receivers: np.ndarray
    labels: np.ndarray
    num_classes: int
    train_mask: np.ndarray
    val_mask: np.ndarray
    test_mask: np.ndarray
    source: str
    schema: Schema | None = None
    node_types: np.ndarray | None = None
    relations: np.ndarray | None = None
    task: TaskName = "classification"
    directed: bool = False
    edge_weights: np.ndarray | None = None
    edge_features: np.ndarray | None = None
    row_normalised: bool = False
    classes: tuple[str, ...] = ()
    node_ids: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    edge_columns: tuple[str, ...] = ()

    @property
    def num_nodes(self) -> int:
        """Returns the number of nodes."""
        return self.labels.shape[0]

    @property
    def num_embeddings(self) -> int:
        """Returns the number of nodes without features: the last ones."""
        return self.labels.shape[0] - shape_of(self.features)[0]


class GraphDataset(NamedTuple):
    """Graph-level data set on the host: all its graphs one after the other.

    Attributes:
        name: as given to `datasets.load`.
        features: `[nodes, f]`, float32, or int32 categories where `vocabulary` is given.
        edge_features: `[edges, k]` int32 categories, or float32 where `edge_vocabulary` is `()`; None without.
        senders, receivers: `[edges]` int32, from 0 in every graph; both directions of every edge are there.
        n_node: `[g]` int32, nodes of each graph.
        n_edge: `[g]` int32, edges of each graph.
        labels: `[g]` int32 classes, -1 where unknown, or `[g, tasks]` float32 (0, 1, or a real number; NaN likewise).
        num_outputs: width of the logits: classes, or tasks.
        task: one class, several binary labels, or real numbers.
        metric: score on the validation and test graphs.
        train_mask, val_mask, test_mask: `[g]` bool; the three are disjoint.
        source: where the data comes from.
        vocabulary: for each column of `features` the number of its categories; `()` where features are real numbers.
        edge_vocabulary: likewise for the columns of `edge_features`.
        classes: names of the classes or tasks, `num_outputs` of them; `()` where they have none.
        graphs: `[g]` identifiers of the graphs in the files, integers or strings; None where they are the row numbers.
        columns, edge_columns: as in `Dataset`.
    """

    name: str
    features: np.ndarray
    edge_features: np.ndarray | None
    senders: np.ndarray
    receivers: np.ndarray
    n_node: np.ndarray
    n_edge: np.ndarray
    labels: np.ndarray
    num_outputs: int
    task: TaskName
    metric: Literal["accuracy", "rocauc", "rmse"]
    train_mask: np.ndarray
    val_mask: np.ndarray
    test_mask: np.ndarray
    source: str
    vocabulary: tuple[int, ...] = ()
    edge_vocabulary: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    graphs: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    edge_columns: tuple[str, ...] = ()
