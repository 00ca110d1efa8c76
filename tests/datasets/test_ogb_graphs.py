import gzip
import shutil

import numpy as np
import ogb_samples
import pytest
from ogb_samples import write_lines

from abkd_jax.datasets import ogb_graphs
from abkd_jax.types import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ABKD_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def assert_same_graphs(dataset, graphs):
    """Against `read_csv_graph_raw` with `add_inverse_edge`."""
    nodes, edges = np.cumsum([0, *dataset.n_node]), np.cumsum([0, *dataset.n_edge])
    assert len(graphs) == dataset.n_node.size
    for number, graph in enumerate(graphs):
        rows = slice(edges[number], edges[number + 1])
        np.testing.assert_array_equal([dataset.senders[rows], dataset.receivers[rows]], graph["edge_index"])
        np.testing.assert_array_equal(dataset.edge_features[rows], graph["edge_feat"])
        np.testing.assert_array_equal(dataset.features[nodes[number] : nodes[number + 1]], graph["node_feat"])


@pytest.mark.parametrize("time", ["first", "second"])
def test_molecules_are_what_the_package_reads(tmp_path, time):
    labels = [[0, "", 1] * 4, [1] * 12, [""] * 12, [0] * 12]
    folder = ogb_samples.write_molecules(tmp_path, "ogbg-moltox21", labels)
    for _ in range(1 + (time == "second")):
        dataset = ogb_graphs.load("ogbg-moltox21", tmp_path)
    read = ogb_samples.ogb_module("io/read_graph_raw.py").read_csv_graph_raw
    assert_same_graphs(dataset, read(str(folder / "raw"), add_inverse_edge=True))
    assert dataset.n_edge.tolist() == [4, 0, 2, 2]
    np.testing.assert_array_equal(dataset.labels[0], [0, np.nan, 1] * 4)
    assert np.isnan(dataset.labels).sum(axis=1).tolist() == [4, 0, 12, 0]
    masks = (dataset.train_mask, dataset.val_mask, dataset.test_mask)
    assert [np.nonzero(mask)[0].tolist() for mask in masks] == [[0, 2], [1], [3]]
    assert (dataset.task, dataset.metric, dataset.num_outputs) == ("multilabel", "rocauc", 12)
    kinds = {name: getattr(dataset, name).dtype.name for name in ("features", "edge_features", "senders", "labels")}
    assert kinds == {"features": "int32", "edge_features": "int32", "senders": "int32", "labels": "float32"}


@pytest.mark.parametrize(
    ("name", "split", "atoms", "bonds", "outputs"),
    [
        ("molbace", [1210, 151, 152], 51577, 55768, "multilabel"),
        ("molesol", [902, 113, 113], 14991, 15428, "regression"),
        ("moltox21", [6264, 783, 784], 145459, 151095, "multilabel"),
    ],
)
def test_the_published_molecules(data_root, name, split, atoms, bonds, outputs, caplog):
    """Atoms and bonds counted with `zcat node-feat.csv.gz | wc -l`, and of the molecules by the package."""
    folder = data_root / "ogb" / f"ogbg_{name}"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    dataset = ogb_graphs.load(f"ogbg-{name}", data_root)
    assert [mask.sum() for mask in (dataset.train_mask, dataset.val_mask, dataset.test_mask)] == split
    assert (dataset.features.shape, dataset.edge_features.shape) == ((atoms, 9), (2 * bonds, 3))
    assert (len(dataset.labels), dataset.task) == (sum(split), outputs)
    assert dataset.source.endswith(".zip), scaffold split")
    assert caplog.messages == []


def test_a_changed_number_of_published_molecules_is_said(data_root, tmp_path, caplog):
    source = data_root / "ogb" / "ogbg_molesol"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    folder = tmp_path / "ogbg_molesol"
    shutil.copytree(source, folder)
    path = folder / "raw" / "graph-label.csv.gz"
    lines = gzip.decompress(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(gzip.compress(lines.replace(b"-0.77\n", b"-0.78\n", 1)))
    assert ogb_graphs.load("ogbg-molesol", tmp_path).source.endswith("; content of the files not the published one")
    (line,) = caplog.messages
    assert line.startswith("ogbg-molesol: the content of the files is not the published one")


def test_the_facts_are_those_of_the_package():
    features = ogb_samples.ogb_module("utils/features.py")
    assert tuple(features.get_atom_feature_dims()) == ogb_graphs.ATOM_VOCABULARY
    assert tuple(features.get_bond_feature_dims()) == ogb_graphs.BOND_VOCABULARY
    for name, facts in ogb_graphs._SETS.items():
        evaluator = ogb_samples.ogb_module("graphproppred/evaluate.py").Evaluator(name)
        assert (evaluator.num_tasks, evaluator.eval_metric) == (facts.tasks, facts.metric)


DAMAGE = {
    "element": ("raw/node-feat", [[119] + [0] * 8] * 8, r"line 1: 119 is out of range; .* \[0, 119\)"),
    "bond": ("raw/edge-feat", [[0, 0, 2]] * 4, r"line 1: 2 is out of range; .* in \[0, 2\)"),
    "columns": ("raw/node-feat", [[0] * 8] * 8, "has 8 columns; expected 9"),
    "atoms": ("raw/num-node-list", [3, 1, 2, 3], "has 8 rows; expected 9"),
    "molecules": ("raw/num-edge-list", [2, 0, 2], "has 3 rows; expected 4"),
    "outside": (
        "raw/edge",
        [[0, 1], [1, 2], [0, 2], [1, 0]],
        r"line 3: bond 0,2 points outside molecule 2; .*\[0, 2\)",
    ),
    "labels": ("raw/graph-label", [0, 1, 2, 0], "line 3: label 2; expected 0, 1 or nothing"),
    "split": ("split/scaffold/test", [4], "4 is out of range"),
    "short split": (
        "split/scaffold/train",
        [2],
        r"scaffold: 1 molecules are in no part of the split \(first: molecule 0",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line_and_nothing_is_cached(tmp_path, cache, case):
    part, lines, message = DAMAGE[case]
    folder = ogb_samples.write_molecules(tmp_path, "ogbg-molhiv", [0, 1, 1, 0])
    write_lines(folder / part, lines)
    with pytest.raises(InputError, match=message) as refusal:
        ogb_graphs.load("ogbg-molhiv", tmp_path)
    assert str(folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(cache.iterdir()) == []


def test_a_gap_in_a_real_label_is_refused(tmp_path):
    ogb_samples.write_molecules(tmp_path, "ogbg-mollipo", [0.5, '""', 1.5, 2.5])
    with pytest.raises(InputError, match="line 2: column 1 is empty or NaN"):
        ogb_graphs.load("ogbg-mollipo", tmp_path)


def test_other_molecules_are_not_taken_for_the_published_ones(tmp_path):
    folder = ogb_samples.write_molecules(tmp_path, "ogbg-molhiv", [0, 1, 1, 0])
    assert ogb_graphs.load("ogbg-molhiv", tmp_path).source.startswith("generated in the layout of the Open Graph")
    (folder / "SYNTHETIC.txt").unlink()
    with pytest.raises(
        InputError, match=rf"^{folder}: 4 molecules \(published: 41,127\), .* the published ogbg-molhiv,"
    ):
        ogb_graphs.load("ogbg-molhiv", tmp_path)


def test_a_line_of_labels_that_is_short_is_not_filled(tmp_path):
    folder = ogb_samples.write_molecules(tmp_path, "ogbg-moltox21", [[0] * 12, [1] * 11, [0] * 12, [1] * 12])
    with pytest.raises(InputError, match=f"{folder}/raw/graph-label.csv.gz, line 2: column 12 is empty or NaN"):
        ogb_graphs.load("ogbg-moltox21", tmp_path)
