"""From configs to models, and from nonsense to one clear line."""

import re

import jax.numpy as jnp
import pytest

from abkd_jax import models
from abkd_jax.configs.options import ModelConfig
from abkd_jax.types import InputError


def test_build_reads_every_field():
    config = ModelConfig(layers=5, hidden=6, dropout=0.3, alpha=0.2, lam=0.9)
    assert models.build(config, 4) == models.GCNII(6, 5, 4, alpha=0.2, lam=0.9, dropout=0.3)
    assert models.build(ModelConfig("gcn", 2, 6, 0.3), 4) == models.GCN(6, 2, 4, dropout=0.3)
    assert models.build(ModelConfig("mlp", 2, 6, 0.3), 4) == models.MLP(6, 2, 4, dropout=0.3)
    assert models.build(ModelConfig(layers=1), 4).layers == 1


def test_build_reads_the_options_of_each_model():
    shared = {"norm": "batch", "residual": "identity", "readout": "sum", "remat": True, "input_dropout": 0.1}
    common = shared | {"dropout": 0.3}
    gcnii = models.build(ModelConfig("gcnii", 5, 6, 0.3, variant=True, dtype="bfloat16", **shared), 4)
    assert gcnii == models.GCNII(6, 5, 4, variant=True, dtype=jnp.bfloat16, **common)
    kinds = {"gcn": models.GCN, "graphsage": models.GraphSAGE, "gin": models.GIN, "mlp": models.MLP}
    for name, kind in kinds.items():
        built = models.build(ModelConfig(name, 2, 6, 0.3, jumping="cat", **shared), 4)
        assert built == kind(6, 2, 4, jumping="cat", **common)
    molecules = {"vocabulary": (7, 4), "edge_vocabulary": (5,)}
    assert models.build(ModelConfig("gin", 2, 6), 4, **molecules) == models.GIN(6, 2, 4, dropout=0.6, **molecules)
    for name, kind in {"gat": models.GAT, "gatv2": models.GATv2}.items():
        built = models.build(
            ModelConfig(name, 2, 6, 0.3, heads=3, attention_dropout=0.2, edge_dropout=0.4, **shared), 4
        )
        assert built == kind(6, 2, 4, heads=3, attention_dropout=0.2, edge_dropout=0.4, **common)
    own = {"bases": 2, "embedding_width": 5}
    graph = {"relations": 7, "node_types": 4, "embeddings": 9}
    built = models.build(ModelConfig("rgcn", 2, 6, 0.3, **own, **shared), 4, **graph)
    assert built == models.RGCN(6, 2, 4, **graph, **own, **common)
    built = models.build(ModelConfig("sign", 1, 6, 0.3, hops=3, input_dropout=0.1), 4)
    assert built == models.SIGN(6, 1, 4, hops=3, dropout=0.3, input_dropout=0.1)


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        ({"hidden": 0}, 3, "gcnii: hidden width is 0, expected at least 1"),
        ({"layers": 0}, 3, "gcnii: number of layers is 0, expected at least 1"),
        ({"name": "gcn", "layers": 1}, 3, "gcn: number of layers is 1, expected at least 2"),
        ({"name": "mlp", "layers": 1}, 3, "mlp: number of layers is 1, expected at least 2"),
        ({"dropout": 1.0}, 3, "gcnii: dropout is 1.0, expected 0 <= rate < 1"),
        ({"dropout": -0.1}, 3, "gcnii: dropout is -0.1, expected 0 <= rate < 1"),
        ({"dropout": float("nan")}, 3, "gcnii: dropout is nan, expected 0 <= rate < 1"),
        ({"alpha": 1.5}, 3, "gcnii: alpha is 1.5, expected 0 to 1"),
        ({"lam": 0.0}, 3, "gcnii: lambda is 0.0, expected a positive number"),
        ({"lam": float("nan")}, 3, "gcnii: lambda is nan, expected a positive number"),
        ({}, 0, "gcnii: number of classes is 0, expected at least 1"),
        ({"input_dropout": 1.0}, 3, "gcnii: input dropout is 1.0, expected 0 <= rate < 1"),
        ({"residual": "linear"}, 3, "gcnii: residual is linear, expected none or identity"),
        ({"name": "gcn", "heads": 2}, 3, "gcn: it has no option heads (2), only gat, gatv2 do"),
        ({"name": "sign", "norm": "batch"}, 3, None),
        ({"jumping": "cat"}, 3, None),
        ({"name": "gat", "hidden": 4, "heads": 3}, 3, "gat: heads is 3, expected a divisor of the hidden width 4"),
        ({"name": "gat", "heads": 0}, 3, "gat: heads is 0, expected a divisor of the hidden width 64"),
        ({"name": "gat", "attention_dropout": 1.0}, 3, "gat: attention dropout is 1.0, expected 0 <= rate < 1"),
        ({"name": "gat", "edge_dropout": 1.0}, 3, "gat: edge dropout is 1.0, expected 0 <= rate < 1"),
        (
            {"name": "gatv2", "symmetric_norm": True},
            3,
            "gatv2: it has no option symmetric_norm (True), only gat do",
        ),
        ({"name": "rgcn", "bases": 0}, 3, "rgcn: bases is 0, expected at least 1"),
        ({"name": "rgcn", "embedding_width": 0}, 3, "rgcn: embedding width is 0, expected at least 1"),
        ({"name": "sign", "hops": -1}, 3, "sign: hops is -1, expected at least 0"),
        ({"name": "rgcn", "layers": 1}, 3, "rgcn: number of layers is 1, expected at least 2"),
        ({"name": "rgcn", "layers": 0, "jumping": "last"}, 3, "rgcn: number of layers is 0, expected at least 1"),
    ],
)
def test_configs_that_make_no_model_are_refused(options, classes, message):
    pattern = r"it has no option (norm|jumping)" if message is None else f"^{re.escape(message)}$"
    with pytest.raises(InputError, match=pattern):
        models.build(ModelConfig(**options), classes)


def test_an_unknown_model_is_refused():
    with pytest.raises(InputError, match=r"^model is 'gcm', expected one of gcnii, gcn, .*did you mean gcn"):
        models.build(ModelConfig("gcm"), 3)
