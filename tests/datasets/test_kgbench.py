import csv
import gzip

import numpy as np
import pytest
from damage import check_damaged_files

from abkd_jax import datasets
from abkd_jax.datasets.files.text import MAX_TEXT
from abkd_jax.types import InputError

CONTENTS = {
    "nodes.int.csv": 'index,annotation,label\n0,none,""\n1,none,"two\nlines, a comma"\n2,none,c\n3,none,d\n4,none,e\n',
    "relations.int.csv": "index,label\n0,knows\n1,likes\n",
    "training.int.csv": "4,0\n1,1\n",
    "validation.int.csv": "2,1\n",
    "testing.int.csv": "0,0\n",
    "triples.int.csv.gz": "0, 1, 4\n3, 0, 2\n2, 1, 2\n",
}


def _write(folder, name, text):
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())


@pytest.fixture
def tiny_root(tmp_path, unpublished):
    """Five nodes, two relations, three triples."""
    folder = tmp_path / "kgbench" / "aifb"
    folder.mkdir(parents=True)
    for name, text in CONTENTS.items():
        _write(folder, name, text)
    return tmp_path


def test_the_layout_is_read(tiny_root):
    dataset = datasets.load("aifb", tiny_root)
    assert dataset.labels.tolist() == [0, 1, 1, -1, 0]
    assert (dataset.senders.tolist(), dataset.receivers.tolist()) == ([0, 3, 2], [4, 2, 2])
    assert dataset.relations.tolist() == [1, 0, 1]
    assert dataset.schema.reverses == (2, 3)
    assert [np.nonzero(mask)[0].tolist() for mask in dataset[6:9]] == [[1, 4], [2], [0]]
    assert (dataset.features.shape, dataset.num_embeddings) == ((0, 0), 5)


DAMAGE = {
    "node outside": ("triples.int.csv.gz", "0, 1, 5\n", r"out of range \(first: \[0, 1, 5\]\)"),
    "relation outside": ("triples.int.csv.gz", "0, 0, 1\n0, 2, 4\n", r"first: \[0, 2, 4\]"),
    "columns": ("triples.int.csv.gz", "0, 1\n", r"has 2 columns\); expected 3 whole numbers per line"),
    "words": ("triples.int.csv.gz", "a, b, c\n", r"triples\.int\.csv\.gz: damaged"),
    "labelled outside": ("testing.int.csv", "5,0\n", r"testing\.int\.csv: damaged; 1 lines are out of range"),
    "negative class": ("training.int.csv", "4,-1\n", r"training\.int\.csv: damaged"),
    "class a billion": ("training.int.csv", "4,0\n1,1000000000\n", "3 different categories from 0 to 1000000000"),
    "twice in a split": ("training.int.csv", "4,0\n4,1\n1,1\n", r"training\.int\.csv: damaged \(a node is there twice"),
    "a fraction": ("training.int.csv", "4,0.5\n", r"training\.int\.csv: damaged"),
    "a comment": ("training.int.csv", "4,0\n# 1,1\n", r"training\.int\.csv: damaged"),
    "a node left out": (
        "nodes.int.csv",
        "index,label\n0,a\n2,b\n",
        r"nodes\.int\.csv: damaged \(record 1 .* begins with '2'",
    ),
    "a node twice": ("nodes.int.csv", "index,label\n0,a\n0,a\n", r"nodes\.int\.csv: damaged \(record 1"),
    "another width": (
        "relations.int.csv",
        "index,label\n0,a\n1\n",
        r"relations\.int\.csv: damaged \(record 1 has 1 fields",
    ),
    "an open quote": ("nodes.int.csv", 'index,label\n0,"a\n1,b\n', r"nodes\.int\.csv: damaged"),
    "separators alone": ("triples.int.csv.gz", "\x1c\n\x1d\n", "it holds no line"),
    "a long line": ("triples.int.csv.gz", "0, 1, 4" + ", 0" * 9999, r"triples\.int\.csv\.gz: damaged \(a line of"),
    "in two splits": ("validation.int.csv", "0,0\n", "both val_mask and test_mask"),
    "no nodes": ("nodes.int.csv", "index\n", "out of range"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line(tiny_root, case):
    name, text, message = DAMAGE[case]
    _write(tiny_root / "kgbench" / "aifb", name, text)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load("aifb", tiny_root)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"0, 1, 4\n" * 99, mtime=0)[:-12]])
def test_a_cut_file_is_named(tiny_root, content):
    (tiny_root / "kgbench" / "aifb" / "triples.int.csv.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"triples\.int\.csv\.gz: damaged"):
        datasets.load("aifb", tiny_root)


def test_damaged_files_are_refused_or_named(tiny_root, monkeypatch):
    assert len(check_damaged_files("aifb", tiny_root, monkeypatch)) > 30


@pytest.mark.parametrize("name", CONTENTS)
def test_blank_lines_are_neither_nodes_nor_relations(tiny_root, name):
    expected = datasets.load("aifb", tiny_root)
    _write(tiny_root / "kgbench" / "aifb", name, CONTENTS[name].replace("\n0,", "\n\n0,") + "\n\n")
    found = datasets.load("aifb", tiny_root)
    assert (found.num_nodes, found.schema) == (5, expected.schema)
    for field in ("senders", "receivers", "relations", "labels", "train_mask", "val_mask", "test_mask"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_a_file_that_unpacks_to_gigabytes_is_not_unpacked(tiny_root):
    _write(tiny_root / "kgbench" / "aifb", "triples.int.csv.gz", "\n" * (MAX_TEXT + 1))
    with pytest.raises(InputError, match=r"triples\.int\.csv\.gz: damaged \(it unpacks to more than \d+ bytes\)"):
        datasets.load("aifb", tiny_root)


def test_a_missing_file_is_asked_for(tiny_root):
    (tiny_root / "kgbench" / "aifb" / "relations.int.csv").unlink()
    with pytest.raises(InputError, match=r"aifb: relations\.int\.csv is missing; put the file in"):
        datasets.load("aifb", tiny_root)


def test_published_aifb(data_root):
    dataset = datasets.load("aifb", data_root)
    folder = data_root / "kgbench" / "aifb"
    assert (dataset.num_nodes, dataset.senders.size, dataset.num_classes) == (8285, 29043, 4)
    assert [mask.sum() for mask in dataset[6:9]] == [104, 36, 36]
    assert (len(dataset.schema.relations), dataset.schema.num_relations) == (45, 90)
    with gzip.open(folder / "triples.int.csv.gz", "rt") as file:
        triples = [tuple(map(int, line.split(","))) for line in file]
    assert list(zip(dataset.senders, dataset.relations, dataset.receivers, strict=True)) == triples
    with (folder / "all.int.csv").open() as file:
        expected = {int(row["instance"]): int(row["cls"]) for row in csv.DictReader(file)}
    assert {node: dataset.labels[node] for node in np.nonzero(dataset.labels >= 0)[0]} == expected
