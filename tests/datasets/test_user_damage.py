"""Damaged and foreign inputs of every form of a user's graph: one clear line each, and nothing written."""

import sys
import zipfile

import numpy as np
import pytest
from damage import damages_of
from neutral_samples import N, arrays, graph_arrays

from abkd_jax.datasets import user
from abkd_jax.datasets.neutral.folder import save_folder
from abkd_jax.datasets.neutral.npz import save_npz
from abkd_jax.types import InputError


def refused(path, message):
    """Reads a path that must be refused in one line that begins with it, or the name of the data set."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputError, match=message) as refusal:
        user.load(path)
    line = str(refusal.value)
    assert "\n" not in line
    assert line.startswith((str(path), f"{path.stem}: "))
    assert sorted(path.parent.rglob("*")) == before


RING = np.arange(N)
ARRAYS = {
    "no edges": ({"senders": None, "receivers": None}, r"no edges; expected edges \[e, 2\], or senders"),
    "two edge lists": ({"edges": np.zeros((1, 2), int)}, "edges, senders, receivers; expected edges"),
    "edges in two rows": (
        {"senders": None, "receivers": None, "edges": np.zeros((2, 9), int)},
        r"edges has shape \(2, 9\); expected \(e, 2\), one pair for each edge: transpose it",
    ),
    "ends of another length": ({"senders": RING[:3]}, r"receivers has shape \(13,\); expected \(3,\)"),
    "an end outside": (
        {"senders": np.append(RING, N)},
        r"senders: 1 are no node \(first: edge 12, 12\); expected node",
    ),
    "half an end": ({"senders": np.append(RING, 0.5)}, r"senders holds 0.5 at \[12\]; expected whole numbers"),
    "an unknown identifier": (
        {"node_ids": RING + 7},
        r"senders: 8 are no node \(first: edge 0, 0\); expected identifiers in node_ids",
    ),
    "text for numbers": (
        {"senders": np.append(RING, 0).astype(str)},
        "senders holds text and node_ids none",
    ),
    "a repeated identifier": ({"node_ids": RING // 2}, "node_ids holds 0 more than once"),
    "no labels": ({"labels": None}, "no labels; expected one for each node"),
    "labels of too few nodes": ({"labels": RING[:5] % 2}, r"labels has shape \(5,\); expected \(12,\) or \(12, k\)"),
    "a class without a name": ({"classes": ["a"]}, "labels reach 1; expected numbers below 1"),
    "fewer classes than stated": (
        {"labels": np.array(["b", "a"])[RING % 2], "num_classes": 5},
        "num_classes is 5; expected 2, as many as labels and classes have, or classes, the names of all",
    ),
    "fewer names than stated": ({"classes": ["a", "b"], "num_classes": 5}, "num_classes is 5; expected 2"),
    "fewer columns than stated": ({"labels": np.eye(3)[RING % 3] / 2, "num_classes": [5]}, r"is \[5\]; expected 3"),
    "one class": ({"labels": np.zeros(N, int)}, "num_classes is 1; expected at least 2"),
    "an unknown task": (
        {"task": "ranking"},
        "task is 'ranking'; expected one of classification, multilabel",
    ),
    "classes below -1": ({"labels": RING % 5 - 2}, "labels hold -2; expected classes from 0 on, -1 where unknown, or"),
    "floats below -1": ({"labels": RING % 5 - 2.0, "task": "classification"}, "labels hold -2.0; expected classes"),
    "named classes below -1": ({"labels": RING % 3 - 2, "classes": ["a", "b"]}, "labels hold -2; expected classes"),
    "half a class": ({"labels": RING / 2, "task": "classification"}, "labels holds 0.5"),
    "no features": ({"features": None}, r"no features; expected features \[n, f\], or node_types"),
    "rows of too few nodes": ({"features": np.ones((5, 2))}, "features has 5 rows; expected 12"),
    "features of one axis": ({"features": np.ones(N)}, r"features has shape \(12,\); expected \(n, f\)"),
    "text as features": ({"features": np.full((N, 1), "1")}, "features holds <U1; expected numbers"),
    "complex features": ({"features": np.ones((N, 1), complex)}, "features holds complex128; expected numbers"),
    "numbers that float32 rounds": ({"features": np.full((N, 1), 2**24 + 1)}, "integers beyond 16777216"),
    "beyond float32": ({"features": np.full((N, 1), 1e300)}, "features of 12 of 12 nodes are NaN or infinite"),
    "a part of a csr matrix": ({"features_data": np.ones(3)}, "features_data; expected features, or all of"),
    "rows that are not divided": ({"row_normalised": True}, "row_normalised: row 1 of the features adds up to 2"),
    "two masks": ({"split": None, "train_mask": RING == 0, "val_mask": RING == 1}, "train_mask, val_mask alone"),
    "masks and a split": ({"train_mask": RING == 0}, "train_mask, split alone; expected all of"),
    "a mask of twos": (
        {"split": None, "train_mask": RING, "val_mask": RING, "test_mask": RING},
        "train_mask holds 2; expected booleans",
    ),
    "an unknown part": ({"split": np.full(N, "dev")}, "split holds 'dev'; expected one of train, val"),
    "no tests": ({"split": np.array(["train", "val"])[RING % 2]}, "test_mask selects none of the 12 nodes"),
    "classes too small for a split": ({"split": None}, "class 0 has 6 nodes.*expected larger classes, or masks"),
    "a weight of zero": ({"edge_weights": np.zeros(N + 1)}, "13 edge weights out of range"),
    "features of some papers": (
        {"node_types": np.array(["paper", "person"])[RING % 2], "features": np.ones((6, 1))},
        "features: 3 of 6 nodes of type 'paper' have a row; expected all nodes of a type or none",
    ),
    "an unknown type": (
        {"node_types": RING % 3, "node_type_names": ["a", "b"]},
        "node_types holds 2; expected 0 to 1",
    ),
    "relations of too few edges": ({"relations": RING}, r"relations has shape \(12,\); expected \(13,\)"),
    "a typing error": ({"train_msk": RING == 0}, "unknown array 'train_msk'; did you mean 'train_mask'?"),
    "another layout": ({"adj_data": np.ones(3)}, "unknown array 'adj_data'; .* looks like gnn_benchmark:NAME"),
    "a vocabulary without graphs": ({"vocabulary": [3]}, "vocabulary without graph_ids"),
}

GRAPHS = {
    "an edge between two graphs": ({"edges": np.array([[0, 1]])}, r"1 edges join two graphs \(first: edge 0\)"),
    "labels of too few graphs": ({"labels": [0, 1, 0]}, "graph_ids reach from 0 to 3; expected 0 to 2"),
    "a graph without a node": ({"labels": [0, 1, 0, 1, 0], "split": [0, 0, 1, 2, 2]}, "graph 4 has n_node 0"),
    "graphs with names alone": ({"graph_ids": np.array(list("abcd"))[RING % 4]}, "graph_ids holds text without graphs"),
    "weights": ({"edge_weights": np.ones(8)}, "edge_weights beside graph_ids"),
    "rows to divide": ({"row_normalise": True}, "row_normalise beside graph_ids; expected a graph-level data set"),
    "rows that are divided": (
        {"features": np.full((N, 2), 0.5), "row_normalised": True},
        "row_normalised beside graph_ids; expected a graph-level data set",
    ),
    "a negative category": ({"edge_features": np.full(8, -1)}, "edge_features holds -1 to -1; expected categories"),
    "a category too large": (
        {"edge_features": np.zeros(8, int), "edge_vocabulary": [10**6]},
        "expected categories from 0 to below 10000",
    ),
}


@pytest.mark.parametrize("name", [*ARRAYS, *GRAPHS])
def test_arrays_that_are_wrong(tmp_path, name):
    changes, message = (ARRAYS | GRAPHS)[name]
    given = arrays(**changes) if name in ARRAYS else graph_arrays(**changes)
    np.savez(tmp_path / "mine.npz", **given)
    refused(tmp_path / "mine.npz", message)


def _pickled(path):
    np.savez(path, **arrays(labels=np.array([{}] * N, object)))


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", bytes(2**27))


NPZ = {
    "missing": (lambda path: None, "cannot read this file: No such file"),
    "empty": (lambda path: path.write_bytes(b""), "damaged: .*File is not a zip file"),
    "text": (lambda path: path.write_text("0 1\n1 2\n"), "damaged: .*File is not a zip file"),
    "pickles": (_pickled, "damaged: .*labels.npy has type object, expected numbers or text"),
    "a bomb": (_bomb, "damaged: its arrays take more than 76 MiB"),
    "cut": (lambda path: path.write_bytes(_whole(path)[:400]), "damaged"),
}


def _whole(path):
    np.savez(path, **arrays())
    return path.read_bytes()


@pytest.mark.parametrize("name", NPZ)
def test_npz_files_that_are_wrong(tmp_path, name):
    make, message = NPZ[name]
    make(tmp_path / "mine.npz")
    refused(tmp_path / "mine.npz", message)


def test_other_files(tmp_path):
    (tmp_path / "mine.csv").write_text("source,target\n0,1\n")
    refused(tmp_path / "mine.csv", "expected an npz file, or a folder with edges.csv and nodes.csv")


NODES, EDGES = "id,label,split,x\na,0,train,1\nb,1,val,2\nc,0,test,3\n", "source,target\na,b\nb,c\n"
MASKED = "id,label,train_mask,val_mask,test_mask,x\na,0,1,0,0,1\nb,1,0,1,0,2\nc,0,0,0,1,3\n"


def _indexed(table, name=""):
    """A table with an index in front, as `to_csv` writes it, or as it is once read and written again."""
    header, *rows = table.splitlines()
    return "\n".join([f"{name},{header}", *(f"{number},{row}" for number, row in enumerate(rows))]) + "\n"


TABLES = {
    "no nodes": ({"nodes.csv": None}, r"no nodes.csv \(or .parquet\); expected both"),
    "an empty table": ({"nodes.csv": ""}, "nodes.csv: damaged"),
    "no column id": (
        {"nodes.csv": NODES.replace("id,", "name,")},
        "nodes.csv: no column id; it has name, label",
    ),
    "no columns of ends": ({"edges.csv": "0,1\n"}, "edges.csv: no column source and no target; it has 0, 1"),
    "a column twice": ({"nodes.csv": NODES.replace("split,x", "x,x")}, "'x' more than once"),
    "a word among numbers": ({"nodes.csv": NODES.replace("2\n", "two\n")}, "column 'x' holds .*not numbers"),
    "whole numbers that float32 rounds": (
        {"nodes.csv": "id,label,split,t,x\na,0,train,1700000000,.5\nb,1,val,1700000001,1\nc,0,test,1700000002,2\n"},
        "nodes.csv: column t holds integers beyond 16777216, which float32 rounds; expected smaller ones, or floats",
    ),
    "targets that float32 rounds": (
        {"nodes.csv": "id,label_t,label_x,split,x\na,1700000000,.5,train,1\nb,7,1,val,2\nc,7,2,test,3\n"},
        "nodes.csv: column label_t holds integers beyond 16777216, which float32 rounds",
    ),
    "whole targets that float32 rounds": (
        {"nodes.csv": "id,label_t,label_x,split,x\na,1700000000,5,train,1\nb,7,1,val,2\nc,7,2,test,3\n"},
        "labels holds integers beyond 16777216, which float32 rounds",
    ),
    "features of edges that float32 rounds": (
        {"edges.csv": "source,target,t,x\na,b,1700000000,.5\nb,c,1,1\n"},
        "edges.csv: column t holds integers beyond 16777216",
    ),
    "a line too long": ({"edges.csv": EDGES + "a,c,7\n"}, "edges.csv: damaged"),
    "a line too short": ({"nodes.csv": NODES + "d,0,none\n"}, "features of 1 of 4 nodes are NaN"),
    "an unknown node": ({"edges.csv": EDGES + "a,z\n"}, r"receivers: 1 are no node \(first: edge 2, 'z'\)"),
    "not utf-8": ({"nodes.csv": b"id,label\n\xff,1\n"}, "nodes.csv: damaged"),
    "an unknown part": ({"nodes.csv": NODES.replace("train", "training")}, "split holds 'training'"),
    "two forms": ({"nodes.parquet": ""}, "nodes.csv and nodes.parquet; expected one of them"),
    "graphs and no graph": ({"graphs.csv": "id,label\n0,1\n"}, "nodes.csv: no column graph"),
    "graphs without labels": (
        {"nodes.csv": "id,graph,x\na,0,1\n", "graphs.csv": "id,split\n0,train\n"},
        "graphs.csv: no column label; it has id, split",
    ),
    "an unknown option": ({"meta.json": '{"direction": 1}'}, "meta.json: 'direction'; expected an object of task"),
    "a list as meta": ({"meta.json": "[]"}, "meta.json: 'no object'"),
    "damaged meta": ({"meta.json": "{"}, "meta.json: expected a JSON file"),
    "a nested option": ({"meta.json": '{"classes": [["a"], ["b"]]}'}, r"classes is \[\['a'\], \['b'\]\]"),
    "masks beside a split": (
        {"nodes.csv": MASKED.replace("x\n", "split\n")},
        "train_mask, val_mask, test_mask, split alone; expected all of",
    ),
    "two masks": ({"nodes.csv": MASKED.replace("test_mask", "y")}, "train_mask, val_mask alone"),
    "a mask of twos": ({"nodes.csv": MASKED.replace("1,0,0,1", "2,0,0,1")}, "train_mask holds 2; expected booleans"),
    "half a mask": ({"nodes.csv": MASKED.replace("1,0,0,1", ",0,0,1")}, r"train_mask holds nan at \[0\]"),
    "a word as a mask": ({"nodes.csv": MASKED.replace("1,0,0,1", "yes,0,0,1")}, "'train_mask' holds .*not numbers"),
    "masks of edges": (
        {"edges.csv": "source,target,train_mask\na,b,1\n"},
        "edges.csv: column train_mask; expected it in the table of nodes",
    ),
    "an index": ({"nodes.csv": _indexed(NODES)}, "nodes.csv: column 'Unnamed: 0' is an index .*index=False"),
    "an index of edges": ({"edges.csv": _indexed(EDGES, "Unnamed: 0")}, "edges.csv: column 'Unnamed: 0' is an index"),
    "a comma too many": ({"nodes.csv": NODES.replace("x\n", "x,\n", 1)}, "column 'Unnamed: 4' .* or has no name"),
    "a label and targets": (
        {"nodes.csv": NODES.replace("x\n", "label_2\n", 1)},
        r"nodes.csv: columns label and label_2; expected label alone, or label_\.\.\. alone",
    ),
    "labels of nodes of graphs": (
        {"nodes.csv": NODES.replace(",x", ",graph"), "graphs.csv": "id,label\n1,0\n2,1\n3,0\n"},
        "nodes.csv: column label; expected it in the table of graphs",
    ),
    "targets of nodes of graphs": (
        {"nodes.csv": "id,graph,label_0,x\na,0,1,1\n", "graphs.csv": "id,label\n0,0\n"},
        "nodes.csv: column label_0; expected it in the table of graphs",
    ),
    "features of graphs": (
        {"nodes.csv": "id,graph,x\na,0,1\n", "graphs.csv": "id,label,mass\n0,0,1\n"},
        "graphs.csv: column 'mass'; expected id, label",
    ),
    "a blank type": (
        {"nodes.csv": "id,type,label,split,x\na,,0,train,1\nb,w,1,val,1\n"},
        "nodes.csv: damaged .*column 'type' is blank in row 1",
    ),
    "a blank relation": ({"edges.csv": "source,target,relation\na,b,r\na,b,\n"}, "'relation' is blank in row 2"),
    "no boolean": ({"meta.json": '{"directed": "yes"}'}, "directed is 'yes'; expected true or false"),
}


@pytest.mark.parametrize("name", TABLES)
def test_csv_tables_that_are_wrong(tmp_path, name):
    changes, message = TABLES[name]
    folder = tmp_path / "mine"
    folder.mkdir()
    for file, content in ({"nodes.csv": NODES, "edges.csv": EDGES} | changes).items():
        if content is not None:
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(folder, message)


def _parquet(folder, table, **columns):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(columns).to_parquet(folder / f"{table}.parquet")


PARQUET = {
    "no parquet": (lambda folder: (folder / "nodes.parquet").write_text(NODES), "nodes.parquet: damaged"),
    "cut": (
        lambda folder: (folder / "edges.parquet").write_bytes((folder / "edges.parquet").read_bytes()[:-20]),
        "edges.parquet: damaged",
    ),
    "no ends": (
        lambda folder: _parquet(folder, "edges", a=[0], b=[1]),
        "edges.parquet: no column source and no target",
    ),
    "lists": (
        lambda folder: _parquet(folder, "nodes", id=[0, 1], label=[0, 1], x=[[1.0], [2.0]]),
        "column 'x' holds object, and not numbers",
    ),
    "dates": (
        lambda folder: _parquet(folder, "nodes", id=[0, 1], label=[0, 1], x=np.array([0, 1], "datetime64[s]")),
        "column 'x' holds datetime64",
    ),
    "an index": (
        lambda folder: _parquet(folder, "edges", **{"Unnamed: 0": [0], "source": [0], "target": [1]}),
        "edges.parquet: column 'Unnamed: 0' is an index",
    ),
    "half a node": (lambda folder: _parquet(folder, "edges", source=[0.5], target=[1]), "column 'source' holds 0.5 at"),
    "a relation that is missing": (
        lambda folder: _parquet(folder, "edges", source=[0, 1], target=[1, 2], relation=[np.nan, 1]),
        "column 'relation' holds nan at",
    ),
    "an unknown node": (lambda folder: _parquet(folder, "edges", source=[0], target=[77]), "receivers: 1 are no node"),
    "far more than its bytes": (
        lambda folder: _parquet(folder, "edges", source=np.zeros(5_000_000, int), target=np.zeros(5_000_000, int)),
        "it unpacks to 80000000 bytes",
    ),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_tables_that_are_wrong(tmp_path, tiny, name):
    change, message = PARQUET[name]
    folder = save_folder(tiny, tmp_path / "mine", "parquet")
    change(folder)
    refused(folder, message)


def _weighted(typed):
    ids = np.array(["p1", "p2", "p3", "a1", "a2", "here"])
    return typed._replace(edge_weights=np.float32([1, 2, 3, 4, 5]), node_ids=ids, classes=("yes", "no"))


@pytest.mark.parametrize("form", ["npz", "csv", "parquet"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, typed, form):
    rng = np.random.default_rng(0)
    path = tmp_path / ("mine.npz" if form == "npz" else "mine")
    save_npz(_weighted(typed), path) if form == "npz" else save_folder(_weighted(typed), path, form)
    refusals = set()
    for file in user.files(path):
        whole = file.read_bytes()
        for damage in damages_of(file):
            file.write_bytes(damage(bytearray(whole), rng))
            try:
                user.load(path)
            except InputError as error:
                refusals.add(str(error))
        file.write_bytes(whole)
    assert len(refusals) > 5
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("form", "library", "extra"),
    [("csv", "pandas", "data"), ("parquet", "pandas", "data,parquet"), ("parquet", "pyarrow", "data,parquet")],
)
def test_libraries_that_are_not_installed_are_named(tmp_path, tiny, monkeypatch, form, library, extra):
    folder = save_folder(tiny, tmp_path / "mine", form)
    monkeypatch.setitem(sys.modules, library, None)
    refused(folder, rf"needs {library}, which is not installed: pip install 'abkd_jax\[{extra}\]'")
    with pytest.raises(InputError, match="which is not installed"):
        save_folder(tiny, tmp_path / "another", form)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
