"""Trained models to export, one of every architecture, and raw graphs of two sizes for each."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jaxtyping
import numpy as np
import pytest

from abkd_jax import graph, types
from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference.bundle import Bundle, inputs_of, model_of
from abkd_jax.inference.export import stablehlo
from abkd_jax.types import Dataset, GraphDataset, Schema

WIDTH, CLASSES = 5, 3
SCHEMA = Schema(("paper", "author"), ("cites", "writes"), (0, 2))  # citations have no direction
CONFIGS = {
    "gcnii": ModelConfig("gcnii", layers=5, hidden=4),  # under a scan
    "gcn": ModelConfig("gcn", layers=2, hidden=4, norm="batch"),
    "graphsage": ModelConfig("graphsage", layers=2, hidden=4),
    "gat": ModelConfig("gat", layers=2, hidden=4, heads=2),
    "gat_degrees": ModelConfig(
        "gat", layers=2, hidden=4, destination_term=False, symmetric_norm=True, residual="linear"
    ),
    "gatv2": ModelConfig("gatv2", layers=2, hidden=4, heads=2),
    "gin": ModelConfig("gin", layers=7, hidden=4, norm="layer", jumping="cat"),  # under a scan
    "gin_graphs": ModelConfig("gin", layers=2, hidden=4, readout="mean"),
    "rgcn": ModelConfig("rgcn", layers=2, hidden=4, bases=2),
    "sign": ModelConfig("sign", layers=2, hidden=4, hops=2),
    "mlp": ModelConfig("mlp", layers=2, hidden=4),
}
BUNDLES = tuple(CONFIGS)
EMBEDDINGS = 3  # nodes without features of the typed graph


def node_level(seed: int, nodes: int, edges: int, *, embeddings: int = 0, schema: Schema | None = None) -> Dataset:
    """A raw graph: duplicates, both directions of some edges, self loops, a node without edges, a row of zeros."""
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, nodes - 1, (2, edges)).astype(np.int32)
    senders[1], receivers[1] = senders[0], receivers[0]
    senders[3], receivers[3] = receivers[2], senders[2]
    senders[4] = receivers[4]
    features = rng.random((nodes - embeddings, WIDTH)).astype(np.float32)
    features[0] = 0.0
    types_of = None if schema is None else np.sort(rng.integers(0, 2, nodes)).astype(np.int32)
    relations = None if schema is None else rng.integers(0, 2, edges).astype(np.int32)
    parts = np.arange(nodes) % 3
    return Dataset(
        "raw",
        features,
        senders,
        receivers,
        rng.integers(0, CLASSES, nodes).astype(np.int32),
        CLASSES,
        *(parts == part for part in range(3)),
        "generated",
        schema=schema,
        node_types=types_of,
        relations=relations,
    )


def graph_level(seed: int, sizes: tuple[int, ...]) -> GraphDataset:
    """Graphs of categories: rings of different sizes."""
    rng = np.random.default_rng(seed)
    ends = [np.arange(size, dtype=np.int32) for size in sizes]
    parts = np.arange(len(sizes)) % 3
    return GraphDataset(
        name="rings",
        features=np.stack([rng.integers(0, limit, sum(sizes)) for limit in (4, 2)], axis=1).astype(np.int32),
        edge_features=rng.integers(0, 3, (2 * sum(sizes), 1)).astype(np.int32),
        senders=np.concatenate([np.concatenate([e, np.roll(e, 1)]) for e in ends]),
        receivers=np.concatenate([np.concatenate([np.roll(e, 1), e]) for e in ends]),
        n_node=np.array(sizes, np.int32),
        n_edge=2 * np.array(sizes, np.int32),
        labels=rng.integers(0, CLASSES, len(sizes)).astype(np.int32),
        num_outputs=CLASSES,
        task="classification",
        metric="accuracy",
        train_mask=parts == 0,
        val_mask=parts == 1,
        test_mask=parts == 2,
        source="generated",
        vocabulary=(4, 2),
        edge_vocabulary=(3,),
    )


@functools.cache
def graphs_of(name: str) -> tuple[Dataset | GraphDataset, ...]:
    """Two raw graphs of different sizes that a model can read."""
    if name == "gin_graphs":
        return graph_level(0, (3, 5, 4)), graph_level(1, (4, 3))
    typed = {"schema": SCHEMA, "embeddings": EMBEDDINGS} if name == "rgcn" else {}
    return tuple(_with_edge_data(name, node_level(*sizes, **typed)) for sizes in ((0, 12, 30), (1, 9, 11)))


def _with_edge_data(name: str, data: Dataset) -> Dataset:
    """What the edges have beside their ends, for the models that read it."""
    rng, edges = np.random.default_rng(2), data.senders.shape[0]
    if name == "gcn":
        return data._replace(edge_weights=rng.uniform(0.5, 2.0, edges).astype(np.float32))
    return data._replace(edge_features=rng.normal(size=(edges, 2)).astype(np.float32)) if name == "gin" else data


@functools.cache
def bundle_of(name: str) -> Bundle:
    """A model with random variables, biases and statistics included; nothing is compiled."""
    data = graphs_of(name)[0]
    bundle = Bundle(CONFIGS[name], inputs_of(data), CLASSES, "classification", {}, card={"name": name})
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model_of(bundle).init, jax.random.key(0), prepared(data))
    variables = jax.tree.map(lambda leaf: rng.normal(0.1, 0.5, leaf.shape).astype(leaf.dtype), shapes)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda leaf: np.abs(leaf) + np.float32(0.5), variables["batch_stats"])
    return dataclasses.replace(bundle, variables=variables)


def prepared(data: types.Dataset | types.GraphDataset):
    """The graph as training reads it: prepared by the host; a batch of all graphs."""
    if isinstance(data, Dataset):
        return graph.from_dataset(data)
    first = np.repeat(np.cumsum(data.n_node) - data.n_node, data.n_edge).astype(np.int32)
    batch = graph.graphs_tuple(
        nodes=data.features,
        edges=data.edge_features,
        senders=data.senders + first,
        receivers=data.receivers + first,
        n_node=data.n_node,
        n_edge=data.n_edge,
    )
    return graph.prepare(batch)


def student_logits(name: str, data: types.Dataset | types.GraphDataset) -> np.ndarray:
    """Logits of the model itself on the prepared graph."""
    bundle = bundle_of(name)
    return np.asarray(jax.jit(model_of(bundle).apply)(bundle.variables, prepared(data)).logits)


def exported(bundle: Bundle, export: Callable[..., bytes] = stablehlo.export, **options) -> bytes:
    """The exported model; sizes of the traced graph are symbolic, which the tests' type checks do not know."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return export(bundle, **options)
