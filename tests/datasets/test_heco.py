import numpy as np
import pytest
import scipy.sparse as sp
from damage import check_damaged_files

from abkd_jax import datasets
from abkd_jax.datasets import heco
from abkd_jax.types import InputError

WORDS = np.array([[2, 0, 2], [0, 1, 0], [0, 0, 0], [1, 1, 2]], np.float64)
AUTHOR_WORDS = np.array([[0, 0, 5], [3, 1, 0]], np.float64)


def _save(path, array):
    if isinstance(array, dict):
        with np.load(path) as archive:
            arrays = dict(archive) | array
        np.savez(path, **arrays)
    elif isinstance(array, np.ndarray):
        np.save(path, array)
    elif sp.issparse(array):
        sp.save_npz(path, array)
    else:
        path.write_text(array)


@pytest.fixture
def tiny_root(tmp_path, monkeypatch, unpublished):
    """Four papers, two authors (both with three words), two subjects."""
    layout = heco.LAYOUTS["acm"]._replace(types={"paper": 4, "author": 2, "subject": 2})
    monkeypatch.setitem(heco.LAYOUTS, "acm", layout)
    folder = tmp_path / "heco" / "acm"
    folder.mkdir(parents=True)
    contents = {
        "labels.npy": np.array([0.0, 1.0, 1.0, 0.0]),
        "train_20.npy": np.array([3, 1]),
        "val_20.npy": np.array([0]),
        "test_20.npy": np.array([2]),
        "pa.txt": "0\t1\n2\t0\n3\t1\n",
        "ps.txt": "0\t0\n1\t1\n",
        "p_feat.npz": sp.csr_matrix(WORDS),
        "a_feat.npz": sp.coo_matrix(AUTHOR_WORDS),
    }
    for name, content in contents.items():
        _save(folder / name, content)
    return tmp_path


def test_the_layout_is_read(tiny_root):
    dataset = datasets.load("heco_acm", tiny_root)
    assert dataset.labels.tolist() == [0, 1, 1, 0, -1, -1, -1, -1]
    assert dataset.node_types.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert list(zip(dataset.senders, dataset.receivers, dataset.relations, strict=True)) == [
        (0, 5, 0),
        (2, 4, 0),
        (3, 5, 0),
        (0, 6, 1),
        (1, 7, 1),
    ]
    expected = [[0.5, 0, 0.5], [0, 1, 0], [0, 0, 0], [0.25, 0.25, 0.5], [0, 0, 1], [0.75, 0.25, 0]]
    np.testing.assert_array_equal(dataset.features.toarray(), expected)
    assert np.nonzero(dataset.train_mask)[0].tolist() == [1, 3]
    assert dataset.schema.node_types == ("paper", "author", "subject")
    assert (dataset.schema.reverses, dataset.schema.num_relations) == ((2, 3), 4)
    assert dataset.num_embeddings == 2


DAMAGE = {
    "author outside": ("pa.txt", "0\t1\n2\t2\n", r"pa\.txt: .*1 lines point outside \(first: line 2, 2 2\)"),
    "negative": ("ps.txt", "-1\t1\n", r"ps\.txt: .*first: line 1, -1 1"),
    "three columns": ("pa.txt", "0 1 2\n", r"has 3 columns\); expected 2 whole numbers per line"),
    "ragged": ("pa.txt", "0 1\n2\n", r"pa\.txt: damaged"),
    "words": ("pa.txt", "0 b\n", r"pa\.txt: damaged .*expected 2 whole numbers per line"),
    "empty": ("pa.txt", "", "it holds no line"),
    "short labels": ("labels.npy", np.zeros(3), r"labels\.npy: damaged .*whole numbers of shape \(4,\)"),
    "half a class": ("labels.npy", np.array([0, 0.5, 1, 1]), r"labels\.npy: damaged"),
    "nan class": ("labels.npy", np.array([0, np.nan, 1, 1]), r"labels\.npy: damaged"),
    "negative class": (
        "labels.npy",
        np.array([0, -3, 1, 1]),
        r"labels\.npy: damaged \(3 different categories from -3 to 1;",
    ),
    "class a billion": ("labels.npy", np.array([0, 1e9, 1, 1]), "3 different categories from 0 to 1000000000"),
    "class beyond int32": ("labels.npy", np.array([0, 2.0**40, 1, 1]), r"labels\.npy: damaged .*beyond int32"),
    "text classes": ("labels.npy", np.array(["0", "1", "1", "0"]), r"labels\.npy: damaged \(shape \(4,\), type <U1\)"),
    "twice in the split": ("train_20.npy", np.array([3, 3]), r"train_20\.npy: damaged .*there twice"),
    "author in the split": ("train_20.npy", np.array([4]), r"train_20\.npy: .*node numbers in \[0, 4\)"),
    "nobody in the split": ("val_20.npy", np.zeros(0, int), r"val_20\.npy: damaged"),
    "overlap": ("val_20.npy", np.array([2]), "both val_mask and test_mask"),
    "rows": ("p_feat.npz", sp.csr_matrix(WORDS[:3]), r"p_feat\.npz: .*expected a sparse matrix of 4 rows"),
    "columns": ("a_feat.npz", sp.csr_matrix(AUTHOR_WORDS[:, :2]), r"features have \[2, 3\] columns"),
    "text entries": ("p_feat.npz", {"data": np.full(6, "1")}, r"p_feat\.npz: damaged \(data: shape"),
    "falling rows": (
        "p_feat.npz",
        {"indptr": np.array([0, 6, 3, 3, 6])},
        r"p_feat\.npz: damaged \(indptr does not rise",
    ),
    "rows as halves": ("p_feat.npz", {"indptr": np.arange(5, dtype=np.float16)}, r"p_feat\.npz: damaged \(indptr: "),
    "huge shape": ("p_feat.npz", {"shape": np.array([4, 10**12])}, r"p_feat\.npz: damaged \(shape"),
    "format": ("p_feat.npz", {"format": b"bsr"}, r"p_feat\.npz: damaged"),
    "entry outside": ("a_feat.npz", {"row": np.array([0, 1, 2])}, r"a_feat\.npz: damaged \(indices reach from 0 to 2"),
    "negative entry": ("a_feat.npz", {"col": np.array([0, -1, 2])}, r"a_feat\.npz: damaged \(indices reach from -1"),
    "no matrix": ("p_feat.npz", "rubbish", r"p_feat\.npz: damaged"),
    "infinite": ("p_feat.npz", sp.csr_matrix(np.full((4, 3), np.inf)), "NaN or infinite"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line(tiny_root, case):
    name, content, message = DAMAGE[case]
    _save(tiny_root / "heco" / "acm" / name, content)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load("heco_acm", tiny_root)
    assert "\n" not in str(refusal.value)


def test_columns_outside_the_matrix_are_noticed(tiny_root):
    matrix = sp.csr_matrix(WORDS)
    matrix.indices[0] = 99
    sp.save_npz(tiny_root / "heco" / "acm" / "p_feat.npz", matrix)
    with pytest.raises(InputError, match=r"p_feat\.npz: damaged"):
        datasets.load("heco_acm", tiny_root)


@pytest.mark.parametrize("name", ["p_feat.npz", "labels.npy"])
def test_pickles_are_refused_and_cut_files_named(tiny_root, name):
    path = tiny_root / "heco" / "acm" / name
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(InputError, match=f"{name}: damaged"):
        datasets.load("heco_acm", tiny_root)
    with path.open("wb") as file:
        np.save(file, np.array([{}] * 4, object), allow_pickle=True)
    with pytest.raises(InputError, match=f"{name}: damaged"):
        datasets.load("heco_acm", tiny_root)


def test_damaged_files_are_refused_or_named(tiny_root, monkeypatch):
    assert len(check_damaged_files("heco_acm", tiny_root, monkeypatch)) > 30


def test_a_missing_file_is_asked_for(tiny_root):
    (tiny_root / "heco" / "acm" / "a_feat.npz").unlink()
    with pytest.raises(InputError, match=r"heco_acm: a_feat\.npz is missing; put the file in .*acm by hand, from http"):
        datasets.load("heco_acm", tiny_root)


def _pairs(path):
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("labels", [20, 60])
def test_published_acm(data_root, labels):
    dataset = datasets.load("heco_acm" if labels == 20 else f"heco_acm_{labels}", data_root)
    folder = data_root / "heco" / "acm"
    assert np.bincount(dataset.node_types).tolist() == [4019, 7167, 60]
    assert (dataset.features.shape, dataset.num_classes) == ((11186, 1902), 3)
    assert [mask.sum() for mask in dataset[6:9]] == [3 * labels, 1000, 1000]
    assert np.bincount(dataset.labels[dataset.train_mask]).tolist() == [labels] * 3
    np.testing.assert_array_equal(dataset.labels[:4019], np.load(folder / "labels.npy"))
    expected = {(p, 4019 + a, 0) for p, a in _pairs(folder / "pa.txt")}
    expected |= {(p, 11186 + s, 1) for p, s in _pairs(folder / "ps.txt")}
    assert set(zip(dataset.senders, dataset.receivers, dataset.relations, strict=True)) == expected
    assert dataset.senders.size == 13407 + 4019
    raw = sp.load_npz(folder / "a_feat.npz").tocsr()[[5]].toarray().ravel()
    np.testing.assert_allclose(dataset.features[[4019 + 5]].toarray().ravel(), raw / raw.sum(), rtol=1e-6)


def test_published_freebase(data_root):
    dataset = datasets.load("heco_freebase_40", data_root)
    folder = data_root / "heco" / "freebase"
    assert np.bincount(dataset.node_types).tolist() == [3492, 33401, 2502, 4459]
    assert (dataset.features.shape, dataset.num_embeddings) == ((0, 0), 43854)
    assert [mask.sum() for mask in dataset[6:9]] == [120, 1000, 1000]
    starts = {"ma": 3492, "md": 3492 + 33401, "mw": 3492 + 33401 + 2502}
    for relation, (name, start) in enumerate(starts.items()):
        ours = dataset.relations == relation
        pairs = zip(dataset.senders[ours], dataset.receivers[ours] - start, strict=True)
        assert list(pairs) == _pairs(folder / f"{name}.txt")
    assert set(np.load(folder / "test_40.npy")) == set(np.nonzero(dataset.test_mask)[0])
