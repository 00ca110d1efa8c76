"""Reads Cora, Citeseer, Pubmed and other sets from raw Planetoid files, with the split of these files.

Source: Yang, Cohen, Salakhutdinov 2016 (arXiv 1603.08861), https://github.com/kimiyoung/planetoid. Files are
`<root>/planetoid/ind.<name>.<part>`. Row i of `tx` and `ty` is the node in line i of `test.index`; all other nodes are
the rows of `allx` and `ally`, in order. `x` repeats the first rows of `allx` and is not read.
"""

from itertools import chain
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int, Int32

from abkd_jax.datasets.checks.published import CHECKSUMS
from abkd_jax.datasets.files import unpickle
from abkd_jax.datasets.files.csr import csr_from_parts, row_normalize
from abkd_jax.datasets.files.download import fetch
from abkd_jax.datasets.files.reading import missing_files, reading
from abkd_jax.datasets.files.text import read_table
from abkd_jax.types import Dataset, InputError

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "cora": "2,708 machine-learning papers, 1,433 words, 7 topics, citations; public split 140/500/1000",
    "citeseer": "3,327 computer-science papers, 3,703 words, 6 topics, citations; public split 120/500/1000",
    "pubmed": "19,717 diabetes papers, 500 words, 3 topics, citations; public split 60/500/1000",
}

BASE_URL = "https://raw.githubusercontent.com/kimiyoung/planetoid/master/data"
NUM_VALIDATION = 500
SOURCE = "Planetoid (arXiv 1603.08861, github.com/kimiyoung/planetoid), public split"
PARTS = ("allx", "ally", "tx", "ty", "y", "graph", "test.index")


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Returns the paths of the files of a data set, whether they exist or not.

    Args:
        name: a key of `DESCRIPTIONS`, or what stands for it in the names of other files.
        root: the data root.

    Returns:
        One path per part of `PARTS`.

    Examples:
        >>> files("cora", Path("data"))[0].as_posix()
        'data/planetoid/ind.cora.allx'
    """
    return tuple(root / "planetoid" / f"ind.{name}.{part}" for part in PARTS)


def load(name: str, root: Path, seed: int = 0) -> Dataset:
    """Reads a Planetoid data set; files that are missing are downloaded first.

    Training nodes are the first `len(y)`, validation nodes the next 500, test nodes those of `test.index`. Features are
    divided by their row sums. Citeseer's 15 nodes that `test.index` leaves out have zero features, label -1 and no
    place in a mask; their edges stay. Self loops are dropped; an edge may be listed twice. In sets other than the
    listed ones, as NELL, nodes without a class are in no mask either, and a class may have no node.

    Args:
        name: a key of `DESCRIPTIONS`, or what stands for it in the names of other files.
        root: the data root.
        seed: not read: the split is the public one.

    Returns:
        The data set, features `[n, f]` CSR float32.

    Raises:
        InputError: a file is missing and cannot be downloaded, is damaged, or names a foreign global.
    """
    paths = files(name, root)
    _fetch_missing(name, paths)
    allx, ally, tx, ty, y, graph, test_index = paths
    senders, receivers, n = _read_graph(graph)
    test_ids = _read_test_ids(test_index, n)
    words = _read_features(allx), _read_features(tx)
    one_hot = _read_one_hot(ally), _read_one_hot(ty)
    train_one_hot = _read_one_hot(y)
    num_train = len(train_one_hot)
    with reading(graph.parent, f"the files of {name} as published"):
        _check_together(words, one_hot, train_one_hot, test_ids)
        if name in DESCRIPTIONS:
            _check_classes(one_hot)
        features, labels = _place_rows(words, one_hot, test_ids, n)
    node, labelled = np.arange(n), labels >= 0
    tested = np.isin(node, test_ids)
    return Dataset(
        name=name,
        features=row_normalize(features),
        senders=senders,
        receivers=receivers,
        labels=labels,
        num_classes=one_hot[0].shape[1],
        train_mask=(node < num_train) & labelled,
        val_mask=(node >= num_train) & (node < num_train + NUM_VALIDATION) & labelled & ~tested,
        test_mask=tested & labelled,
        source=SOURCE if name in DESCRIPTIONS else f"own files in the layout of Planetoid, ind.{name}, split of y",
        row_normalised=True,
    )


def _check_together(
    words: tuple[sp.csr_matrix, sp.csr_matrix],
    one_hot: tuple[Int[np.ndarray, "m c"], Int[np.ndarray, "t c2"]],
    train_one_hot: Int[np.ndarray, "r c3"],
    test_ids: Int[np.ndarray, " t2"],
) -> None:
    rows = [matrix.get_shape()[0] for matrix in words]
    if rows != [len(hot) for hot in one_hot] or rows[1] != test_ids.size:
        raise ValueError(
            f"they do not belong together: allx and tx have {rows} rows, ally and ty {[len(hot) for hot in one_hot]}, "
            f"test.index {test_ids.size}"
        )
    if not np.array_equal(train_one_hot, one_hot[0][: len(train_one_hot)]):
        raise ValueError("they do not belong together: y does not repeat the first rows of ally")
    widths = [matrix.get_shape()[1] for matrix in words], [hot.shape[1] for hot in one_hot]
    if any(len(set(width)) > 1 for width in widths):
        raise ValueError(f"they do not belong together: allx and tx have {widths[0]} words, ally and ty {widths[1]}")


def _check_classes(one_hot: tuple[Int[np.ndarray, "m c"], Int[np.ndarray, "t c"]]) -> None:
    unused = np.nonzero(~np.concatenate(one_hot).any(axis=0))[0]
    if unused.size:
        raise ValueError(f"no node is of class {unused[0]}")


def _place_rows(
    words: tuple[sp.csr_matrix, sp.csr_matrix],
    one_hot: tuple[Int[np.ndarray, "m c"], Int[np.ndarray, "t c"]],
    test_ids: Int[np.ndarray, " t"],
    num_nodes: int,
) -> tuple[sp.csr_matrix, Int32[np.ndarray, " n"]]:
    hot = np.concatenate(one_hot)
    rows = np.arange(hot.shape[0])
    node_of_row = np.concatenate([np.arange(rows.size - test_ids.size), test_ids])
    if rows.size > num_nodes or np.unique(node_of_row).size < rows.size:
        raise ValueError("two rows describe one node")
    placement = sp.csr_matrix((np.ones(rows.size), (node_of_row, rows)), shape=(num_nodes, rows.size))
    labels = np.full(num_nodes, -1, np.int32)
    labels[node_of_row] = np.where(hot.any(axis=1), hot.argmax(axis=1), -1)
    return placement @ sp.vstack(words, format="csr"), labels


def _fetch_missing(name: str, paths: tuple[Path, ...]) -> None:
    missing = missing_files(paths)
    unknown = [path.name for path in missing if _key(path) not in CHECKSUMS]
    if unknown:
        raise InputError(
            f"{name}: {', '.join(path.name for path in missing)} missing, and {', '.join(unknown)} has no known "
            f"checksum to verify a download; put the files in {missing[0].parent} by hand, from {BASE_URL}"
        )
    for path in missing:
        try:
            fetch(f"{BASE_URL}/{path.name}", path, CHECKSUMS[_key(path)])
        except InputError as error:
            absent = ", ".join(path.name for path in missing_files(paths))
            raise InputError(f"{name}: {absent} missing; {error}") from error


def _key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read_features(path: Path) -> sp.csr_matrix:
    with reading(path, "a scipy.sparse.csr_matrix of word counts"):
        raw = unpickle.load(path)
        if not isinstance(raw, unpickle.Csr):
            raise ValueError(f"a {type(raw).__name__}")
        return csr_from_parts(*raw)


def _read_one_hot(path: Path) -> Int[np.ndarray, "rows classes"]:
    with reading(path, "a numpy.ndarray of one-hot labels, one row for each node"):
        raw = unpickle.load(path)
        if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.dtype.kind not in "iu":
            raise ValueError(f"a {type(raw).__name__}")
        if not np.isin(raw, (0, 1)).all() or (raw.sum(axis=1) > 1).any():
            raise ValueError("a row that is not one-hot")
        return raw


def _read_graph(path: Path) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"], int]:
    with reading(path, "a dict from node number to the list of its neighbours"):
        raw = unpickle.load(path)
        if not isinstance(raw, dict) or not all(type(neighbours) is list for neighbours in raw.values()):
            raise ValueError(f"a {type(raw).__name__}")
        degrees = [len(neighbours) for neighbours in raw.values()]
        if sum(degrees) > unpickle.MAX_OPCODES:  # a list that stands for many nodes
            raise ValueError(f"{sum(degrees)} neighbours")
        if not all(type(node) is int for node in chain(raw, chain.from_iterable(raw.values()))):
            raise ValueError("something else than whole numbers")
        senders = np.repeat(np.fromiter(raw.keys(), np.int32, len(raw)), degrees)
        receivers = np.fromiter(chain.from_iterable(raw.values()), np.int32, sum(degrees))
        if raw.keys() != set(range(len(raw))):
            raise ValueError(f"{len(raw)} nodes that are not numbered from 0 on")
        between_two = senders != receivers
        return senders[between_two], receivers[between_two], len(raw)


def _read_test_ids(path: Path, num_nodes: int) -> Int[np.ndarray, " t"]:
    ids = read_table(path, 1)[:, 0]
    if ids.min() < 0 or ids.max() >= num_nodes:
        raise InputError(f"{path}: damaged ({ids.min()} to {ids.max()}); expected node numbers in [0, {num_nodes})")
    return ids
