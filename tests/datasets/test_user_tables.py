"""A user's own graph as csv and parquet tables, written by hand and by pandas."""

import json

import numpy as np
import pytest
from neutral_samples import MASKS, N, arrays, columns_of, differences, graph_arrays, read, write_tables

from abkd_jax.datasets import user

NODES = """id,type,label,split,x,y
p7,paper,graphs,train,1,0.5
ann,person,,none,,
p9,paper,trees,train,2,1e-3
p11,paper,graphs,val,3,0
p8,paper,trees,test,4,0
"""
EDGES = """source,target,relation,weight
p7,p9,cites,1
ann,p7,writes,2.5
ann,p9,writes,1
p8,p11,cites,1
"""


def test_tables_by_hand(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "nodes.csv").write_text(NODES)
    (folder / "edges.csv").write_text(EDGES)
    dataset = user.load(folder)
    assert dataset.name == "papers"
    assert dataset.node_ids.tolist() == ["p7", "p9", "p11", "p8", "ann"]
    assert dataset.classes == ("graphs", "trees")
    assert dataset.labels.tolist() == [0, 1, 0, 1, -1]
    assert dataset.schema == (("paper", "person"), ("cites", "writes"), (2, 3))
    np.testing.assert_array_equal(dataset.features, np.float32([[1, 0.5], [2, 1e-3], [3, 0], [4, 0]]))
    assert dataset.node_ids[dataset.senders].tolist() == ["p7", "ann", "ann", "p8"]
    assert dataset.edge_weights.tolist() == [1, 2.5, 1, 1]
    assert [path.name for path in user.files(folder)] == ["nodes.csv", "edges.csv"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("kind", [bool, int, float])
def test_masks_in_tables_are_the_split(tmp_path, form, kind):
    nodes, edges = columns_of(arrays())
    masks = {name: mask.astype(kind) for name, mask in MASKS.items()}
    folder = write_tables(tmp_path / "mine", form, nodes=nodes | masks | {"label": arrays()["labels"]}, edges=edges)
    assert differences(user.load(folder), read(arrays())) == []


def test_masks_of_graphs_are_in_their_table(tmp_path):
    sample = graph_arrays()
    nodes, _ = columns_of(arrays(features=sample["features"]))
    edges = {"source": sample["edges"][:, 0], "target": sample["edges"][:, 1]}
    masks = {name: np.isin(sample["split"], part) for part, name in enumerate(MASKS)}
    graphs = {"id": np.arange(4), "label": sample["labels"], **masks}
    tables = {"nodes": nodes | {"graph": sample["graph_ids"]}, "edges": edges, "graphs": graphs}
    assert differences(user.load(write_tables(tmp_path / "mine", "csv", **tables)), read(sample)) == []
    bare = user.load(write_tables(tmp_path / "bare", "csv", **tables | {"graphs": {"id": range(4)}}), labelled=False)
    assert (bare.n_node.tolist(), np.isnan(bare.labels).all()) == ([3, 3, 3, 3], True)


def test_text_with_missing_cells_is_read_from_every_type_of_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    nodes, edges = columns_of(arrays())
    labels = np.where(np.arange(N) < 11, np.array(["b", "a"])[np.arange(N) % 2], None)
    nodes["split"] = np.append(arrays()["split"][:11], None)
    expected = None
    for kind in (object, "string", "category"):
        nodes["label"] = pandas.Series(labels).astype(kind)
        found = user.load(write_tables(tmp_path / str(kind), "parquet", nodes=nodes, edges=edges))
        assert found.classes == ("a", "b")
        assert found.labels[-1] == -1
        assert expected is None or differences(found, expected) == []
        expected = found


def test_numbers_that_are_text_in_one_table_are_text_in_all(tmp_path):
    (tmp_path / "nodes.csv").write_text("id,label,split,x\n1,0,train,1\n02,1,val,1\n3,0,test,1\n")
    (tmp_path / "edges.csv").write_text("source,target\n1,02\n3,1\n")
    (tmp_path / "meta.json").write_text(json.dumps({"directed": True, "classes": ["no", "yes"]}))
    dataset = user.load(tmp_path)
    assert dataset.node_ids.tolist() == ["1", "02", "3"]
    assert dataset.senders.tolist() == [0, 2]
    assert dataset.directed
    assert dataset.classes == ("no", "yes")
