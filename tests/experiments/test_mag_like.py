import gzip

import numpy as np
import pytest
from ogb_samples import ogb_module

from abkd_jax.types import InputError
from experiments.mag_like import __main__, write_csv_gz
from experiments.mag_like import graph as mag_like

SCALE, CLASSES = 0.001, 10
NODES = {"author": 1135, "field_of_study": 60, "institution": 9, "paper": 736}
EDGES = {
    ("author", "affiliated_with", "institution"): 1044,
    ("author", "writes", "paper"): 7146,
    ("paper", "cites", "paper"): 5416,
    ("paper", "has_topic", "field_of_study"): 7505,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return mag_like.write(tmp_path_factory.mktemp("mag"), scale=SCALE, classes=CLASSES, features=16, seed=3)


def _table(path, dtype=np.int64):
    with gzip.open(path, "rt") as file:
        return np.array([line.split(",") for line in file.read().splitlines()]).astype(dtype)


def _edges(folder, *triple):
    return _table(folder / "raw" / "relations" / "___".join(triple) / "edge.csv.gz")


def _labels(folder):
    return _table(folder / "raw/node-label/paper/node-label.csv.gz")[:, 0]


def test_ogb_reads_it_and_finds_the_announced_counts(small, capsys):
    raw = ogb_module("io/read_graph_raw.py")
    folder = str(small / "raw")
    (graph,) = raw.read_csv_heterograph_raw(
        folder, additional_node_files=["node_year"], additional_edge_files=["edge_reltype"]
    )
    assert graph["num_nodes_dict"] == NODES
    assert {triple: edges.shape for triple, edges in graph["edge_index_dict"].items()} == {
        triple: (2, count) for triple, count in EDGES.items()
    }
    for number, (triple, edges) in enumerate(graph["edge_index_dict"].items()):
        ends = np.array([[NODES[triple[0]]], [NODES[triple[2]]]])
        assert ((edges >= 0) & (edges < ends)).all()
        assert len(set(zip(*edges.tolist(), strict=True))) == edges.shape[1]
        assert (graph["edge_reltype"][triple] == number).all()
    (features,) = graph["node_feat_dict"].values()
    assert (features.shape, features.dtype) == ((736, 16), np.float32)
    assert 0.9 < features.std() < 1.4
    labels = raw.read_node_label_hetero(folder)
    assert list(labels) == ["paper"]
    assert (labels["paper"].shape, labels["paper"].min(), labels["paper"].max()) == ((736, 1), 0, CLASSES - 1)
    train, valid, test = (part["paper"] for part in raw.read_nodesplitidx_split_hetero(str(small / "split" / "time")))
    assert (train.size, valid.size, test.size) == (736 - 65 - 42, 65, 42)
    assert sorted(np.concatenate([train, valid, test])) == list(range(736))
    years = graph["node_year"]["paper"][:, 0]
    assert years[train].max() == 2017
    assert set(years[valid]) == {2018}
    assert set(years[test]) == {2019}


def test_the_same_arguments_give_the_same_bytes(small, tmp_path):
    again = mag_like.write(tmp_path / "again", scale=SCALE, classes=CLASSES, features=16, seed=3)
    other = mag_like.write(tmp_path / "other", scale=SCALE, classes=CLASSES, features=16, seed=4)
    names = sorted(path.relative_to(small) for path in small.rglob("*") if path.is_file())
    assert len(names) == 25
    for name in names:
        assert (small / name).read_bytes() == (again / name).read_bytes()
    assert (_edges(small, "paper", "cites", "paper") != _edges(other, "paper", "cites", "paper")).any()
    assert (_labels(small) != _labels(other)).any()


def _own_share(papers, others, labels):
    """How many of the other papers of the same author or field have the paper's label, mean over the edges."""
    counts = np.zeros((others.max() + 1, CLASSES))
    np.add.at(counts, (others, labels[papers]), 1)
    rest = counts[others].sum(axis=1) - 1
    return ((counts[others, labels[papers]] - 1) / np.maximum(rest, 1))[rest > 0].mean()


def test_labels_depend_on_citations_authors_fields_and_features(small):
    """Against chance: two papers drawn at random, labels dealt anew, the most frequent label."""
    labels = _labels(small)
    shares = np.bincount(labels) / labels.size
    cites = _edges(small, "paper", "cites", "paper")
    assert (labels[cites[:, 0]] == labels[cites[:, 1]]).mean() > (shares**2).sum() + 0.1
    assert (cites[:, 0] != cites[:, 1]).all()
    rng = np.random.default_rng(0)
    authors, papers = _edges(small, "author", "writes", "paper").T
    for edges in ((papers, authors), _edges(small, "paper", "has_topic", "field_of_study").T):
        assert _own_share(*edges, labels) > max(_own_share(*edges, rng.permutation(labels)) for _ in range(50)) + 0.003
    features = _table(small / "raw/node-feat/paper/node-feat.csv.gz", float)
    centres = np.stack([features[:600][labels[:600] == label].mean(axis=0) for label in range(CLASSES)])
    nearest = ((features[600:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    accuracy = (nearest == labels[600:]).mean()
    assert shares.max() + 0.1 < accuracy < 0.85


def test_degrees_are_skewed(small):
    cited = np.bincount(_edges(small, "paper", "cites", "paper")[:, 1], minlength=736)
    assert np.sort(cited)[-37:].sum() > 0.2 * cited.sum()  # one paper in twenty has a fifth of the citations


def test_whole_numbers_are_written_as_python_writes_them():
    table = np.array([[0, 7], [10, 1_134_649], [999_999, 100], [5, 0]])
    assert write_csv_gz.whole_numbers(table) == b"0,7\n10,1134649\n999999,100\n5,0\n"
    assert write_csv_gz.whole_numbers(np.array([[0], [3]], np.int32)) == b"0\n3\n"


def test_hundredths_keep_their_value():
    values = np.append(np.arange(-999, 1000), 0).reshape(-1, 4)
    lines = write_csv_gz.hundredths(values.astype(np.int16)).decode().splitlines()
    found = [[float(word) for word in line.split(",")] for line in lines]
    np.testing.assert_array_equal(found, values / 100)


def test_tables_are_cut_into_blocks_without_loss(monkeypatch):
    monkeypatch.setattr(write_csv_gz, "BLOCK_NUMBERS", 4)
    table = np.arange(10).reshape(5, 2)
    assert [len(block) for block in write_csv_gz.blocks(table)] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(list(write_csv_gz.blocks(table))), table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, r"scale 0, .*expected a scale in \(0, 100\)"),
        ({"scale": float("nan")}, "scale nan"),
        ({"classes": 1}, "classes 1"),
        ({"features": 0}, "features 0"),
        ({"seed": -1}, "seed -1"),
        ({"scale": 1e-5}, "scale 1e-05 leaves 0 institutions; expected at least 2"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as refusal:
        mag_like.write(tmp_path, **options)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(small):
    before = (small / "SYNTHETIC.txt").read_text()
    with pytest.raises(InputError, match="ogbn_mag: exists already"):
        mag_like.write(small.parent, scale=SCALE)
    assert (small / "SYNTHETIC.txt").read_text() == before


def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mag_like, "_write_split", fail)
    with pytest.raises(KeyboardInterrupt):
        mag_like.write(tmp_path, scale=SCALE, features=2)
    assert list(tmp_path.iterdir()) == []


def test_very_small_graphs_stay_sparse(tmp_path):
    """A quarter of all pairs at most: 147 papers and 12 fields have 1,764."""
    folder = mag_like.write(tmp_path, scale=2e-4, features=1)
    assert len(_edges(folder, "paper", "has_topic", "field_of_study")) == 441


def test_the_script_writes_it(tmp_path, capsys):
    __main__.main(__main__.Args(tmp_path, scale=SCALE, features=2))
    assert capsys.readouterr().out == f"{tmp_path / 'ogbn_mag'}\n"
