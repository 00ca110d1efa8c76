"""Reads graph-level data sets in the TU text layout: MUTAG, PROTEINS and any other.

Source: Morris et al. 2020 (TUDataset, arXiv 2007.08663), https://chrsmrrs.github.io/datasets. Files are
`<root>/tu/<NAME>/<NAME>_*.txt`; nodes and graphs are numbered from 1 through the whole set.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from abkd_jax.datasets.checks.common import count_categories
from abkd_jax.datasets.files.reading import reading, require_files
from abkd_jax.datasets.files.text import LARGE_TEXT, read_table
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
NEEDED, OPTIONAL = ("A", "graph_indicator"), ("node_labels", "node_attributes", "edge_labels", "edge_attributes")
TARGETS = ("graph_labels", "graph_attributes")
NUM_FOLDS = 10
FOLD_SEED = 0
MAX_CATEGORIES = 1000  # of nodes and of edges: each is a column
MAX_DEGREE = 100  # of nodes without labels and attributes: each degree is a column

logger = logging.getLogger(__name__)


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`, or the name of the folder of another set.
        root: the data root.

    Returns:
        One path per part of `PARTS[name]`; of another set those that it needs, and of the optional ones those that
        there are.
    """
    folder = name.upper() if name in PARTS else name
    prefix = root / "tu" / folder / f"{folder}_"
    return tuple(Path(f"{prefix}{part}.txt") for part in (PARTS.get(name) or _parts(prefix)))


def _parts(prefix: Path) -> tuple[str, ...]:
    def present(*parts: str) -> tuple[str, ...]:
        return tuple(part for part in parts if Path(f"{prefix}{part}.txt").is_file())

    return (*NEEDED, *(present(*TARGETS)[:1] or TARGETS[:1]), *present(*OPTIONAL))


def load(name: str, root: Path, seed: int = 0) -> GraphDataset:
    """Reads a TU data set; the seed chooses one of ten splits.

    The graphs are divided, always by a generator with seed 0, into 10 folds with the same share of every class. Fold
    `seed % 10` is the test set, the next one (after 9 comes 0) the validation set, the other eight are for training:
    seeds 0 to 9 make a tenfold cross-validation.

    Sets other than the listed ones may lack node labels, node attributes or edge labels, and have several columns of
    each; categories may be any whole numbers. Without node labels and attributes a node has its degree one-hot, up to
    100 (as Xu et al., arXiv 1810.00826, for social networks). Without graph labels, graph attributes are the targets of
    a regression. Edge attributes are read where there are no edge labels.

    Args:
        name: a key of `DESCRIPTIONS`, or the name of the folder of another set.
        root: the data root.
        seed: of the split.

    Returns:
        The data set. Features `[nodes, f]` float32 are node labels one-hot, then node attributes as they are in the
        files; edge features `[edges, k]` are edge labels, int32, or edge attributes, float32, where there are any.

    Raises:
        InputError: a file is missing or damaged, or the files do not belong together.
    """
    found = files(name, root)
    require_files(name, found, PUBLISHED)
    paths = {path.stem.removeprefix(f"{path.parent.name}_"): path for path in found}
    graph_of_node = read_table(paths["graph_indicator"], 1, limit=LARGE_TEXT)[:, 0] - 1
    labels = _read_labels(paths)
    n_node = _count_nodes(paths["graph_indicator"], graph_of_node, len(labels))
    pairs, order = _read_edges(paths["A"], graph_of_node)
    listed = name in PARTS
    edge_features, edge_vocabulary = _read_edge_features(name, paths, order, gaps=not listed)
    graph_of_edge = graph_of_node[pairs[:, 0]]
    local = pairs - (np.cumsum(n_node) - n_node)[graph_of_edge][:, None]
    classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.int32)  # real targets have no shares
    fold = folds(classes, NUM_FOLDS, np.random.default_rng(FOLD_SEED))
    test, val = fold == seed % NUM_FOLDS, fold == (seed + 1) % NUM_FOLDS
    return GraphDataset(
        name=name,
        features=_read_features(paths, pairs, graph_of_node.size, gaps=not listed),
        edge_features=edge_features,
        senders=local[:, 0].astype(np.int32),
        receivers=local[:, 1].astype(np.int32),
        n_node=n_node.astype(np.int32),
        n_edge=np.bincount(graph_of_edge, minlength=len(labels)).astype(np.int32),
        labels=labels,
        num_outputs=int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1],
        task="classification" if labels.ndim == 1 else "regression",
        metric="accuracy" if labels.ndim == 1 else "rmse",
        train_mask=~(test | val),
        val_mask=val,
        test_mask=test,
        source=f"{_origin(name)}, fold {seed % NUM_FOLDS} of {NUM_FOLDS} drawn with seed {FOLD_SEED}",
        edge_vocabulary=edge_vocabulary,
    )


def _origin(name: str) -> str:
    if name in PARTS:
        return "TUDataset (arXiv 2007.08663)"
    return f"own files in the layout of TUDataset, {name}"


def _read_labels(paths: dict[str, Path]) -> Int[np.ndarray, " g"] | Float32[np.ndarray, "g k"]:
    """Reads the class of every graph, numbered from 0 in the order of the numbers in the file, or its real targets."""
    if "graph_labels" not in paths:
        return read_table(paths["graph_attributes"], None, np.float32, delimiter=",", limit=LARGE_TEXT)
    return np.unique(read_table(paths["graph_labels"], 1)[:, 0], return_inverse=True)[1].astype(np.int32)


def _read_edge_features(
    name: str, paths: dict[str, Path], order: Int[np.ndarray, " edges"], *, gaps: bool
) -> tuple[Int[np.ndarray, "edges k"] | Float32[np.ndarray, "edges k"] | None, tuple[int, ...]]:
    """Reads what edges have, in this order of the lines, and the number of categories of each column."""
    attributes = paths.get("edge_attributes")
    if "edge_labels" in paths:
        if attributes is not None:
            logger.warning("%s: %s is not read, beside edge labels", name, attributes.name)
        categories, counts = _read_categories(paths["edge_labels"], order.size, gaps=gaps)
        return categories[order].astype(np.int32), counts
    return (None if attributes is None else _read_attributes(attributes, order.size)[order]), ()


def _read_attributes(path: Path, lines: int) -> Float32[np.ndarray, "lines k"]:
    attributes = read_table(path, None, np.float32, delimiter=",", limit=LARGE_TEXT)
    if len(attributes) != lines:
        raise InputError(f"{path}: damaged; {len(attributes)} lines; expected {lines}")
    return attributes


def _read_categories(path: Path, lines: int, *, gaps: bool) -> tuple[Int[np.ndarray, "lines columns"], tuple[int, ...]]:
    """Reads the categories of each line; returns also how many there are in each column.

    With `gaps` they may be any numbers and have several columns; without, one column is numbered from 0 on.
    """
    with reading(path, f"{lines} categories" + ("" if gaps else ", from 0 on")):
        table = read_table(path, None if gaps else 1, delimiter=",", limit=LARGE_TEXT)
        if len(table) != lines:
            raise ValueError(f"{len(table)} lines")
        if gaps:
            columns = [np.unique(column, return_inverse=True)[1] for column in table.T]
            table = np.stack(columns, axis=1)
        counts = tuple(count_categories(column) for column in table.T)
        if sum(counts) > MAX_CATEGORIES:
            raise ValueError(f"{sum(counts)} categories")
        return table, counts


def _count_nodes(path: Path, graph_of_node: Int[np.ndarray, " n"], graphs: int) -> Int[np.ndarray, " g"]:
    if (np.diff(graph_of_node) < 0).any() or graph_of_node[0] < 0 or graph_of_node[-1] >= graphs:
        raise InputError(f"{path}: damaged; expected ascending graph numbers from 1 to {graphs}")
    return np.bincount(graph_of_node, minlength=graphs)


def _read_edges(
    path: Path, graph_of_node: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "edges 2"], Int[np.ndarray, " edges"]]:
    """Reads edges as node indices from 0, sorted by graph; returns also the line of the file that each comes from."""
    pairs = read_table(path, 2, delimiter=",", limit=LARGE_TEXT) - 1
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


def _read_features(
    paths: dict[str, Path], pairs: Int[np.ndarray, "edges 2"], n: int, *, gaps: bool
) -> Float32[np.ndarray, "n f"]:
    blocks = []
    if "node_labels" in paths:
        categories, counts = _read_categories(paths["node_labels"], n, gaps=gaps)
        blocks += [_one_hot(column, count) for column, count in zip(categories.T, counts, strict=True)]
    if "node_attributes" in paths:
        blocks.append(_read_attributes(paths["node_attributes"], n))
    if not blocks:
        degrees = np.minimum(np.bincount(pairs[:, 0], minlength=n), MAX_DEGREE)
        return _one_hot(degrees, int(degrees.max()) + 1)
    return np.concatenate(blocks, axis=1)


def _one_hot(categories: Int[np.ndarray, " n"], count: int) -> Float32[np.ndarray, "n count"]:
    return (categories[:, None] == np.arange(count)).astype(np.float32)
