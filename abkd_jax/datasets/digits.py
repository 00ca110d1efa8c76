"""Handwritten digits as a nearest-neighbour graph: a real data set that needs no download."""

from pathlib import Path

import numpy as np

from abkd_jax.datasets.splits import per_class
from abkd_jax.types import Dataset, InputError

__all__ = ["DESCRIPTIONS", "files", "load"]

NEIGHBOURS = 10
TRAIN_PER_CLASS = 5
VAL_PER_CLASS = 30
MAX_GREY = 16.0

DESCRIPTIONS = {
    "digits": "1,797 handwritten digits of 8 x 8 pixels, 10 classes, 10 nearest neighbours; 5/30/rest of each class"
}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns `()`: the digits are shipped with scikit-learn."""
    return ()


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Connects each of scikit-learn's handwritten digits with its 10 nearest neighbours.

    Distances are Euclidean between pixel vectors; the graph is undirected, so a node has at least 10 neighbours. Five
    labels per class make this semi-supervised node classification.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), shipped with scikit-learn.

    Args:
        name: `digits`.
        root: the data root; not read.
        seed: of the split; nodes, edges and features are the same for every seed.

    Returns:
        The data set, features `[1797, 64]` dense float32 in `[0, 1]`.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise InputError("digits need scikit-learn, which is not installed: pip install 'abkd_jax[data]'") from error
    pixels, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    greys = pixels / MAX_GREY
    # Sixteenths are exact in float64 and a k-d tree runs on one thread: ties fall alike on every machine.
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="kd_tree").fit(greys)
    edges = nearest.kneighbors_graph().tocoo()
    train, val, test = per_class(labels, TRAIN_PER_CLASS, VAL_PER_CLASS, np.random.default_rng(seed))
    return Dataset(
        name=name,
        features=greys.astype(np.float32),
        senders=edges.row.astype(np.int32),
        receivers=edges.col.astype(np.int32),
        labels=labels.astype(np.int32),
        num_classes=10,
        train_mask=train,
        val_mask=val,
        test_mask=test,
        source=f"sklearn.datasets.load_digits, {NEIGHBOURS} nearest neighbours, split seed {seed}",
    )
