"""Numbers of parameters, against published ones."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from abkd_jax import models
from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph import from_edges
from abkd_jax.inference.evaluation import embedding_count, parameter_count

# The teacher of ogbn-arxiv: 128 features and 40 label inputs (Wang et al., arXiv 2103.13355).
GAT_TEACHER = models.GAT(
    750,
    3,
    40,
    heads=3,
    norm="batch",
    residual="linear",
    activation=nn.relu,
    destination_term=False,
    symmetric_norm=True,
)


def shapes(model, inputs, typed=False):
    features = np.zeros((2, inputs), np.float32)
    graph = from_edges(np.array([0]), np.array([1]), 2, nodes=features)
    if typed:
        zeros = np.zeros(2, np.int32)
        nodes = {"features": features, "type": zeros, "embedding": zeros}
        graph = graph._replace(nodes=nodes, edges=np.zeros(1, np.int32))
    return jax.eval_shape(model.init, jax.random.key(0), graph)["params"]


def count(model, inputs, typed=False):
    return parameter_count(shapes(model, inputs, typed))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(models.GCN(256, 2, 40, norm="batch"), 43_816), (models.GraphSAGE(256, 2, 40, norm="batch"), 86_824)],
    ids=["gcn", "graphsage"],
)
def test_students_of_ogbn_arxiv(model, parameters):
    """G-CRD (Joshi et al., arXiv 2111.04964), table of architectures: 2 layers x 256."""
    assert count(model, 128) == parameters


def test_teacher_of_ogbn_arxiv():
    """G-CRD's teacher, GAT with 3 layers of 3 heads x 250; the OGB leader board has the same number."""
    options = {"heads": 3, "norm": "batch", "residual": "linear", "destination_term": False, "symmetric_norm": True}
    built = models.build(ModelConfig("gat", 3, 750, 0.75, input_dropout=0.25, edge_dropout=0.3, **options), 40)
    for model in (GAT_TEACHER, built):
        assert count(model, 168) == 1_441_580


def test_sign_of_ogbn_arxiv():
    """The OGB leader board, and G-CRD: 5 hops, 2 linear maps in every network, 512 wide."""
    assert count(models.SIGN(512, 2, 40, hops=5), 128) == 3_566_128


def test_gcnii_of_ogbn_arxiv():
    """The OGB leader board: the variant of 16 layers x 256 with batch normalisation."""
    assert count(models.GCNII(256, 16, 40, variant=True, norm="batch"), 128) == 2_148_648


@pytest.mark.parametrize(("layers", "hidden", "parameters"), [(3, 512, 5_575_540), (2, 32, 169_428), (2, 64, 337_460)])
def test_rgcn_of_ogbn_mag(layers, hidden, parameters):
    """G-CRD's teacher and student, and the leader board's 154,366,772 less 154,029,312 of embeddings."""
    assert count(models.RGCN(hidden, layers, 349, relations=7, node_types=4), 128, typed=True) == parameters


def test_embeddings_of_ogbn_mag_outweigh_the_weights():
    """1,203,354 vectors of 128 in teacher and student alike: with them the ratio of 32.9 is one of 1.035."""
    sizes = []
    for layers, hidden in ((3, 512), (2, 32)):
        model = models.RGCN(hidden, layers, 349, relations=7, node_types=4, embeddings=1_203_354, embedding_width=128)
        params = shapes(model, 128, typed=True)
        assert embedding_count(params) == 154_029_312
        sizes.append(parameter_count(params))
    assert sizes == [154_029_312 + 5_575_540, 154_029_312 + 169_428]
    assert round(5_575_540 / 169_428, 2) == 32.91
    assert round(sizes[0] / sizes[1], 3) == 1.035


@pytest.mark.parametrize(
    ("inputs", "classes", "layers", "hidden", "parameters"),
    [
        (1433, 7, 64, 64, 354_375),
        (1433, 7, 4, 4, 5_835),
        (500, 3, 64, 64, 294_403),
        (500, 3, 4, 4, 2_083),
    ],
)
def test_gcnii_has_the_papers_number_of_parameters(inputs, classes, layers, hidden, parameters):
    """Teachers and students of ABKD, table 1 (294,403 / 2,083 is its 141x on Pubmed)."""
    assert count(models.build(ModelConfig(layers=layers, hidden=hidden), classes), inputs) == parameters


def test_the_student_of_mustad_has_one_convolution_whatever_its_depth():
    """Cora at 64 units: the input layer, one kernel of 64 x 64 and the output layer."""
    for layers in (4, 64):
        repeated = ModelConfig(layers=layers, hidden=64, repeated=True)
        assert count(models.build(repeated, 7), 1433) == 1433 * 64 + 64 + 64 * 64 + 64 * 7 + 7


@pytest.mark.parametrize("name", ["gcn", "mlp"])
def test_gcn_and_mlp_have_a_kernel_and_a_bias_a_layer(name):
    three, two = (models.build(ModelConfig(name=name, layers=layers, hidden=16), 4) for layers in (3, 2))
    assert count(three, 10) == 10 * 16 + 16 + 16 * 16 + 16 + 16 * 4 + 4
    assert count(two, 10) == 10 * 16 + 16 + 16 * 4 + 4
