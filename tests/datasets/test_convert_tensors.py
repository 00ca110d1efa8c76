"""Tensors and columns of other kinds: sparse, bfloat16, with gradients, transposed adjacency, batches, objects."""

import numpy as np
import pytest
import scipy.sparse as sp
from converter_samples import hetero, pyg, torch
from neutral_samples import differences
from numpy.testing import assert_array_equal
from torch_geometric.transforms import ToSparseTensor

from abkd_jax import datasets
from abkd_jax.datasets.convert.arrays import to_numpy
from abkd_jax.types import InputError

THIRDS = [np.arange(6) % 3 == part for part in range(3)]
EDGES = torch.tensor([[0, 0, 3, 4, 5], [1, 2, 2, 0, 4]])
WEIGHTS = torch.tensor([0.5, 2.0, 3.0, 1.0, 4.0])

pytestmark = pytest.mark.filterwarnings("ignore:Sparse")  # PyTorch on its CSR tensors, once in a process


class OfTorchSparse:
    """What `torch_sparse.SparseTensor` offers: entries by row, without values where all are 1."""

    def __init__(self, rows, columns, values, sizes):
        self._parts, self._sizes = (rows, columns, values), sizes

    def coo(self):
        return self._parts

    def sparse_sizes(self):
        return self._sizes


def graph(**fields):
    given = {"x": torch.arange(12.0).reshape(6, 2), "y": torch.arange(6) % 2, "edge_index": EDGES} | fields
    return pyg.Data(**{key: value for key, value in given.items() if value is not None})


def read(data, masks=THIRDS, **options):
    return datasets.from_pyg(data, masks, **options)


def edges_of(found):
    weights = np.ones(found.senders.size) if found.edge_weights is None else found.edge_weights
    return sorted(zip(found.senders.tolist(), found.receivers.tolist(), weights.tolist(), strict=True))


# Features ------------------------------------------------------------------------------------------------------------

DENSE = torch.tensor([[0, 1.5], [0, 0], [2, 0], [0, 0], [0.25, 3], [0, 0]])
SPARSE = {
    "COO": lambda: DENSE.to_sparse(),
    "CSR": lambda: DENSE.to_sparse_csr(),
    "bfloat16": lambda: DENSE.bfloat16().to_sparse(),
    "with gradient": lambda: DENSE.clone().requires_grad_().to_sparse(),
    "repeated entries": lambda: torch.sparse_coo_tensor(
        torch.tensor([[0, 0, 2, 4, 4], [1, 1, 0, 0, 1]]), torch.tensor([1, 0.5, 2, 0.25, 3]), (6, 2)
    ),
    "torch_sparse": lambda: OfTorchSparse(*DENSE.nonzero().T, DENSE[DENSE != 0], (6, 2)),
    "SciPy": lambda: sp.csr_matrix(DENSE.numpy()),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_features_become_csr(kind):
    for labelled in (True, False):
        found = read(graph(x=SPARSE[kind]()), THIRDS if labelled else None, labelled=labelled)
        assert isinstance(found.features, sp.csr_matrix)
        assert (found.features.dtype, found.features.nnz) == (np.float32, 4)
        assert_array_equal(found.features.toarray(), DENSE.numpy())


def test_sparse_features_of_pytorch_beside_a_matrix_of_scipy():
    found = datasets.from_scipy(sp.eye_array(6, k=1), DENSE.to_sparse(), np.arange(6) % 2, THIRDS)
    assert_array_equal(found.features.toarray(), DENSE.numpy())


def test_numbers_of_bfloat16_and_tensors_with_gradient_are_read():
    found = read(graph(x=DENSE.bfloat16(), edge_weight=WEIGHTS.bfloat16().requires_grad_()))
    assert_array_equal(found.features, DENSE.numpy())  # all of them have few digits
    assert_array_equal(found.edge_weights, WEIGHTS.numpy())
    jnp = pytest.importorskip("jax.numpy")
    assert_array_equal(to_numpy(jnp.array([0.5, 3.0], jnp.bfloat16)), np.array([0.5, 3.0], np.float32), strict=True)


def test_sparse_features_of_types_are_refused():
    data = hetero()
    data["paper"].x = data["paper"].x.to_sparse()
    with pytest.raises(InputError, match="x: a sparse Tensor; expected a dense one"):
        datasets.from_pyg(data)


# Edges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_of_a_transposed_adjacency_receive(layout, weighted):
    data = ToSparseTensor(layout=layout)(graph(edge_weight=WEIGHTS if weighted else None))
    assert "edge_index" not in data
    found = read(data, directed=True)
    weights = WEIGHTS.tolist() if weighted else [1.0] * 5
    assert edges_of(found) == sorted(zip(*EDGES.tolist(), weights, strict=True))
    assert (found.edge_weights is not None) == weighted


@pytest.mark.parametrize("values", [None, WEIGHTS])
def test_a_transposed_adjacency_of_torch_sparse(values):
    found = read(graph(edge_index=None, adj_t=OfTorchSparse(EDGES[1], EDGES[0], values, (6, 6))), directed=True)
    assert edges_of(found) == edges_of(read(graph(edge_weight=values), directed=True))


def test_transposed_adjacencies_of_types_and_of_many_graphs():
    expected = datasets.from_pyg(hetero())
    found = datasets.from_pyg(ToSparseTensor()(hetero()))
    kept = [sorted(zip(f.senders, f.receivers, f.relations, strict=True)) for f in (found, expected)]
    assert kept[0] == kept[1]
    assert found.schema == expected.schema
    graphs = [graph(y=torch.tensor([number % 2])) for number in range(6)]
    made = [read([ToSparseTensor()(part) if sparse else part for part in graphs]) for sparse in (True, False)]
    ends = [sorted(zip(f.senders, f.receivers, np.repeat(np.arange(6), f.n_edge), strict=True)) for f in made]
    assert ends[0] == ends[1]


# Whole graphs, masks, text and draws ---------------------------------------------------------------------------------


def test_a_batch_is_its_graphs():
    graphs = [graph(y=torch.tensor([number % 2])) for number in range(6)]
    assert differences(read(pyg.Batch.from_data_list(graphs)), read(graphs)) == []
    empty = read(pyg.Batch.from_data_list(graphs), None, labelled=False)
    assert (empty.n_node.tolist(), empty.num_outputs) == ([6] * 6, 1)


def test_a_batch_with_labels_of_nodes_is_one_graph():
    masks = [np.tile(mask, 2) for mask in THIRDS]
    found = read(pyg.Batch.from_data_list([graph(), graph()]), masks, directed=True)
    assert (found.labels.tolist(), found.num_classes) == ([0, 1] * 6, 2)
    assert found.senders.tolist() == [*EDGES[0].tolist(), *(EDGES[0] + 6).tolist()]


def test_weights_of_one_are_none_in_a_list_too():
    graphs = [graph(y=torch.tensor([number % 2]), edge_weight=torch.ones(5)) for number in range(6)]
    assert read(graphs).edge_features is None


def test_masks_of_types_are_of_the_labelled_nodes():
    masks = [torch.arange(3) == place for place in (2, 0, 1)]
    found = datasets.from_pyg(hetero(), masks)
    assert [np.flatnonzero(mask).tolist() for mask in (found.train_mask, found.val_mask, found.test_mask)] == [
        [4],
        [2],
        [3],
    ]


TEXT = ["a", "b", None, "b", "a", "b"]


def test_text_in_objects_is_text():
    pandas = pytest.importorskip("pandas")
    masks = [mask & (np.arange(6) != 2) for mask in THIRDS]
    known = [label for label in TEXT if label]
    for labels in (TEXT, np.array(TEXT, object), pandas.Series(TEXT), pandas.Series(TEXT, dtype="category")):
        found = read(graph(y=labels), masks)
        assert (found.labels.tolist(), found.classes) == ([0, 1, -1, 1, 0, 1], ("a", "b"))
    assert to_numpy(pandas.Series(known)).tolist() == known


def test_text_of_one_type_leaves_the_nodes_of_others_unlabelled():
    data = hetero()
    data["paper"].y = ["long", "b", "b"]
    found = datasets.from_pyg(data)
    assert (found.labels.tolist(), found.classes) == ([-1, -1, 1, 0, 0, -1], ("b", "long"))


def test_numbers_in_objects_are_numbers():
    pandas = pytest.importorskip("pandas")
    whole = to_numpy(np.array([3, 1, np.int8(2)], object))
    assert (whole.dtype.kind, whole.tolist()) == ("i", [3, 1, 2])
    missing = to_numpy(pandas.array([3, None, 2], dtype="Int64"))
    assert_array_equal(missing, [3, np.nan, 2])
    mixed = pandas.DataFrame({"age": [1, 2], "tall": [True, False]})
    assert_array_equal(to_numpy(mixed), [[1.0, 1.0], [2.0, 0.0]])
    assert to_numpy(np.array(["a", 1], object)).dtype.kind == "O"


def test_one_hot_columns_are_labels_where_the_task_says_so():
    labels, masks = np.eye(2)[np.arange(7) % 2], [np.append(mask, False) for mask in THIRDS]
    given = sp.eye_array(7, k=1), np.eye(7)
    found = datasets.from_scipy(*given, labels, masks, task="multilabel")
    assert (found.task, found.num_classes) == ("multilabel", 2)
    labels[6] = np.nan, 1  # a row with one unknown label is of several labels
    assert datasets.from_scipy(*given, labels, masks).task == "multilabel"
    labels[6] = np.nan  # an unlabelled row is of neither
    with pytest.raises(InputError, match=r"labels \(7, 2\) hold a single 1 in each row"):
        datasets.from_scipy(*given, labels, masks)


def test_a_whole_number_is_the_seed_of_the_draw():
    given = sp.eye(200), sp.eye(200), np.arange(200) % 2
    first, second = (datasets.from_scipy(*given, rng=rng) for rng in (3, np.random.default_rng(3)))
    assert_array_equal(first.train_mask, second.train_mask)
    assert first.source == "own graph, from SciPy, split seed 3"
