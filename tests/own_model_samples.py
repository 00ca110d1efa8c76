"""Architectures of one's own, by the names of functions of this module, and what is wrong with some."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

from abkd_jax import GNNOutput, aggregate, models
from abkd_jax.graph import node_features, node_mask


class Tiny(nn.Module):
    """Convolutions with dropout and statistics of their own."""

    width: int
    layers: int
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, graph, train=False):
        h, hiddens = node_features(graph), ()
        for number in range(self.layers):
            h = nn.Dense(self.width, name=f"conv_{number}")(aggregate.propagate(graph, h))
            h = nn.relu(nn.BatchNorm(use_running_average=not train)(h))
            h = nn.Dropout(self.dropout, deterministic=not train)(h)
            hiddens += (h,)
        return GNNOutput(nn.Dense(self.classes)(h), hiddens)


class Returns(nn.Module):
    """A linear map of the features, and what a function makes of it."""

    classes: int
    function: Any

    @nn.compact
    def __call__(self, graph, train=False):
        return self.function(nn.Dense(self.classes)(node_features(graph)))


class Net(nnx.Module):
    def __init__(self, width, classes, *, rngs):
        self.input, self.output = nnx.Linear(32, width, rngs=rngs), nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, graph, train=False):
        h = nnx.relu(self.input(graph.nodes))
        return GNNOutput(self.output(h), (h,))


class Dropped(nnx.Module):
    def __init__(self, width, classes, *, rngs):
        self.output, self.dropout = nnx.Linear(32, classes, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, graph, train=False):
        h = self.dropout(graph.nodes, deterministic=not train)
        return GNNOutput(self.output(h), (h,))


class Centred(nn.Module):
    """Differences from the mean over all nodes, padding aside or not; of graphs their sums."""

    classes: int
    graphs: bool = False
    masked: bool = True

    @nn.compact
    def __call__(self, graph, train=False):
        h = nn.Dense(4)(node_features(graph).astype(jnp.float32))
        counted = node_mask(graph)[:, None] if self.masked else jnp.ones_like(h, bool)
        h = jnp.where(counted, h - jnp.mean(h, axis=0, where=counted, keepdims=True), 0.0)
        h = aggregate.propagate(graph, nn.relu(h))
        return GNNOutput(nn.Dense(self.classes)(aggregate.readout(graph, h, "sum") if self.graphs else h), (h,))


class Alone(nn.Module):
    """Logits without parameters."""

    def __call__(self, graph, train=False):
        return GNNOutput(node_features(graph)[:, :3], ())


def tiny(config, classes):
    return Tiny(config.hidden, config.layers, classes, config.dropout)


def of_nnx(config, classes):
    return nnx.bridge.to_linen(Net, config.hidden, classes)


def of_nnx_with_dropout(config, classes):
    return nnx.bridge.to_linen(Dropped, config.hidden, classes)


def of_the_package(config, classes):
    return models.GCN(config.hidden, config.layers, classes)


def centred(config, classes):
    return Centred(classes)


def centred_graphs(config, classes):
    return Centred(classes, graphs=True)


def centred_with_padding(config, classes):
    return Centred(classes, masked=False)


def logits_alone(config, classes):
    return Returns(classes, lambda x: GNNOutput(x, ()))


def no_output(config, classes):
    return Returns(classes, lambda x: (x, ()))


def few_rows(config, classes):
    return Returns(classes, lambda x: GNNOutput(x[:5], ()))


def integers(config, classes):
    return Returns(classes, lambda x: GNNOutput(x.astype(jnp.int32), ()))


def narrow(config, classes):
    return Returns(classes - 1, lambda x: GNNOutput(x, ()))


def flat_hidden(config, classes):
    return Returns(classes, lambda x: GNNOutput(x, (x, x[:, 0])))


def breaks(config, classes):
    return Returns(classes, lambda x: GNNOutput(x @ x, ()))


def without_parameters(config, classes):
    return Alone()


def fails(config, classes):
    raise ValueError("no such size\nand more")


def a_number(config, classes):
    return 3


def an_nnx_module(config, classes):
    return Net(config.hidden, classes, rngs=nnx.Rngs(0))


def a_list(config, classes):
    return Returns(classes, [1])


def with_facts(config, classes, *, relations, edge_features=3):
    return Tiny(relations, edge_features, classes)
