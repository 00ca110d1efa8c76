"""What the labels of a user's own graph are: classes that are held as floats, and targets that are whole numbers."""

import json

import numpy as np
import pytest
from neutral_samples import N, arrays, columns_of, differences, graph_arrays, read, write_tables

from abkd_jax import datasets
from abkd_jax.datasets import user
from abkd_jax.datasets.neutral.labels import look_like_classes
from abkd_jax.types import InputError

PLACE = np.arange(N)
MISSING = np.where(PLACE < 10, PLACE % 3, np.nan)
SPLIT = np.where(PLACE < 10, np.array(["train", "train", "val", "test"])[PLACE % 4], "none")


def of_tables(folder, form, labels, meta=None):
    nodes, edges = columns_of(arrays())
    write_tables(folder, form, nodes=nodes | {"label": labels, "split": SPLIT}, edges=edges)
    if meta is not None:
        (folder / "meta.json").write_text(json.dumps(meta))
    return user.load(folder)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["Int64", "float64", "float32", "Float64"])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_classes_of_tables_are_the_same_in_every_type(tmp_path, form, kind, first):
    """`0`, `0.0` and nullable integers, with empty cells: classes, numbered and named as those of whole numbers."""
    pandas = pytest.importorskip("pandas")
    found = of_tables(tmp_path / "mine", form, pandas.Series(MISSING + first).astype(kind))
    whole = np.where(PLACE < 10, PLACE % 3 + first, -1)
    assert differences(found, read(arrays(labels=whole, split=SPLIT))) == []
    assert (found.task, found.num_classes) == ("classification", 3)


def test_the_smallest_table(tmp_path):
    """Four nodes: `0.0,1.0,,2.0` is the table that `0,1,,2` is."""
    (tmp_path / "edges.csv").write_text("source,target\n0,1\n")
    found = []
    for labels in ("0,1,,2", "0.0,1.0,,2.0", "0,1.0,NaN,2"):
        parts = zip(range(4), labels.split(","), ("train", "val", "none", "test"), strict=True)
        rows = "".join(f"{number},{label},{part},{number}\n" for number, label, part in parts)
        (tmp_path / "nodes.csv").write_text("id,label,split,x\n" + rows)
        found.append(user.load(tmp_path))
    assert found[0].labels.tolist() == [0, 1, -1, 2]
    assert [differences(found[0], other) for other in found[1:]] == [[], []]


TEXT = {
    "leading zeros": (["01", "02"], ("01", "02")),
    "beside the number": (["01", "1"], ("01", "1")),
    "underscores": (["1_0", "10"], ("10", "1_0")),
    "exponents": (["1e3", "1000"], ("1000", "1e3")),
    "infinite": (["inf", "2"], ("2", "inf")),
    "halves": ([" 7.0", "+8"], ("7", "8")),
}


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("meta", [None, {"task": "classification"}])
def test_text_that_could_be_a_number_names_a_class(tmp_path, name, meta):
    labels, classes = TEXT[name]
    found = of_tables(tmp_path / "mine", "csv", np.append(np.array(labels)[PLACE[:-2] % 2], ["", ""]), meta)
    assert found.classes == classes
    assert found.labels.tolist() == [
        *[classes.index(labels[k % 2].strip(" +").removesuffix(".0")) for k in range(10)],
        -1,
        -1,
    ]


def test_targets_of_tables_may_have_exponents(tmp_path):
    found = of_tables(tmp_path / "mine", "csv", [f"{place}.5e3" for place in PLACE])
    np.testing.assert_array_equal(found.labels[:, 0], 1000 * PLACE + 500)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_stated_task_of_a_table_is_kept(tmp_path, form):
    counts = of_tables(tmp_path / "targets", form, MISSING, {"task": "regression"})
    np.testing.assert_array_equal(counts.labels[:, 0], MISSING.astype(np.float32))
    pandas = pytest.importorskip("pandas")
    nullable = of_tables(tmp_path / "nullable", form, pandas.Series(MISSING).astype("Int64"), {"task": "regression"})
    assert differences(counts, nullable) == []
    assert of_tables(tmp_path / "classes", form, MISSING, {"task": "classification"}).labels[9:].tolist() == [0, -1, -1]


@pytest.mark.parametrize("of_graphs", [False, True])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("top", [1, 2])
def test_floats_that_may_be_classes_need_a_task(of_graphs, shape, top):
    sample = graph_arrays if of_graphs else arrays
    place = np.arange(4 if of_graphs else N)
    labels = np.minimum(place % 3, top).astype(np.float64).reshape(shape)
    if top == 1 and len(shape) == 2:  # a matrix of 0 and 1 says what it is
        assert read(sample(labels=labels)).task == "multilabel"
        return
    with pytest.raises(ValueError, match=r"may be classes or targets; expected integers \[n\].*'classification', '"):
        read(sample(labels=labels))
    assert read(sample(labels=labels, task="classification")).labels.tolist() == labels.reshape(-1).tolist()
    np.testing.assert_array_equal(read(sample(labels=labels, task="regression")).labels, labels.reshape(-1, 1))


def test_one_target_with_a_name_is_a_target():
    labels = (PLACE % 3).astype(float)[:, None]
    assert read(arrays(labels=labels, classes=["charge"])).task == "regression"


LOOKS = {
    "a class missing": ([0, 1, np.nan, 2], True),
    "unknown as -1": ([-1, 0, 1], True),
    "with gaps": ([3, 3, 8, 8], True),
    "seventy classes": (np.tile(np.arange(70), 5), True),
    "counts of many values": (np.arange(1000) // 5, False),
    "a value each": ([12, 7, 40, 3], False),
    "halves": ([0, 0.5, 1, 1, 0, 0.5], False),
    "below -1": ([-2, 0, 1, -2, 0, 1], False),
    "infinite": ([np.inf, np.inf, 0, 0], False),
    "huge": ([1e12, 1e12, 0, 0], False),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_looks_like_classes(name):
    values, expected = LOOKS[name]
    assert look_like_classes(np.array(values, np.float64)) is expected


def test_tensors_of_classes_as_floats_need_a_task():
    torch, pyg = pytest.importorskip("torch"), pytest.importorskip("torch_geometric.data")
    labels = torch.arange(3).repeat(100)
    data = pyg.Data(x=torch.ones(300, 2), edge_index=torch.tensor([[0], [1]]), y=labels.float())
    with pytest.raises(InputError, match=r"graph: labels .* may be classes or targets"):
        datasets.from_pyg(data, rng=np.random.default_rng(0))
    found = datasets.from_pyg(data, rng=np.random.default_rng(0), task="classification")
    data.y = labels
    assert differences(found, datasets.from_pyg(data, rng=np.random.default_rng(0))) == []
    graphs = [
        pyg.Data(x=torch.ones(2, 1), edge_index=data.edge_index, y=torch.tensor([float(k % 2)])) for k in range(9)
    ]
    with pytest.raises(InputError, match="'classification', 'multilabel'"):
        datasets.from_pyg(graphs, rng=np.random.default_rng(0))
