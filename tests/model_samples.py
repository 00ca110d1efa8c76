"""Every model, small, on one small graph that serves them all."""

import jax
import jax.numpy as jnp
import numpy as np
from graphs import features, random_edges, raw_graph

from abkd_jax import models
from abkd_jax.graph import node_mask

NODES, WIDTH, CLASSES, HIDDEN, RELATIONS = 9, 5, 3, 4, 2
EDGES = random_edges(11, NODES, 20)  # the last node is isolated
RELATION = (np.arange(20) % RELATIONS).astype(np.int32)
X = features(0, NODES, WIDTH)  # the first row is zero
STACKS = {
    "gcn": (models.GCN, {}),
    "graphsage": (models.GraphSAGE, {}),
    "gat": (models.GAT, {"heads": 2}),
    "gatv2": (models.GATv2, {"heads": 2}),
    "gin": (models.GIN, {"train_epsilon": True}),
    "rgcn": (models.RGCN, {"relations": RELATIONS}),
    "mlp": (models.MLP, {}),
}
NAMES = ("gcnii", *STACKS, "sign")


def make(name, layers=3, **options):
    """A model with batch normalisation, where it has any."""
    if name == "sign":
        return models.SIGN(HIDDEN, layers - 1, CLASSES, hops=2, **options)
    options = {"norm": "batch"} | options
    if name == "gcnii":
        return models.GCNII(HIDDEN, layers, CLASSES, **options)
    kind, own = STACKS[name]
    return kind(HIDDEN, layers, CLASSES, **own, **options)


def typed_graph(nodes=X, edges=EDGES, relation=RELATION):
    """A plain graph with a weight and a type an edge: every model finds what it reads."""
    graph = raw_graph(edges, nodes)
    return graph._replace(edges={"weight": edges.weights, "relation": relation})


def initialised(model, seed=0, graph=None):
    """Random variables, biases and statistics included; nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), typed_graph() if graph is None else graph)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.1, 0.5, leaf.shape), leaf.dtype), shapes)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.5, variables["batch_stats"])
    return variables


def trained_once(model):
    """`(variables, graph, key) -> (gradients, output, new statistics)` of the sum of squared logits, in train mode."""

    @jax.jit
    def run(variables, graph, key):
        rest = {name: value for name, value in variables.items() if name != "params"}

        def loss(params):
            out, state = model.apply(
                {"params": params, **rest}, graph, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            return jnp.sum(jnp.where(node_mask(graph)[:, None], out.logits, 0.0) ** 2), (out, state)

        (_, (out, state)), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return gradients, out, state

    return run


def assert_close(got, expected, rtol=1e-4, atol=1e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, expected)
