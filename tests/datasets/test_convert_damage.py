"""Converters: what is wrong with a graph of another library is one clear line."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from converter_samples import hetero

from abkd_jax import datasets
from abkd_jax.types import InputError

nx = pytest.importorskip("networkx")
torch = pytest.importorskip("torch")
pyg = pytest.importorskip("torch_geometric.data")

NO_EDGE = torch.zeros(2, 0).long()
THIRDS = [np.arange(6) % 3 == part for part in range(3)]


RING, EYE, PARITY = sp.eye_array(6, k=1), np.eye(6), np.arange(6) % 2


def _scipy(adjacency=RING, features=EYE, labels=PARITY, masks=THIRDS, **options):
    return datasets.from_scipy(adjacency, features, labels, masks, **options)


def _nx(change=lambda graph: None, **options):
    graph = nx.path_graph(6)
    for node, data in graph.nodes(data=True):
        data |= {"x": [1.0, node], "y": node % 2}
    change(graph)
    return datasets.from_networkx(graph, **({"masks": THIRDS} | options))


def _pyg(options=None, **fields):
    given = {"x": torch.eye(6), "y": torch.arange(6) % 2, "edge_index": torch.tensor([[0, 1], [1, 2]])} | fields
    return datasets.from_pyg(pyg.Data(**given), **({"masks": THIRDS} | (options or {})))


def _types(change):
    data = hetero()
    change(data)
    return datasets.from_pyg(data)


def _graph(**fields):
    return pyg.Data(**({"x": torch.ones(2, 1), "edge_index": torch.tensor([[0], [1]])} | fields))


def _graphs_of(*labels, **fields):
    return datasets.from_pyg([_graph(y=label, **fields) for label in labels], rng=np.random.default_rng(0))


def _jraph(labels=PARITY, masks=THIRDS, **fields):
    tuples = datasets.to_jraph(_scipy())._replace(**fields)
    return datasets.from_jraph(tuples, labels, masks)


def _without(graph, node, key):
    del graph.nodes[node][key]


REFUSED = {
    "scipy: no matrix": (lambda: _scipy("text"), "adjacency"),
    "scipy: not square": (lambda: _scipy(sp.eye_array(6, 7)), r"adjacency has shape \(6, 7\); expected as many rows"),
    "scipy: another size": (lambda: _scipy(sp.eye_array(7)), r"labels has shape \(6,\); expected \(7,\)"),
    "scipy: smaller": (lambda: _scipy(sp.eye_array(5)), r"labels has shape \(6,\); expected \(5,\)"),
    "scipy: negative weight": (lambda: _scipy(-sp.eye_array(6)), "edge_weights|weight"),
    "scipy: infinite features": (lambda: _scipy(features=np.full((6, 1), np.inf)), "features of 6 of 6 nodes"),
    "scipy: short features": (lambda: _scipy(features=np.eye(5)), "features has 5 rows; expected 6"),
    "scipy: two masks": (lambda: _scipy(masks=THIRDS[:2]), "masks: 2 given; expected three"),
    "scipy: masks that overlap": (lambda: _scipy(masks=[THIRDS[0]] * 3), "both train_mask and val_mask"),
    "scipy: neither masks nor rng": (
        lambda: _scipy(masks=None),
        "no masks; expected those of .* or rng, a generator",
    ),
    "scipy: objects": (lambda: _scipy(labels=np.array([{}] * 6)), "labels"),
    "scipy: fewer identifiers": (lambda: _scipy(sp.coo_array((7, 7)), node_ids=np.arange(6)), "adjacency has 7 rows"),
    "scipy: indices as masks": (
        lambda: _scipy(masks=[[0, 1], [2, 3], [4, 5]]),
        "train_mask.*; expected .*6.* node",
    ),
    "scipy: a short mask": (
        lambda: _scipy(masks=[THIRDS[0][:5], *THIRDS[1:]]),
        r"train_mask has shape \(5,\); expected \(6,\)",
    ),
    "scipy: short labels": (lambda: _scipy(labels=PARITY[:5]), r"labels has shape \(5,\); expected \(6,\)"),
    "scipy: one-hot labels": (
        lambda: _scipy(labels=EYE[PARITY, :2]),
        r"labels \(6, 2\) hold a single 1 in each row.*labels.argmax\(1\) for classes, or task: 'multilabel'",
    ),
    "scipy: a key of jax": (
        lambda: _scipy(masks=None, rng=jax.random.key(0)),
        r"rng is a .*; expected numpy.random.default_rng\(0\), or its seed$",
    ),
    "scipy: a sparse matrix as labels": (lambda: _scipy(labels=sp.csr_matrix(EYE)), "labels: a sparse csr_matrix; exp"),
    "scipy: text and numbers": (lambda: _scipy(labels=["a", 1, "a", 1, None, 1]), "labels holds"),
    "scipy: an identifier twice": (lambda: _scipy(node_ids=[1] * 6), "node_ids holds 1 more than once"),
    "networkx: no graph": (lambda: datasets.from_networkx({0: [1]}), "a dict; expected a graph of networkx"),
    "networkx: empty": (lambda: datasets.from_networkx(nx.Graph()), "the graph has no node"),
    "networkx: no features": (lambda: _nx(lambda g: _without(g, 2, "x")), "node 2 has no attribute 'x'"),
    "networkx: no labels": (lambda: _nx(labels="kind"), "no node has the attribute 'kind'"),
    "networkx: other widths": (lambda: _nx(lambda g: g.nodes[0].update(x=[1.0])), r"has \[1, 2\] numbers"),
    "networkx: other widths of edges": (
        lambda: _nx(
            lambda g: [data.update(way=[1.0] * end) for _, end, data in g.edges(data=True)], edge_features=["way"]
        ),
        r"'way' has \[1, 2, 3, 4, 5\] numbers",
    ),
    "networkx: edges without a direction": (
        lambda: _nx(directed=True),
        "directed, and a Graph, whose edges have no direction; expected a DiGraph or MultiDiGraph",
    ),
    "networkx: text as features": (lambda: _nx(lambda g: g.nodes[0].update(x="abc")), "'x' of 0 is 'abc'"),
    "networkx: mixed labels": (lambda: _nx(lambda g: g.nodes[0].update(y="a")), "text on some nodes and a number"),
    "networkx: tuples as nodes": (lambda: datasets.from_networkx(nx.grid_graph((2, 2))), r"node \(0, 0\) is a tuple"),
    "networkx: mixed nodes": (lambda: _nx(lambda g: g.add_node("a", x=[1.0, 2.0], y=0)), "node 'a' is a str"),
    "networkx: an unknown part": (
        lambda: _nx(lambda g: g.nodes[0].update(split="dev"), masks=None),
        "split holds 'dev'",
    ),
    "networkx: negative weight": (lambda: _nx(lambda g: g.edges[0, 1].update(weight=-1)), "weight"),
    "pyg: nothing of it": (lambda: datasets.from_pyg(3), "a int; expected Data, HeteroData or a list of Data"),
    "pyg: no x": (lambda: _pyg(x=None), "no x; expected a tensor"),
    "pyg: no y": (lambda: _pyg(y=None), "no y; expected a tensor"),
    "pyg: transposed edges": (lambda: _pyg(edge_index=torch.zeros(5, 2).long()), r"edge_index has shape \(5, 2\)"),
    "pyg: an edge outside": (
        lambda: _pyg(edge_index=torch.tensor([[0], [6]])),
        r"receivers reach from 6 to 6; expected nodes in \[0, 6\)",
    ),
    "pyg: short features": (lambda: _pyg(x=torch.eye(5)), r"labels has shape \(6,\); expected \(5,\)"),
    "pyg: a number as x": (lambda: _pyg(x=torch.tensor(1.0)), r"x has shape \(\); expected \(nodes, features\)"),
    "hetero: a number as x": (
        lambda: _types(lambda d: d["paper"].update({"x": torch.tensor(1.0)})),
        r"graph: paper: x has shape \(\); expected \(nodes, features\)",
    ),
    "list: x of one axis": (lambda: _graphs_of(0, 1, x=torch.ones(2)), r"graph 0: x has shape \(2,\); expected \(n"),
    "pyg: sparse labels": (
        lambda: _pyg(y=torch.eye(6).to_sparse()),
        "y: a sparse Tensor; expected a dense one",
    ),
    "pyg: several weights of an edge": (
        lambda: _pyg(edge_index=None, adj_t=torch.eye(6)[..., None].to_sparse(2)),
        r"a sparse tensor of shape \(6, 6, 1\); expected two dimensions, and one number in each entry",
    ),
    "pyg: negative": (lambda: _pyg(edge_index=torch.tensor([[0], [-1]])), "edge_index holds -1"),
    "pyg: short weights": (lambda: _pyg(edge_weight=torch.tensor([2.0])), r"edge_weights has shape \(1,\)"),
    "pyg: no such split": (
        lambda: _pyg({"masks": None, "split": 2}, train_mask=torch.ones(6, 2) > 0),
        r"train_mask has 2 splits; expected split in \[0, 2\)",
    ),
    "hetero: no labels": (
        lambda: _types(lambda d: d["paper"].pop("y")),
        "no node type has y; expected one of venue, a",
    ),
    "hetero: two types with labels": (
        lambda: _types(lambda d: d["venue"].update({"y": torch.zeros(1)})),
        "2 node types have y: venue, paper; expected one of",
    ),
    "hetero: no size": (lambda: _types(lambda d: d["venue"].pop("num_nodes")), "node type 'venue' has no x"),
    "hetero: an edge outside": (
        lambda: _types(lambda d: d["paper", "in", "venue"].update({"edge_index": torch.tensor([[0], [1]])})),
        r"edge_index reaches 1; expected venue in \[0, 1\)",
    ),
    "hetero: short labels": (
        lambda: _types(lambda d: d["paper"].update({"y": torch.zeros(2).long()})),
        "paper has 2 labels",
    ),
    "hetero: short weights": (
        lambda: _types(lambda d: d["author", "writes", "paper"].update({"edge_weight": torch.ones(2)})),
        r"'writes', 'paper'\): edge_weight has shape \(2,\); expected one row for each of 3 edges",
    ),
    "hetero: indices as masks": (
        lambda: _types(lambda d: d["paper"].update({"val_mask": torch.tensor([1, 2])})),
        "graph: paper: val_mask holds 2; expected booleans of all 3 paper nodes, and no indices",
    ),
    "hetero: masks of all nodes": (
        lambda: datasets.from_pyg(hetero(), THIRDS),
        r"graph: paper: train_mask has shape \(6,\); expected \(3,\): one for each paper node",
    ),
    "hetero: attributes of one type": (
        lambda: _types(lambda d: d["paper", "in", "venue"].update({"edge_attr": torch.ones(1, 1)})),
        "edge_attr of 1 of 2 edge types; expected all",
    ),
    "list: empty": (lambda: datasets.from_pyg([]), "a list that holds nothing"),
    "list: numbers": (lambda: datasets.from_pyg([1, 2]), "a list that holds int"),
    "list: an edge outside": (
        lambda: _graphs_of(0, 1, edge_index=torch.tensor([[0], [2]])),
        "graph 0: edge_index reaches 2",
    ),
    "list: an empty graph": (
        lambda: datasets.from_pyg([*[_graph()] * 2, _graph(x=torch.ones(0, 1), edge_index=NO_EDGE)], labelled=False),
        "graph 2 has no nodes; expected at least one",
    ),
    "list: weights of edges": (
        lambda: _graphs_of(0, 1, edge_weight=torch.tensor([0.5])),
        "graph 0 has weights of edges; expected none in a list, or a column of edge_attr",
    ),
    "list: weights in adj_t": (
        lambda: _graphs_of(0, 1, edge_index=None, adj_t=torch.tensor([[0, 0.5], [0, 0]]).to_sparse()),
        "graph 0 has weights of edges",
    ),
    "list: one-hot labels": (
        lambda: _graphs_of(*torch.eye(2)[torch.arange(6) % 2][:, None]),
        r"labels \(6, 2\) hold a single 1 in each row",
    ),
    "list: a batch without its graphs": (
        lambda: datasets.from_pyg(pyg.Batch(x=torch.ones(2, 1), edge_index=NO_EDGE, batch=torch.tensor([0, 1]))),
        "a DataBatch that does not know its graphs; expected a list",
    ),
    "list: labels of nodes": (lambda: _graphs_of(torch.zeros(2), torch.zeros(2)), "4 labels on 2 graphs"),
    "list: no labels": (lambda: _graphs_of(None), "graph 0: no y"),
    "list: other widths": (
        lambda: datasets.from_pyg(
            [pyg.Data(x=torch.ones(1, w), edge_index=torch.zeros(2, 0).long(), y=0) for w in (1, 2)]
        ),
        "features of the graphs differ in width",
    ),
    "jraph: no tuple": (lambda: datasets.from_jraph([1], [0]), "a list; expected a jraph.GraphsTuple"),
    "jraph: no nodes": (lambda: _jraph(nodes=None), "nodes are NoneType; expected one array"),
    "jraph: a dict as nodes": (lambda: _jraph(nodes={"x": np.eye(6)}), "nodes are dict"),
    "jraph: short nodes": (lambda: _jraph(nodes=np.eye(5, 6)), r"nodes have shape \(5, 6\)"),
    "jraph: an edge outside": (lambda: _jraph(senders=np.full(10, 6)), "senders and receivers point outside"),
    "jraph: other counts": (lambda: _jraph(n_edge=np.array([3])), "n_node and n_edge add up to 6 and 3"),
    "jraph: unknown edges": (
        lambda: _jraph(edges={"age": np.ones(10)}),
        "edges hold age; expected weight and features",
    ),
    "jraph: short labels": (lambda: _jraph(labels=np.zeros(5, int)), "5"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_is_refused_in_one_line(case):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_every_converter_has_at_least_five_damages():
    kinds = [case.partition(":")[0] for case in REFUSED]
    assert min(kinds.count(kind) for kind in set(kinds)) >= 5


def test_a_typed_graph_has_no_plain_tuple(typed):
    with pytest.raises(InputError, match="typed: heterogeneous"):
        datasets.to_jraph(typed)
