"""Reads graph-level data sets in the TU text layout: MUTAG and PROTEINS.

Source: Morris et al. 2020 (TUDataset, arXiv 2007.08663), https://chrsmrrs.github.io/datasets. Files are
`<root>/tu/<NAME>/<NAME>_*.txt`; nodes and graphs are numbered from 1 through the whole set.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.reading import reading, require_files
from abkd_jax.datasets.files.text import read_table
from abkd_jax.datasets.splits import folds
from abkd_jax.types import GraphDataset, InputError

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "mutag": "188 molecules, 7 kinds of atoms, 4 kinds of bonds, mutagenic or not; 8/1/1 of 10 folds",
    "proteins": "1,113 proteins, 3 kinds of structures and their lengths, enzyme or not; 8/1/1 of 10 folds",
}
PUBLISHED = "https://chrsmrrs.github.io/datasets"
PARTS = {
    "mutag": ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels"),
    "proteins": ("A", "graph_indicator", "graph_labels", "node_labels", "node_attributes"),
}
NUM_FOLDS = 10
FOLD_SEED = 0
MAX_CATEGORIES = 1000  # of nodes and of edges: each is a column


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

    Returns:
        One path per part of `PARTS[name]`.
    """
    upper = name.upper()
    return tuple(root / "tu" / upper / f"{upper}_{part}.txt" for part in PARTS[name])


def load(name: str, root: Path, seed: int = 0) -> GraphDataset:
    """Reads a TU data set; the seed chooses one of ten splits.

    The graphs are divided, always by a generator with seed 0, into 10 folds with the same share of every class. Fold
    `seed % 10` is the test set, the next one (after 9 comes 0) the validation set, the other eight are for training:
    seeds 0 to 9 make a tenfold cross-validation.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.
        seed: of the split.

    Returns:
        The data set. Features `[nodes, f]` float32 are node labels one-hot, then node attributes as they are in the
        files; edge features `[edges, 1]` int32 are edge labels, None where there are none.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    paths = dict(zip(PARTS[name], files(name, root), strict=True))
    require_files(name, paths.values(), PUBLISHED)
    graph_of_node = read_table(paths["graph_indicator"], 1)[:, 0] - 1
    _, labels = np.unique(read_table(paths["graph_labels"], 1)[:, 0], return_inverse=True)
    n_node = _count_nodes(paths["graph_indicator"], graph_of_node, labels.size)
    pairs, order = _read_edges(paths["A"], graph_of_node)
    edge_labels, edge_vocabulary = None, ()
    if "edge_labels" in paths:
        categories, count = _read_categories(paths["edge_labels"], order.size)
        edge_labels, edge_vocabulary = categories[order, None].astype(np.int32), (count,)
    graph_of_edge = graph_of_node[pairs[:, 0]]
    local = pairs - (np.cumsum(n_node) - n_node)[graph_of_edge][:, None]
    fold = folds(labels, NUM_FOLDS, np.random.default_rng(FOLD_SEED))
    test, val = fold == seed % NUM_FOLDS, fold == (seed + 1) % NUM_FOLDS
    return GraphDataset(
        name=name,
        features=_read_features(paths, graph_of_node.size),
        edge_features=edge_labels,
        senders=local[:, 0].astype(np.int32),
        receivers=local[:, 1].astype(np.int32),
        n_node=n_node.astype(np.int32),
        n_edge=np.bincount(graph_of_edge, minlength=labels.size).astype(np.int32),
        labels=labels.astype(np.int32),
        num_outputs=int(labels.max()) + 1,
        task="classification",
        metric="accuracy",
        train_mask=~(test | val),
        val_mask=val,
        test_mask=test,
        source=f"TUDataset (arXiv 2007.08663), fold {seed % NUM_FOLDS} of {NUM_FOLDS} drawn with seed {FOLD_SEED}",
        edge_vocabulary=edge_vocabulary,
    )


def _read_categories(path: Path, lines: int) -> tuple[Int[np.ndarray, " lines"], int]:
    """Reads one category per line; returns also how many there are."""
    with reading(path, f"{lines} categories, from 0 on"):
        categories = read_table(path, 1)[:, 0]
        if categories.size != lines:
            raise ValueError(f"{categories.size} lines")
        count = count_categories(categories)
        if count > MAX_CATEGORIES:
            raise ValueError(f"{count} categories")
        return categories, count


def _count_nodes(path: Path, graph_of_node: Int[np.ndarray, " n"], graphs: int) -> Int[np.ndarray, " g"]:
    if (np.diff(graph_of_node) < 0).any() or graph_of_node[0] < 0 or graph_of_node[-1] >= graphs:
        raise InputError(f"{path}: damaged; expected ascending graph numbers from 1 to {graphs}")
    return np.bincount(graph_of_node, minlength=graphs)


def _read_edges(
    path: Path, graph_of_node: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "edges 2"], Int[np.ndarray, " edges"]]:
    """Reads edges as node indices from 0, sorted by graph; returns also the line of the file that each comes from."""
    pairs = read_table(path, 2, delimiter=",") - 1
    n = graph_of_node.size
    if pairs.min() < 0 or pairs.max() >= n:
        lowest, highest = int(pairs.min()) + 1, int(pairs.max()) + 1
        raise InputError(f"{path}: damaged; node numbers reach {lowest} and {highest}; expected 1-{n}")
    graphs = graph_of_node[pairs]
    astray = np.nonzero(graphs[:, 0] != graphs[:, 1])[0]
    if astray.size:
        raise InputError(
            f"{path}: damaged; {astray.size} edges join two graphs (first: line {astray[0] + 1}); "
            "expected both ends in one graph"
        )
    order = np.argsort(graphs[:, 0], kind="stable")
    return pairs[order], order


def _read_features(paths: dict[str, Path], n: int) -> Float32[np.ndarray, "n f"]:
    categories, count = _read_categories(paths["node_labels"], n)
    one_hot = (categories[:, None] == np.arange(count)).astype(np.float32)
    if "node_attributes" not in paths:
        return one_hot
    attributes = read_table(paths["node_attributes"], None, np.float32, delimiter=",")
    if len(attributes) != n:
        raise InputError(f"{paths['node_attributes']}: damaged; {len(attributes)} lines; expected {n}")
    return np.concatenate([one_hot, attributes], axis=1)
