"""Tables of predictions: nodes by their names, columns by those of the classes, files that are whole or not there."""

import numpy as np
import pytest

from abkd_jax.inference.predictions import Predictions, named_nodes, rows_named, to_csv, write
from abkd_jax.types import InputError

IDS = np.array(["paper, first", "b", "a"])
TABLE = Predictions(IDS, np.array([[0.25, 0.75], [1.0, 0.0], [0.1, 0.9]], np.float32), ("cat", "dog"), True)


def test_csv_has_the_names_of_nodes_and_classes():
    assert to_csv(TABLE).splitlines() == [
        "node,predicted,cat,dog",
        '"paper, first",dog,0.25,0.75',
        "b,cat,1,0",
        "a,dog,0.100000001,0.899999976",
    ]
    assert to_csv(TABLE._replace(one_class=False)).splitlines()[0] == "node,cat,dog"
    assert to_csv(Predictions(IDS[:0], np.zeros((0, 2)), ("cat", "dog"), True)) == "node,predicted,cat,dog\n"


def test_labels_called_as_other_columns_have_names_of_their_own(tmp_path):
    pandas = pytest.importorskip("pandas")
    for one_class, names, headings in (
        (True, ("node", "predicted"), ["node", "predicted", "label_node", "label_predicted"]),
        (False, ("node", "predicted"), ["node", "label_node", "predicted"]),
        (False, ("label_node", "node"), ["node", "label_node", "label_label_node"]),
    ):
        table = TABLE._replace(names=names, one_class=one_class)
        assert to_csv(table).splitlines()[0].split(",") == headings
        write(tmp_path / "out.parquet", table)
        found = pandas.read_parquet(tmp_path / "out.parquet")
        assert list(found) == headings
        assert found["node"].tolist() == IDS.tolist()
        np.testing.assert_array_equal(found[headings[-2:]], table.values)


def test_rows_are_found_by_name_in_any_order():
    assert rows_named(["a", "paper, first", "a"], IDS, 3).tolist() == [2, 0, 2]
    assert rows_named(["70", "-5"], np.array([10, -5, 70]), 3).tolist() == [2, 1]
    assert rows_named(["2", "0"], None, 3).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["c"], IDS, "nodes: no node c in the graph, expected an identifier such as paper, first"),
        (["11"], np.array([10, 20]), "nodes: no node 11 in the graph, expected an identifier such as 10"),
        (["3"], None, "nodes: no node 3 in the graph, expected 0 to 2"),
        (["1.5"], None, "nodes: '1.5' is none, expected whole numbers"),
        (["9" * 30], None, "nodes: no node 9{30} in the graph, expected 0 to 2"),
    ],
    ids=["a name", "a number", "a row", "no number", "a large number"],
)
def test_a_node_that_is_not_there_is_named(names, ids, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        rows_named(names, ids, 3)


def test_nodes_are_words_or_those_of_a_file(tmp_path):
    path = tmp_path / "nodes"
    path.write_text("b, a\nb\n")
    assert named_nodes([str(path)]) == ["b", "a", "b"]
    assert named_nodes(["b", "a"]) == ["b", "a"]
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputError, match="expected a text file of nodes, one a line"):
        named_nodes([str(path)])


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    write(path, TABLE)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("abkd_jax.inference.predictions.write_atomic", full)
    with pytest.raises(InputError, match=r"out\.csv cannot be written: No space left on device$"):
        write(path, TABLE._replace(ids=IDS[::-1]))
    assert path.read_bytes() == before
