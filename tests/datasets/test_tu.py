import numpy as np
import pytest
from damage import check_damaged_files

from abkd_jax import datasets
from abkd_jax.datasets.splits import folds
from abkd_jax.types import InputError


def _chains():
    """Forty chains of two atoms with one bond, listed in turns; every fourth one is of class 1."""
    edges = [(2 * g + a, 2 * g + 3 - a) for a in (1, 2) for g in range(40)]  # all forward edges first, then back
    return {
        "A": "\n".join(f"{a}, {b}" for a, b in edges),
        "graph_indicator": "\n".join(str(g + 1) for g in range(40) for _ in range(2)),
        "graph_labels": "\n".join("1" if g % 4 == 0 else "-1" for g in range(40)),
        "node_labels": "\n".join(str(g % 3) for g in range(40) for _ in range(2)),
        "edge_labels": "\n".join(str(g % 2) for _ in range(2) for g in range(40)),
    }


def _write(root, contents):
    folder = root / "tu" / "MUTAG"
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in contents.items():
        (folder / f"MUTAG_{part}.txt").write_text(text + "\n")


@pytest.fixture
def chains_root(tmp_path, unpublished):
    _write(tmp_path, _chains())
    return tmp_path


def test_the_layout_is_read_and_edges_are_put_graph_after_graph(chains_root):
    dataset = datasets.load("mutag", chains_root)
    assert dataset.n_node.tolist() == dataset.n_edge.tolist() == [2] * 40
    assert dataset.senders.tolist() == [0, 1] * 40
    assert dataset.receivers.tolist() == [1, 0] * 40
    assert dataset.labels.tolist() == [1, 0, 0, 0] * 10
    np.testing.assert_array_equal(dataset.features, np.repeat(np.eye(3)[np.arange(40) % 3], 2, axis=0))
    assert dataset.edge_features[:, 0].tolist() == [0, 0, 1, 1] * 20
    assert (dataset.edge_vocabulary, dataset.vocabulary, dataset.num_outputs) == ((2,), (), 2)


def test_ten_seeds_are_a_cross_validation(chains_root):
    found = [datasets.load("mutag", chains_root, seed) for seed in range(11)]
    tests = np.stack([dataset.test_mask for dataset in found[:10]])
    assert (tests.sum(axis=0) == 1).all()
    for seed in range(10):
        np.testing.assert_array_equal(found[seed].val_mask, tests[(seed + 1) % 10])
        np.testing.assert_array_equal(found[seed].train_mask, ~(tests[seed] | tests[(seed + 1) % 10]))
        assert np.bincount(found[seed].labels[tests[seed]]).tolist() == [3, 1]
    np.testing.assert_array_equal(found[10].test_mask, tests[0])
    assert found[3].source.endswith("fold 3 of 10 drawn with seed 0")


def test_folds_are_even_and_stratified():
    labels = np.repeat([0, 1, 2], [47, 13, 5])
    dealt = folds(labels, 10, np.random.default_rng(4))
    assert set(np.bincount(dealt, minlength=10)) == {6, 7}
    for label, size in enumerate((47, 13, 5)):
        counts = np.bincount(dealt[labels == label], minlength=10)
        assert set(counts) <= {size // 10, size // 10 + 1}


DAMAGE = {
    "node outside": ({"A": "1, 2\n2, 81"}, "node numbers reach 1 and 81; expected 1-80"),
    "node 0": ({"A": "0, 1\n1, 0"}, "node numbers reach 0 and 1"),
    "two graphs": ({"A": "1, 2\n2, 3"}, r"1 edges join two graphs \(first: line 2\)"),
    "columns": ({"A": "1, 2, 3"}, r"has 3 columns\); expected 2 whole numbers per line"),
    "one direction": ({"A": "\n".join(["1, 2"] * 80)}, "mutag: .* edges have no reverse"),
    "unsorted": ({"graph_indicator": "\n".join(["2", "1"] * 40)}, "expected ascending graph numbers from 1 to 40"),
    "graph outside": ({"graph_indicator": "\n".join(["1"] * 79 + ["41"])}, "ascending graph numbers from 1 to 40"),
    "empty graph": (
        {"graph_indicator": "\n".join(["1"] * 80), "A": "1, 2\n2, 1", "edge_labels": "0\n0"},
        "graph 1 has n_node 0",
    ),
    "short node labels": ({"node_labels": "0\n1"}, r"node_labels\.txt: damaged \(2 lines\); expected 80"),
    "negative node label": ({"node_labels": "\n".join(["-1"] * 80)}, "categories from -1 to -1"),
    "short edge labels": ({"edge_labels": "0\n1"}, r"edge_labels\.txt: damaged \(2 lines\); expected 80"),
    "node label a billion": (
        {"node_labels": "\n".join(["0"] * 79 + ["1000000000"])},
        "2 different categories from 0 to 1000000000",
    ),
    "edge label a billion": (
        {"edge_labels": "\n".join(["0"] * 79 + ["1000000000"])},
        r"edge_labels\.txt: damaged \(2 different categories from 0 to 1000000000",
    ),
    "beyond 64 bits": ({"A": "1, 99999999999999999999"}, r"A\.txt: damaged"),
    "lowest number": ({"A": f"1, {-(2**63)}"}, f"node numbers reach 1 and {2**63}"),
    "fraction": ({"graph_labels": "0.5"}, r"graph_labels\.txt: damaged"),
    "nothing": ({"graph_labels": ""}, r"graph_labels\.txt: damaged"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line(chains_root, case):
    change, message = DAMAGE[case]
    _write(chains_root, change)
    with pytest.raises(InputError, match=message) as refusal:
        datasets.load("mutag", chains_root)
    assert "\n" not in str(refusal.value)


def test_damaged_files_are_refused_or_named(chains_root, monkeypatch):
    assert len(check_damaged_files("mutag", chains_root, monkeypatch)) > 20


def test_a_column_for_each_of_very_many_categories_is_refused(tmp_path, unpublished):
    nodes = range(1002)
    contents = {"A": "1, 2\n2, 1", "graph_indicator": "1\n" * 1002, "graph_labels": "1", "edge_labels": "0\n0"}
    _write(tmp_path, contents | {"node_labels": "\n".join(map(str, nodes))})
    with pytest.raises(InputError, match=r"node_labels\.txt: damaged \(1002 categories\)"):
        datasets.load("mutag", tmp_path)


def test_a_missing_file_is_asked_for(chains_root):
    (chains_root / "tu" / "MUTAG" / "MUTAG_edge_labels.txt").unlink()
    with pytest.raises(InputError, match=r"mutag: MUTAG_edge_labels\.txt is missing; put the file in"):
        datasets.load("mutag", chains_root)


@pytest.mark.parametrize(
    ("name", "graphs", "nodes", "edges", "columns", "classes"),
    [("mutag", 188, 3371, 7442, 7, [63, 125]), ("proteins", 1113, 43471, 162088, 4, [663, 450])],
)
def test_published_files(data_root, name, graphs, nodes, edges, columns, classes):
    dataset = datasets.load(name, data_root, seed=2)
    assert (dataset.n_node.size, dataset.n_node.sum(), dataset.n_edge.sum()) == (graphs, nodes, edges)
    assert dataset.features.shape == (nodes, columns)
    assert np.bincount(dataset.labels).tolist() == classes
    assert abs(dataset.test_mask.sum() - graphs / 10) < 1
    assert abs(dataset.labels[dataset.test_mask].mean() - classes[1] / graphs) < 0.05
    prefix = data_root / "tu" / name.upper() / name.upper()
    text = {p: prefix.with_name(f"{prefix.name}_{p}.txt").read_text().splitlines() for p in ("A", "node_labels")}
    offsets = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge)
    ours = zip(dataset.senders + offsets + 1, dataset.receivers + offsets + 1, strict=True)
    assert set(ours) == {tuple(map(int, line.split(","))) for line in text["A"]}
    for node in (0, 999, nodes - 1):
        one_hot = dataset.features[node, : columns - (name == "proteins")]
        assert one_hot.tolist() == np.eye(one_hot.size)[int(text["node_labels"][node])].tolist()
    assert (dataset.edge_features is None) == (name == "proteins")


def test_published_bonds_keep_their_kind(data_root):
    dataset = datasets.load("mutag", data_root)
    folder = data_root / "tu" / "MUTAG"
    lines = (folder / "MUTAG_A.txt").read_text().splitlines()
    kinds = (folder / "MUTAG_edge_labels.txt").read_text().split()
    expected = {tuple(map(int, line.split(","))): int(kind) for line, kind in zip(lines, kinds, strict=True)}
    offsets = np.repeat(np.cumsum(dataset.n_node) - dataset.n_node, dataset.n_edge) + 1
    ends = zip(dataset.senders + offsets, dataset.receivers + offsets, strict=True)
    assert dict(zip(ends, dataset.edge_features[:, 0], strict=True)) == expected
