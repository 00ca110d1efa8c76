"""Cora, Citeseer and Pubmed from the raw Planetoid files, with the public split.

Source: Yang, Cohen, Salakhutdinov 2016 (arXiv 1603.08861), https://github.com/kimiyoung/planetoid. Files are
`<root>/planetoid/ind.<name>.<part>`. Row i of `tx` and `ty` is the node in line i of `test.index`; all other nodes are
the rows of `allx` and `ally`, in order. `x` repeats the first rows of `allx` and is not read.
"""

from itertools import chain
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int, Int32

from abkd_jax.datasets import unpickle
from abkd_jax.datasets.csr import csr_from_parts, row_normalize
from abkd_jax.datasets.download import fetch
from abkd_jax.types import Dataset, InputError

__all__ = ["DESCRIPTIONS", "files", "load"]

DESCRIPTIONS = {
    "cora": "2,708 machine-learning papers, 1,433 words, 7 topics, citations; public split 140/500/1000",
    "citeseer": "3,327 computer-science papers, 3,703 words, 6 topics, citations; public split 120/500/1000",
    "pubmed": "19,717 diabetes papers, 500 words, 3 topics, citations; public split 60/500/1000",
}

BASE_URL = "https://raw.githubusercontent.com/kimiyoung/planetoid/master/data"
NUM_VALIDATION = 500
PARTS = ("allx", "ally", "tx", "ty", "y", "graph", "test.index")

# SHA-256 of the published files. A file without one is never downloaded.
CHECKSUMS = {
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    "ind.pubmed.ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
    "ind.pubmed.tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
    "ind.pubmed.ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
    "ind.pubmed.y": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
    "ind.pubmed.graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
    "ind.pubmed.test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
}


def files(name: str, root: Path) -> tuple[Path, ...]:
    """Where the files of a data set are looked for.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

    Returns:
        One path for each of `PARTS`.
    """
    return tuple(root / "planetoid" / f"ind.{name}.{part}" for part in PARTS)


def load(name: str, root: Path) -> Dataset:
    """Read a Planetoid data set; files that are missing are downloaded first.

    Training nodes are the first `len(y)`, validation nodes the next 500, test nodes those of `test.index`. Features are
    divided by their row sums. Citeseer's 15 nodes that `test.index` leaves out have zero features, label -1 and no
    place in a mask; their edges stay. Self loops are dropped; an edge may be listed twice.

    Args:
        name: a key of `DESCRIPTIONS`.
        root: the data root.

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
    num_train = _read_one_hot(y).shape[0]
    try:
        features, labels = _place_rows(words, one_hot, test_ids, n)
    except ValueError as error:
        raise InputError(
            f"{name}: the files in {graph.parent} do not belong together ({error}); expected the files as published"
        ) from error
    node = np.arange(n)
    return Dataset(
        name=name,
        features=row_normalize(features),
        senders=senders,
        receivers=receivers,
        labels=labels,
        num_classes=one_hot[0].shape[1],
        train_mask=node < num_train,
        val_mask=(node >= num_train) & (node < num_train + NUM_VALIDATION),
        test_mask=np.isin(node, test_ids),
        source="Planetoid (arXiv 1603.08861, github.com/kimiyoung/planetoid), public split",
    )


def _place_rows(
    words: tuple[sp.csr_matrix, sp.csr_matrix],
    one_hot: tuple[Int[np.ndarray, "m c"], Int[np.ndarray, "t c2"]],
    test_ids: Int[np.ndarray, " t2"],
    num_nodes: int,
) -> tuple[sp.csr_matrix, Int32[np.ndarray, " n"]]:
    hot = np.concatenate(one_hot)
    rows = np.arange(hot.shape[0])
    node_of_row = np.concatenate([np.arange(rows.size - test_ids.size), test_ids])
    placement = sp.csr_matrix((np.ones(rows.size), (node_of_row, rows)), shape=(num_nodes, rows.size))
    if np.diff(placement.indptr).max() > 1:
        raise ValueError("two rows describe one node")
    labels = np.full(num_nodes, -1, np.int32)
    labels[node_of_row] = np.where(hot.any(axis=1), hot.argmax(axis=1), -1)
    return placement @ sp.vstack(words, format="csr"), labels


def _fetch_missing(name: str, paths: tuple[Path, ...]) -> None:
    missing = [path for path in paths if not path.exists()]
    for path in missing:
        if path.name not in CHECKSUMS:
            raise InputError(
                f"{name}: {path.name} is missing and has no known checksum to verify a download; "
                f"put the file in {path.parent} by hand, from {BASE_URL}/{path.name}"
            )
    for path in missing:
        fetch(f"{BASE_URL}/{path.name}", path, CHECKSUMS[path.name])


def _damaged(path: Path, expected: str) -> InputError:
    return InputError(f"{path}: damaged; expected {expected}")


def _read_features(path: Path) -> sp.csr_matrix:
    raw = unpickle.load(path)
    try:
        return csr_from_parts(raw.data, raw.indices, raw.indptr, raw.shape)
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(path, "a scipy.sparse.csr_matrix of word counts") from error


def _read_one_hot(path: Path) -> Int[np.ndarray, "rows classes"]:
    raw = unpickle.load(path)
    if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.dtype.kind not in "iu":
        raise _damaged(path, "a numpy.ndarray of one-hot labels, one row for each node")
    return raw


def _read_graph(path: Path) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"], int]:
    raw = unpickle.load(path)
    try:
        degrees = [len(neighbours) for neighbours in raw.values()]
        senders = np.repeat(np.fromiter(raw.keys(), np.int32, len(raw)), degrees)
        receivers = np.fromiter(chain.from_iterable(raw.values()), np.int32, sum(degrees))
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise _damaged(path, "a dict from node number to the list of its neighbours") from error
    between_two = senders != receivers
    return senders[between_two], receivers[between_two], len(raw)


def _read_test_ids(path: Path, num_nodes: int) -> Int[np.ndarray, " t"]:
    try:
        ids = np.array([int(word) for word in path.read_text().split()], np.int64)
    except (OSError, OverflowError, ValueError) as error:
        raise _damaged(path, "one node number a line") from error
    if ids.size == 0 or ids.min() < 0 or ids.max() >= num_nodes:
        raise _damaged(path, f"node numbers in [0, {num_nodes}), one a line")
    return ids
