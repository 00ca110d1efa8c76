import numpy as np
import pytest
import scipy.sparse as sp
from damage import check_damaged_files

from abkd_jax import datasets
from abkd_jax.types import InputError


def _arrays() -> dict:
    """A ring of 104 nodes with one self loop at node 7; class 0 has 51 nodes, class 1 has 53; word = class, thrice."""
    n = 104
    labels = np.repeat(np.array([0, 1]), [51, 53])
    ring = sp.csr_matrix((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n)).tolil()
    ring[7, 7] = 1
    matrices = {"adj": ring.tocsr(), "attr": sp.csr_matrix(3 * np.eye(2, dtype=np.float32)[labels])}
    arrays = {"labels": labels}
    for prefix, matrix in matrices.items():
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
        arrays |= {f"{prefix}_{part}": value for part, value in parts.items()}
    return arrays


@pytest.fixture
def ring_file(tmp_path, unpublished):
    path = tmp_path / "gnn_benchmark" / "acm.npz"
    path.parent.mkdir()
    np.savez(path, **_arrays())
    return path


def test_the_layout_is_read(ring_file):
    dataset = datasets.load("acm", ring_file.parents[1])
    np.testing.assert_array_equal(dataset.senders, np.arange(104))
    np.testing.assert_array_equal(dataset.receivers, np.roll(np.arange(104), -1))
    np.testing.assert_array_equal(dataset.features.toarray(), np.eye(2)[np.repeat([0, 1], [51, 53])])
    assert dataset.num_classes == 2
    for mask, counts in [(dataset.train_mask, [20, 20]), (dataset.val_mask, [30, 30]), (dataset.test_mask, [1, 3])]:
        assert np.bincount(dataset.labels[mask]).tolist() == counts


def test_values_of_the_adjacency_are_weights(ring_file):
    values = np.arange(105) / 8 + 0.5
    np.savez(ring_file.with_name("mine.npz"), **_arrays() | {"adj_data": values})
    assert datasets.load("acm", ring_file.parents[1]).edge_weights is None
    dataset = datasets.load("gnn_benchmark:mine", ring_file.parents[1])
    assert dataset.senders.tolist() == list(range(104))
    np.testing.assert_array_equal(dataset.edge_weights, np.delete(values, 7).astype(np.float32))


def test_seed_changes_the_split_and_nothing_else(ring_file):
    first, again, other = (datasets.load("acm", ring_file.parents[1], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train_mask, again.train_mask)
    assert (first.train_mask != other.train_mask).any()
    np.testing.assert_array_equal(first.senders, other.senders)
    assert other.source.endswith("split seed 2")


DAMAGE = {
    "missing array": ({"labels": None}, r"damaged .*expected a gnn-benchmark archive"),
    "column outside": ({"adj_indices": np.full(105, 104)}, r"damaged .*expected a gnn-benchmark archive"),
    "pickled labels": ({"labels": np.array([{}], object)}, r"damaged .*expected a gnn-benchmark archive"),
    "too few labels": ({"labels": np.arange(60) % 1}, r"labels have shape \(60,\) .* has shape \(104, 104\)"),
    "fractions": ({"labels": np.zeros(104)}, "type float64.* not n whole numbers"),
    "nan": ({"attr_data": np.full(104, np.nan, np.float32)}, "acm: features of 104 of 104 nodes are NaN"),
    "infinite edge": ({"adj_data": np.full(105, np.inf)}, "NaN or infinity in the adjacency"),
    "text": ({"attr_data": np.full(104, "1")}, r"data: shape \(104,\), <U1; expected a vector of numbers"),
    "halves as row starts": (
        {"adj_indptr": _arrays()["adj_indptr"].astype(np.float16)},
        "indptr: .* vector of integers",
    ),
    "text as columns": ({"attr_indices": np.full(104, "1")}, "indices: .* expected a vector of integers"),
    "negative column": (
        {"adj_indices": np.full(105, -1)},
        r"indices reach from -1 to -1; expected columns in \[0, 104\)",
    ),
    "falling row starts": ({"adj_indptr": np.r_[0, 99, np.arange(2, 105), 105][:105]}, "indptr"),
    "row starts beyond": ({"adj_indptr": np.r_[np.arange(104), 2**40]}, "indptr has 105 entries, indices 105"),
    "short row starts": ({"attr_indptr": np.arange(3)}, "indptr has 3 entries"),
    "short data": ({"attr_data": np.ones(103, np.float32)}, "indices 104 and data 103"),
    "a column of data": ({"attr_data": np.ones((104, 1), np.float32)}, r"data: shape \(104, 1\)"),
    "huge shape": ({"adj_shape": np.array([10**12, 10**12])}, "expected rows and columns, both below 2147483648"),
    "fractions as shape": ({"adj_shape": np.array([104.0, 104.5])}, "expected rows and columns"),
    "three axes": ({"adj_shape": np.array([104, 104, 1])}, "expected rows and columns"),
    "no axis": ({"adj_shape": np.array(104)}, "damaged"),
    "class a billion": (
        {"labels": np.r_[_arrays()["labels"][:-1], 10**9]},
        "3 different categories from 0 to 1000000000",
    ),
    "negative class": ({"labels": _arrays()["labels"] - 1}, "2 different categories from -1 to 0"),
    "labels in a column": ({"labels": _arrays()["labels"][:, None]}, r"labels have shape \(104, 1\)"),
    "words that overflow": (
        {"attr_data": np.full(208, 1e308), "attr_indices": np.tile([0, 1], 104), "attr_indptr": np.arange(0, 209, 2)},
        "features of 104 of 104 nodes are NaN",
    ),
    "rare class": ({"labels": np.arange(104) // 50}, "class 0 has 50 nodes; .* make 51"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line(ring_file, case):
    change, message = DAMAGE[case]
    arrays = {name: value for name, value in (_arrays() | change).items() if value is not None}
    np.savez(ring_file, **arrays)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load("acm", ring_file.parents[1])
    assert "\n" not in str(refusal.value)


def test_damaged_files_are_refused_or_named(ring_file, monkeypatch):
    assert len(check_damaged_files("acm", ring_file.parents[1], monkeypatch)) > 5


@pytest.mark.parametrize("keep", [0, 100, -50])
def test_a_truncated_archive_is_named(ring_file, keep):
    ring_file.write_bytes(ring_file.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"{ring_file}: damaged .*expected a gnn-benchmark archive"):
        datasets.load("acm", ring_file.parents[1])


def test_a_flipped_byte_is_noticed(ring_file):
    content = bytearray(ring_file.read_bytes())
    content[200] ^= 0xFF
    ring_file.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged .*expected a gnn-benchmark archive"):
        datasets.load("acm", ring_file.parents[1])


def test_the_byte_order_and_the_width_of_numbers_do_not_matter(ring_file):
    expected = datasets.load("acm", ring_file.parents[1])
    np.savez_compressed(
        ring_file, **{name: np.asarray(value, ">f8" if "data" in name else ">i8") for name, value in _arrays().items()}
    )
    found = datasets.load("acm", ring_file.parents[1])
    np.testing.assert_array_equal(found.features.toarray(), expected.features.toarray())
    np.testing.assert_array_equal(found.receivers, expected.receivers)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_plain_npy_file_is_refused(ring_file):
    with open(ring_file, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(InputError, match=r"damaged .*expected a gnn-benchmark archive"):
        datasets.load("acm", ring_file.parents[1])


def test_a_missing_file_is_asked_for(tmp_path):
    with pytest.raises(
        InputError, match=r"coauthor_cs: coauthor_cs\.npz is missing; put the file in .*gnn_benchmark by hand"
    ):
        datasets.load("coauthor_cs", tmp_path)


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "words", "classes"),
    [
        ("cora_ml", 2995, 8158, 2879, 7),
        ("amazon_photo", 7650, 119081, 745, 8),
        ("coauthor_cs", 18333, 81894, 6805, 15),
        ("acm", 3025, 13128, 1870, 3),
    ],
)
def test_published_files(data_root, count_undirected, name, nodes, edges, words, classes):
    dataset = datasets.load(name, data_root)
    assert dataset.features.shape == (nodes, words)
    assert count_undirected(dataset) == edges
    assert dataset.num_classes == classes
    assert dataset.train_mask.sum() == 20 * classes
    assert dataset.val_mask.sum() == 30 * classes
    assert dataset.test_mask.sum() == nodes - 50 * classes
