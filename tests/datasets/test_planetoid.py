import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from damage import check_damaged_files

from abkd_jax import datasets
from abkd_jax.datasets import planetoid
from abkd_jax.types import InputError
from experiments.fuzz.samples import dump_python2


def _write(path: Path, content) -> None:
    path.write_bytes(dump_python2(content))


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(planetoid, "BASE_URL", (tmp_path / "nothing published").as_uri())


@pytest.fixture
def six_nodes(tmp_path, monkeypatch, unpublished):
    """Nodes 0 1 | 2 for training and validation, 5 then 3 for testing, 4 isolated and in no file; named cora."""
    monkeypatch.setattr(planetoid, "NUM_VALIDATION", 1)
    neighbours = {0: [1, 1, 2], 1: [0], 2: [2, 0], 3: [5], 4: [], 5: [3]}
    one_hot = np.eye(2, dtype=np.int32)
    content = {
        "allx": sp.csr_matrix(np.array([[1, 0, 1], [0, 2, 2], [0, 0, 4]], np.float32)),
        "ally": one_hot[[0, 1, 0]],
        "tx": sp.csr_matrix(np.array([[3, 1, 0], [0, 5, 0]], np.float32)),
        "ty": one_hot[[1, 0]],
        "y": one_hot[[0, 1]],
        "graph": defaultdict(list, neighbours),
    }
    folder = tmp_path / "planetoid"
    folder.mkdir()
    for part, value in content.items():
        _write(folder / f"ind.cora.{part}", value)
    (folder / "ind.cora.test.index").write_text("5\n3\n")
    return folder


def test_every_row_finds_its_node(six_nodes):
    dataset = datasets.load("cora", six_nodes.parent)
    expected = np.array([[0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1], [0, 1, 0], [0, 0, 0], [0.75, 0.25, 0]], np.float32)
    np.testing.assert_array_equal(dataset.features.toarray(), expected)
    assert dataset.labels.tolist() == [0, 1, 0, 0, -1, 1]
    assert np.flatnonzero(dataset.train_mask).tolist() == [0, 1]
    assert np.flatnonzero(dataset.val_mask).tolist() == [2]
    assert np.flatnonzero(dataset.test_mask).tolist() == [3, 5]
    edges = sorted(zip(dataset.senders.tolist(), dataset.receivers.tolist(), strict=True))
    assert edges == [(0, 1), (0, 1), (0, 2), (1, 0), (2, 0), (3, 5), (5, 3)]  # 2 -> 2 is dropped


INCONSISTENT = {
    "an edge outside": ("graph", {0: [1], 1: [6], 2: [], 3: [], 4: [], 5: []}, "cora: 1 of 2 edges point outside"),
    "a huge node": ("graph", {0: [2**40], 1: []}, "ind.cora.graph: damaged .* expected a dict"),
    "not a dict": ("graph", [1, 2], "ind.cora.graph: damaged .* expected a dict"),
    "labels of another set": ("ally", np.eye(2, dtype=np.int32), "do not belong together"),
    "no labels": ("ally", np.zeros(3, np.int32), "ind.cora.ally: damaged .* expected a numpy.ndarray of one-hot"),
    "no matrix": ("tx", np.zeros((2, 3), np.float32), "ind.cora.tx: damaged .* expected a scipy.sparse.csr_matrix"),
    "wider words": ("tx", sp.csr_matrix(np.ones((2, 4), np.float32)), "do not belong together"),
    "a row twice": ("tx", sp.csr_matrix(np.ones((3, 3), np.float32)), "do not belong together"),
    "a class of another set": ("ty", np.eye(3, dtype=np.int32)[[1, 0]], "do not belong together"),
    "training labels of another set": ("y", np.eye(2, dtype=np.int32)[[1, 1]], "y does not repeat the first rows"),
    "two classes": ("ally", np.ones((3, 2), np.int32), "ind.cora.ally: damaged .* not one-hot"),
    "negative class": ("ally", -np.eye(2, dtype=np.int32)[[0, 1, 0]], "ind.cora.ally: damaged"),
    "a negative node": ("graph", {-1: [1], 0: []}, "ind.cora.graph: damaged .*not numbered from 0"),
    "a gap": ("graph", {0: [1], 1: [0], 3: []}, "3 nodes that are not numbered from 0 on"),
    "no list": ("graph", {0: 1}, "ind.cora.graph: damaged"),
    "text": ("graph", {0: ["1"], 1: [0]}, "ind.cora.graph: damaged .* else than whole numbers"),
    "yes": ("graph", {0: [True], 1: [0]}, "ind.cora.graph: damaged"),
    "nan": ("allx", sp.csr_matrix(np.full((3, 3), np.nan, np.float32)), "cora: features of 3 of 6 nodes are NaN"),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_inconsistent_files_are_refused_in_one_line(six_nodes, case):
    part, value, message = INCONSISTENT[case]
    _write(six_nodes / f"ind.cora.{part}", value)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load("cora", six_nodes.parent)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5\nthree", "1 whole numbers per line"),
        ("5 6", "it has 2 columns"),
        ("5\n6", r"\[0, 6\)"),
        ("", "it holds no line"),
        ("5\n1", "two rows describe"),
        ("5\n5", "two rows describe"),
        ("5", "test.index 1"),
        ("5\n3\n4", "test.index 3"),
    ],
)
def test_a_damaged_test_index_is_refused(six_nodes, text, message):
    (six_nodes / "ind.cora.test.index").write_text(text)
    with pytest.raises(InputError, match=message):
        datasets.load("cora", six_nodes.parent)


def test_one_list_for_many_nodes_is_not_unfolded(six_nodes):
    everyone = list(range(2000))
    _write(six_nodes / "ind.cora.graph", dict.fromkeys(everyone, everyone))
    with pytest.raises(InputError, match=r"ind\.cora\.graph: damaged \(4000000 neighbours\)"):
        datasets.load("cora", six_nodes.parent)


def test_a_column_beyond_the_matrix_is_refused(six_nodes):
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    matrix.indices[1] = 1000
    _write(six_nodes / "ind.cora.allx", matrix)
    with pytest.raises(InputError, match=r"ind\.cora\.allx: damaged"):
        datasets.load("cora", six_nodes.parent)


@pytest.mark.parametrize("part", [part for part in planetoid.PARTS if part != "test.index"])
def test_a_truncated_file_is_named(six_nodes, part):
    path = six_nodes / f"ind.cora.{part}"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path}: damaged"):
        datasets.load("cora", six_nodes.parent)


def test_damaged_files_are_refused_or_named(six_nodes, monkeypatch):
    assert len(check_damaged_files("cora", six_nodes.parent, monkeypatch)) > 30


def test_cora(data_root, count_undirected):
    dataset = datasets.load("cora", data_root)
    assert dataset.features.shape == (2708, 1433)
    assert dataset.features.nnz == 49216
    np.testing.assert_allclose(np.asarray(dataset.features.sum(axis=1)), 1, rtol=1e-5)
    assert count_undirected(dataset) == 5278
    assert np.bincount(dataset.labels).tolist() == [351, 217, 418, 818, 426, 298, 180]
    assert [int(mask.sum()) for mask in (dataset.train_mask, dataset.val_mask, dataset.test_mask)] == [140, 500, 1000]
    assert np.bincount(dataset.labels[dataset.train_mask]).tolist() == [20] * 7
    assert dataset.test_mask[1708:].all()


def test_citeseer_has_fifteen_nodes_that_no_file_describes(data_root, count_undirected):
    dataset = datasets.load("citeseer", data_root)
    assert dataset.features.shape == (3327, 3703)
    assert dataset.num_classes == 6
    assert count_undirected(dataset) == 4676 - 124  # without the self loops
    assert [int(mask.sum()) for mask in (dataset.train_mask, dataset.val_mask, dataset.test_mask)] == [120, 500, 1000]
    undescribed = np.flatnonzero(dataset.labels < 0)
    assert undescribed.size == 15
    assert undescribed.min() >= 2312
    assert dataset.features[undescribed].nnz == 0
    assert np.isin(undescribed, dataset.senders).all()  # left out of test.index, but cited


def test_a_file_without_a_checksum_is_asked_for_and_not_downloaded(data_root, tmp_path, monkeypatch):
    for path in (data_root / "planetoid").glob("ind.pubmed.*"):
        if path.name != "ind.pubmed.allx":
            (tmp_path / "planetoid").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "planetoid")
    fetched = []
    monkeypatch.delitem(planetoid.CHECKSUMS, "planetoid/ind.pubmed.allx")
    monkeypatch.setattr(planetoid, "fetch", lambda *arguments: fetched.append(arguments))
    with pytest.raises(
        InputError, match=r"pubmed: ind\.pubmed\.allx missing, and ind\.pubmed\.allx has no known checksum"
    ) as refusal:
        datasets.load("pubmed", tmp_path)
    assert f"put the files in {tmp_path / 'planetoid'} by hand, from {planetoid.BASE_URL}" in str(refusal.value)
    assert fetched == []


def test_missing_files_are_downloaded_and_verified(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(planetoid, "BASE_URL", (data_root / "planetoid").as_uri())
    assert datasets.load("cora", tmp_path).num_nodes == 2708
    assert {path.name for path in (tmp_path / "planetoid").iterdir()} == {
        f"ind.cora.{part}" for part in planetoid.PARTS
    }


def test_another_file_at_the_source_is_refused(six_nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(planetoid, "BASE_URL", six_nodes.as_uri())
    with pytest.raises(InputError, match=r"ind\.cora\.allx: the download has SHA-256"):
        datasets.load("cora", tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_no_network_says_which_files_go_where(tmp_path):
    with pytest.raises(InputError) as refusal:
        datasets.load("citeseer", tmp_path)
    missing = ", ".join(f"ind.citeseer.{part}" for part in planetoid.PARTS)
    assert str(refusal.value).startswith(f"citeseer: {missing} missing; ind.citeseer.allx: cannot be downloaded")
    assert f"in {tmp_path / 'planetoid'} by hand" in str(refusal.value)
