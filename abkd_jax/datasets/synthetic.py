"""A stochastic block model with class-dependent features: a graph of any size for tests and timings."""

from pathlib import Path

import numpy as np
from jaxtyping import Int

from abkd_jax.datasets.splits import per_class
from abkd_jax.types import Dataset, InputError

__all__ = ["DESCRIPTIONS", "files", "generate", "load"]

DESCRIPTIONS = {
    "synthetic": "stochastic block model: 300 nodes, 32 binary features, 3 classes; 20/30/rest of each class"
}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns `()`: the graph is generated."""
    return ()


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Generates the small graph that is listed as `synthetic`: 300 nodes, 3 classes, 32 features.

    Args:
        name: `synthetic`.
        root: the data root; not read.
        seed: of everything: labels, edges, features, split.

    Returns:
        The data set, features `[300, 32]` dense float32.
    """
    return generate(300, 3, 32, np.random.default_rng(seed))


def generate(
    num_nodes: int,
    num_classes: int,
    num_features: int,
    rng: np.random.Generator,
    *,
    mean_degree: float = 6.0,
    homophily: float = 0.8,
    own_word: float = 0.2,
    other_word: float = 0.05,
    train_per_class: int = 20,
    val_per_class: int = 30,
) -> Dataset:
    """Draws a graph from a stochastic block model with classes of equal size.

    The sparse form of the model (Karrer and Newman 2011, arXiv 1008.3926, section II): a given number of edges, each
    drawn independently, so that time and memory grow with the edges and not with the pairs. Self loops are dropped and
    an edge may be repeated, so the degree of the coalesced graph is slightly below `mean_degree`.

    Args:
        num_nodes: n.
        num_classes: at least 2.
        num_features: f; word j belongs to class `j % num_classes`.
        rng: the source of every draw.
        mean_degree: number of edges drawn, times two, divided by the number of nodes.
        homophily: probability that an edge stays inside its class.
        own_word: probability that a node holds a given word of its class.
        other_word: probability that it holds a given word of another class.
        train_per_class: training nodes of each class.
        val_per_class: validation nodes of each class; the rest is the test set.

    Returns:
        The data set, features `[n, f]` dense float32, zeros and ones.

    Raises:
        InputError: fewer than two classes, a homophily outside [0, 1], or too few nodes for the split.

    Examples:
        >>> data = generate(1000, 4, 16, np.random.default_rng(0), homophily=0.9)
        >>> data.features.shape, round(float(np.mean(data.labels[data.senders] == data.labels[data.receivers])), 1)
        ((1000, 16), 0.9)
    """
    if num_classes < 2 or not 0 <= homophily <= 1:
        raise InputError(
            f"synthetic: num_classes {num_classes}, homophily {homophily}; expected at least 2 and a value in [0, 1]"
        )
    labels = rng.permutation(np.arange(num_nodes, dtype=np.int32) % num_classes)
    train, val, test = per_class(labels, train_per_class, val_per_class, rng)
    senders = rng.integers(num_nodes, size=round(num_nodes * mean_degree / 2))
    receivers = _draw_receivers(labels, senders, homophily, rng)
    between_two = senders != receivers
    own = labels[:, None] == np.arange(num_features)[None, :] % num_classes  # [n, f]
    words = rng.random(own.shape, np.float32) < np.where(own, own_word, other_word)
    return Dataset(
        name="synthetic",
        features=words.astype(np.float32),
        senders=senders[between_two].astype(np.int32),
        receivers=receivers[between_two].astype(np.int32),
        labels=labels,
        num_classes=num_classes,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=f"generated: stochastic block model, {num_nodes} nodes, mean degree {mean_degree:g}, "
        f"homophily {homophily:g}",
    )


def _draw_receivers(
    labels: Int[np.ndarray, " n"], senders: Int[np.ndarray, " e"], homophily: float, rng: np.random.Generator
) -> Int[np.ndarray, " e"]:
    by_class = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    start, size = starts[labels[senders]], sizes[labels[senders]]
    inside = start + rng.integers(size)
    outside = rng.integers(labels.size - size)
    outside += np.where(outside >= start, size, 0)  # step over the sender's own class
    return by_class[np.where(rng.random(senders.size) < homophily, inside, outside)]
