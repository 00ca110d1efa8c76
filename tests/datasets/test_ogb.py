import gzip
import logging
import re
import sys

import numpy as np
import ogb_samples
import pytest
from ogb_samples import write_lines

from abkd_jax.datasets import ogb
from abkd_jax.datasets.files import csv_gz
from abkd_jax.types import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ABKD_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch):
    def fetch(url, folder, sha256):
        raise AssertionError(f"{url} was asked for")

    monkeypatch.setattr("abkd_jax.datasets.ogb_files.fetch_zip", fetch)


@pytest.mark.parametrize("time", ["first", "second"])
def test_arxiv_is_what_the_package_reads(tmp_path, time):
    folder = ogb_samples.write_arxiv(tmp_path)
    for _ in range(1 + (time == "second")):
        dataset = ogb.load("ogbn-arxiv", tmp_path)
    (graph,) = ogb_samples.ogb_module("io/read_graph_raw.py").read_csv_graph_raw(str(folder / "raw"))
    np.testing.assert_array_equal(dataset.features, graph["node_feat"])
    np.testing.assert_array_equal([dataset.senders, dataset.receivers], graph["edge_index"])
    assert (dataset.features.dtype, dataset.senders.dtype, dataset.labels.dtype) == (np.float32, np.int32, np.int32)
    assert isinstance(dataset.features, np.memmap)
    assert dataset.labels.tolist() == [0, 39, 7, 7, 1, 2]
    assert (dataset.num_classes, dataset.schema) == (40, None)
    masks = (dataset.train_mask, dataset.val_mask, dataset.test_mask)
    assert [np.nonzero(mask)[0].tolist() for mask in masks] == [[0, 4], [3], [1, 5]]


@pytest.mark.parametrize("time", ["first", "second"])
def test_mag_is_what_the_package_reads(tmp_path, time, monkeypatch):
    folder = ogb_samples.write_mag(tmp_path)
    for _ in range(1 + (time == "second")):
        dataset = ogb.load("ogbn-mag", tmp_path)
    # Deviation: the package cannot read a relation without edges; it gets one that is left out again.
    write_lines(folder / "raw" / "relations" / "paper___has_topic___field_of_study" / "edge", [[0, 0]])
    reader = ogb_samples.ogb_module("io/read_graph_raw.py")
    (graph,) = reader.read_csv_heterograph_raw(str(folder / "raw"))
    assert dataset.schema.node_types == ("paper", "author", "institution", "field_of_study")
    assert dataset.schema.relations == ("cites", "affiliated_with", "writes", "has_topic")
    assert (dataset.schema.reverses, dataset.schema.num_relations) == ((0, 4, 5, 6), 7)
    np.testing.assert_array_equal(dataset.features, graph["node_feat_dict"]["paper"])
    assert np.bincount(dataset.node_types).tolist() == [6, 3, 2, 2]
    first = {"paper": 0, "author": 6, "institution": 9, "field_of_study": 11}
    for (head, name, tail), ends in graph["edge_index_dict"].items():
        chosen = dataset.relations == dataset.schema.relations.index(name)
        if name == "has_topic":
            assert not chosen.any()
            continue
        np.testing.assert_array_equal(dataset.senders[chosen], ends[0] + first[head])
        np.testing.assert_array_equal(dataset.receivers[chosen], ends[1] + first[tail])
    labels = reader.read_node_label_hetero(str(folder / "raw"))
    assert list(labels) == ["paper"]
    np.testing.assert_array_equal(dataset.labels, [*labels["paper"][:, 0], *[-1] * 7])
    splits = reader.read_nodesplitidx_split_hetero(str(folder / "split" / "time"))
    for mask, ids in zip((dataset.train_mask, dataset.val_mask, dataset.test_mask), splits, strict=True):
        assert np.nonzero(mask)[0].tolist() == sorted(ids["paper"])
        assert mask.shape == (13,)
    assert dataset.num_embeddings == 7


CITES = "raw/relations/paper___cites___paper"
TOPIC = "raw/relations/paper___has_topic___field_of_study"
ALL_TYPES = [list(ogb_samples.COUNTS), [True] * 4]
DAMAGE = {
    "column": ("raw/node-feat/paper/node-feat", ogb_samples.features(6)[:, :5], "has 5 columns; expected 128"),
    "row": ("raw/node-feat/paper/node-feat", ogb_samples.features(6)[:5], "has 5 rows; expected 6"),
    "short row": ("raw/node-feat/paper/node-feat", [*ogb_samples.features(5), [1.0]], "line 6: column 2 is empty"),
    "nan": ("raw/node-feat/paper/node-feat", np.full((6, 128), np.nan), "line 1: column 1 is empty or NaN"),
    "words": (f"{CITES}/edge", [[0, 1], [0, "one"], [0, 2], [0, 3]], "expected 2 whole numbers per line"),
    "fractions": (f"{CITES}/edge", [[0, 1.5]] * 4, "expected 2 whole numbers per line"),
    "long row": (f"{CITES}/edge", [[0, 1], [0, 1, 2], [0, 2], [0, 3]], "expected 2 whole numbers per line"),
    "gap": (f"{CITES}/edge", [[0, 1], [0], [0, 2], [0, 3]], "expected 2 whole numbers per line"),
    "sender": (f"{CITES}/edge", [[0, 1], [6, 1], [0, 2], [0, 3]], r"line 2: 6 is out of range; .* in \[0, 6\)"),
    "receiver": (f"{TOPIC}/edge", [[5, 2]], r"line 1: 2 is out of range; .* in \[0, 2\)"),
    "negative": (f"{CITES}/edge", [[0, 1], [0, -1], [0, 2], [0, 3]], "line 2: -1 is out of range"),
    "fewer edges": (f"{CITES}/edge", [[0, 1]], "has 1 rows; expected 4, as announced"),
    "more edges": (f"{CITES}/num-edge-list", [3], "has 4 rows; expected 3, as announced"),
    "no edges": (f"{CITES}/edge", [], "has 0 rows; expected 4, as announced"),
    "label": ("raw/node-label/paper/node-label", [0, 1, 2, 3, 4, 349], r"line 6: 349 is out of range; .* \[0, 349\)"),
    "labelled authors": ("raw/nodetype-has-label", ALL_TYPES, "says author, .*; expected True for paper, False for"),
    "split": ("split/time/paper/test", [5, 6], r"line 2: 6 is out of range; .* \[0, 6\)"),
    "overlap": ("split/time/paper/test", [5, 4], "4 is in train.csv.gz too; expected disjoint splits"),
    "twice": ("split/time/paper/test", [5, 5], "lists a number twice"),
    "types": ("raw/num-node-dict", [["paper"], [6]], "expected a header with author, field_of_study, institution"),
    "count": ("raw/num-node-dict", [list(ogb_samples.COUNTS), [3, 2, "?", 6]], "number of institution nodes is '?'"),
    "relations": ("raw/triplet-type-list", [["paper", "cites", "paper"]], "1 relations, not those of ogbn-mag"),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_refused_in_one_line_and_nothing_is_cached(tmp_path, cache, case):
    part, lines, message = DAMAGE[case]
    folder = ogb_samples.write_mag(tmp_path)
    if part.startswith(TOPIC):
        write_lines(folder / TOPIC / "num-edge-list", [1])
    write_lines(folder / part, lines)
    with pytest.raises(InputError, match=message) as refusal:
        ogb.load("ogbn-mag", tmp_path)
    name = part if case != "more edges" else f"{CITES}/edge"
    assert str(folder / f"{name}.csv.gz") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("part", ["raw/node-feat/paper/node-feat", "raw/num-node-dict"])
@pytest.mark.parametrize("keep", [0, 5, 40, -4])
def test_a_truncated_file_is_named(tmp_path, cache, part, keep):
    path = ogb_samples.write_mag(tmp_path) / f"{part}.csv.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"expected") as refusal:
        ogb.load("ogbn-mag", tmp_path)
    assert str(refusal.value).startswith(f"{path}")
    assert "\n" not in str(refusal.value)
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_text_that_is_not_gzip_is_named(tmp_path):
    path = ogb_samples.write_arxiv(tmp_path) / "raw" / "edge.csv.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path}: Not a gzipped file .*; expected a whole gzip file"):
        ogb.load("ogbn-arxiv", tmp_path)


@pytest.mark.usefixtures("no_network")
def test_a_missing_file_is_named_with_its_place_and_source(tmp_path):
    folder = ogb_samples.write_arxiv(tmp_path)
    (folder / "raw" / "node-feat.csv.gz").unlink()
    with pytest.raises(InputError) as refusal:
        ogb.load("ogbn-arxiv", tmp_path)
    assert str(refusal.value) == (
        f"ogbn-arxiv: raw/node-feat.csv.gz is missing; put it in {folder} by hand, "
        "from https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"
    )


@pytest.mark.usefixtures("no_network")
def test_all_missing_files_are_named_at_once(tmp_path):
    folder = ogb_samples.write_arxiv(tmp_path)
    for name in ("raw/edge.csv.gz", "split/time/valid.csv.gz"):
        (folder / name).unlink()
    with pytest.raises(InputError) as refusal:
        ogb.load("ogbn-arxiv", tmp_path)
    assert "raw/edge.csv.gz, split/time/valid.csv.gz are missing; put them in" in str(refusal.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("write", "name"), [(ogb_samples.write_arxiv, "ogbn-arxiv"), (ogb_samples.write_mag, "ogbn-mag")]
)
def test_another_graph_is_not_taken_for_the_published_one(tmp_path, cache, write, name):
    folder = write(tmp_path)
    assert ogb.load(name, tmp_path).source == f"generated in the layout of the Open Graph Benchmark, in {folder}"
    (folder / "SYNTHETIC.txt").unlink()
    what = {"ogbn-arxiv": "6 nodes (published: 169,343)", "ogbn-mag": "3 author nodes (published: 1,134,649)"}[name]
    with pytest.raises(InputError) as refusal:
        ogb.load(name, tmp_path)
    assert what in str(refusal.value)
    assert re.fullmatch(
        f"{folder}: [^;\n]*; expected the files of the published {name}, or a file SYNTHETIC.txt there that says what "
        "it is",
        str(refusal.value),
    )


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("change", [{}, {"nodes": 7}, {"edges": 5}, {"train nodes": 3}, {"test nodes": 1}])
def test_every_total_is_compared(tmp_path, monkeypatch, change):
    monkeypatch.setitem(
        ogb.PUBLISHED, "ogbn-arxiv", dict(zip(ogb.PUBLISHED["ogbn-arxiv"], (6, 4, 2, 1, 2), strict=True)) | change
    )
    folder = ogb_samples.write_arxiv(tmp_path)
    (folder / "SYNTHETIC.txt").unlink()
    if change:
        ((what, count),) = change.items()
        with pytest.raises(InputError, match=rf" {what} \(published: {count}\); expected the files of the published"):
            ogb.load("ogbn-arxiv", tmp_path)
    else:
        ogb.load("ogbn-arxiv", tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("first", ["published", "others"])
def test_features_that_are_not_the_published_ones_are_said_to_be(tmp_path, monkeypatch, caplog, first):
    monkeypatch.setitem(ogb.PUBLISHED, "ogbn-arxiv", {})
    monkeypatch.delitem(ogb.CONTENT, "ogbn-arxiv")
    folder = ogb_samples.write_arxiv(tmp_path)
    (folder / "SYNTHETIC.txt").unlink()
    if first == "published":
        table = ogb_samples.features(6)
        table[0, [0, 1, 2, 125, 126, 127]] = [-0.057943, -0.052530, -0.072603, 0.173403, -0.172796, -0.140111]
        write_lines(folder / "raw" / "node-feat", table)
    url = "https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"
    source = f"Open Graph Benchmark (arXiv 2005.00687, {url}), split by year"
    for _ in range(2):
        dataset = ogb.load("ogbn-arxiv", tmp_path)
        other = first == "others"
        assert dataset.source == source + "; stand-in features, not the published ones" * other
    line = "ogbn-arxiv: the features are not the published ones; results on them are none on ogbn-arxiv"
    assert caplog.messages == [line] * 2 * (first == "others")


@pytest.mark.usefixtures("no_network")
def test_a_folder_from_another_archive_is_refused(tmp_path):
    folder = ogb_samples.write_arxiv(tmp_path)
    record = folder / "archive.sha256"
    record.write_text(f"{ogb.SHA256['ogbn-arxiv']}  arxiv.zip\n")
    assert ogb.load("ogbn-arxiv", tmp_path).num_nodes == 6
    for content in (f"{'0' * 64}  arxiv.zip\n", "", "\xff"):
        record.write_text(content, "latin-1")
        with pytest.raises(
            InputError, match=f"^{record}: this folder was unpacked from an archive of SHA-256"
        ) as refusal:
            ogb.load("ogbn-arxiv", tmp_path)
        assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("count", ["9" * 5000, "٣", str(2**31), "2000000000", "-1", "1.0"])
def test_a_count_that_no_graph_has_is_refused(tmp_path, count):
    folder = ogb_samples.write_mag(tmp_path)
    path = folder / "raw" / "num-node-dict"
    write_lines(path, [list(ogb_samples.COUNTS), [count, 2, 2, 6]])
    with pytest.raises(InputError, match=f"^{path}.csv.gz: (number of author nodes is '|announces .* nodes; expected)"):
        ogb.load("ogbn-mag", tmp_path)


def test_a_missing_folder_is_fetched(tmp_path, monkeypatch):
    def fetch(url, folder, sha256):
        assert (url, folder) == ("https://snap.stanford.edu/ogb/data/nodeproppred/mag.zip", tmp_path / "ogb/ogbn_mag")
        ogb_samples.write_mag(tmp_path)

    monkeypatch.setattr("abkd_jax.datasets.ogb_files.fetch_zip", fetch)
    assert ogb.load("ogbn-mag", tmp_path).num_nodes == 13


@pytest.mark.parametrize("shown_from", [0, 10**6])
def test_the_progress_of_large_files_is_in_the_log(tmp_path, monkeypatch, capsys, caplog, shown_from):
    monkeypatch.setattr(csv_gz, "SHOWN_FROM", shown_from)
    ogb_samples.write_arxiv(tmp_path)
    with caplog.at_level(logging.INFO):
        ogb.load("ogbn-arxiv", tmp_path)
    assert capsys.readouterr().out == ""
    assert any(line.startswith("node-feat.csv.gz:") for line in caplog.messages) == (shown_from == 0)


def test_a_table_in_chunks_is_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_gz, "CHUNK_NUMBERS", 256)  # two rows of features at a time
    ogb_samples.write_arxiv(tmp_path)
    np.testing.assert_array_equal(ogb.load("ogbn-arxiv", tmp_path).features, np.float32(ogb_samples.features(6)))


def test_without_pandas_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    ogb_samples.write_arxiv(tmp_path)
    with pytest.raises(InputError, match=r"^\.csv\.gz tables need pandas, .*: pip install 'abkd_jax\[data\]'$"):
        ogb.load("ogbn-arxiv", tmp_path)
