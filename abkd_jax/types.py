"""The nouns of the library: what a model returns, what a distillation loss is, what a data set is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Key, Shaped

__all__ = [
    "Batch",
    "Dataset",
    "GNNOutput",
    "InputError",
    "NodeMasks",
    "Objective",
    "PRNGKey",
    "PairMap",
    "Pytree",
]

PRNGKey = Key[Array, ""]
Pytree = Any


class InputError(ValueError):
    """Bad input from the user. The message is one line: what is wrong, where, what was expected."""


class GNNOutput(NamedTuple):
    """What every model returns.

    Attributes:
        logits: `[n, classes]`; `[graphs, classes]` of a model with a readout.
        hiddens: outputs of the message-passing layers before the logits, input side first, each `[n, width]`: after the
            activation, before dropout. The last is what the classifier (or the last convolution) reads.
    """

    logits: Float[Array, "n c"]
    hiddens: tuple[Float[Array, "n _"], ...]


class NodeMasks(NamedTuple):
    """Which nodes a distillation term may look at. Both `[n]`; padding nodes are in neither."""

    all: Bool[Array, " n"]
    train: Bool[Array, " n"]


class Objective(NamedTuple):
    """A distillation loss, possibly trainable: the optax of distillation.

    Attributes:
        init: `(key, teacher: GNNOutput, student: GNNOutput) -> params`. Shapes suffice: works under `jax.eval_shape`.
        targets: `(teacher: GNNOutput, *, graph, mask) -> targets`. Everything the loss needs of the frozen teacher.
        apply: `(params, targets, student: GNNOutput, *, graph, mask, key) -> (loss, metrics)` with a scalar loss and a
            dict of arrays to log. `mask` is `[n]`, or `NodeMasks` for objectives that choose nodes themselves.
    """

    init: Callable[..., Pytree]
    targets: Callable[..., Pytree]
    apply: Callable[..., tuple[Array, dict[str, Array]]]


class PairMap(NamedTuple):
    """A number for every (teacher layer, student layer) pair: layer attention or layer dissimilarity.

    The three functions have the signatures of `Objective`, but `apply` returns a `[T_l, S_l]` map instead of a scalar.
    """

    init: Callable[..., Pytree]
    targets: Callable[..., Pytree]
    apply: Callable[..., tuple[Float[Array, "T_l S_l"], dict[str, Array]]]


class Batch(NamedTuple):
    """One training batch; the whole graph when training is full batch.

    Attributes:
        graph: `jraph.GraphsTuple`.
        labels: `[n]` integer classes or `[n, c]` floats, as the task asks; entries outside the masks are ignored.
        masks: nodes that distillation may use, and the labelled ones among them.
        targets: `Objective.targets` of the frozen teacher, or None where none is needed.
    """

    graph: Any
    labels: Shaped[Array, "n ..."]
    masks: NodeMasks
    targets: Pytree = None


class Dataset(NamedTuple):
    """A node-classification data set on the host, as its files give it.

    Attributes:
        name: as given to `datasets.load`.
        features: `[n, f]` float32, dense or `scipy.sparse.csr_matrix`.
        senders: `[e]` int32. The edge list is taken as undirected: `graph.from_dataset` adds the reverse edges.
        receivers: `[e]` int32.
        labels: `[n]` int32 in `[0, num_classes)`, or -1 where unlabelled.
        num_classes: number of classes.
        train_mask: `[n]` bool; the three masks are disjoint.
        val_mask: `[n]` bool.
        test_mask: `[n]` bool.
        source: where the data comes from, one line.
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

    @property
    def num_nodes(self) -> int:
        return self.labels.shape[0]
