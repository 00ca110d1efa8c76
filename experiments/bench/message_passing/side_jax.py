"""Side of this library: layers and steps on `aggregate`, graphs prepared once and passed as arguments."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax

from abkd_jax import aggregate, distill
from abkd_jax.cli.allocator import keep_freed_memory
from abkd_jax.configs.options import ModelConfig, OptimConfig
from abkd_jax.graph import raw_edges, sparse_features
from abkd_jax.layers import GATConv
from abkd_jax.models import build
from abkd_jax.training.seeds import vmap_seeds
from abkd_jax.training.step import TrainState, init_state, make_distill_step, make_optimizer
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, GNNOutput, NodeMasks
from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.jax_work import compiled, finish, forward_backward, ignore, prepared, training
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]

Leaves = dict[str, jax.Array]


def start(threads: int) -> dict[str, str]:
    """Returns versions; the number of threads is that of the cores which the process may use."""
    return {"jax": jax.__version__, "flax": flax.__version__}


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    graph = prepared(inputs, case.nodes, edges=inputs.constants["weights"])

    def layer(graph: jraph.GraphsTuple, leaves: Leaves) -> jax.Array:
        return aggregate.weighted_sum(graph, leaves["x"], raw_edges(graph))

    return {"csr": forward_backward(layer, graph, inputs)}


def _maximum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    def layer(graph: jraph.GraphsTuple, leaves: Leaves) -> jax.Array:
        return aggregate.maximum(graph, leaves["x"])

    return {"buckets": forward_backward(layer, prepared(inputs, case.nodes), inputs)}


def _sage(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Returns two variants that sum on the narrower side; the second keeps the mean of the constant input."""
    keep_freed_memory()
    layers, optimizer = len(case.options["widths"]) - 1, optax.adam(0.01)

    def logits(p: Leaves, graph: jraph.GraphsTuple, first: jax.Array | None) -> jax.Array:
        h: Any = graph.nodes
        for layer in range(layers):
            kernel = p[f"neighbours_{layer}"]
            if layer == 0 and first is not None:
                summed = first @ kernel
            elif kernel.shape[0] > kernel.shape[1]:
                summed = aggregate.mean(graph, h @ kernel)
            else:
                summed = aggregate.mean(graph, h) @ kernel
            h = summed + h @ p[f"own_{layer}"] + p[f"bias_{layer}"]
            h = jax.nn.relu(h) if layer < layers - 1 else h
        return h

    def step(state: tuple[Leaves, Any], batch: tuple[Any, ...]) -> tuple[tuple[Leaves, Any], dict[str, jax.Array]]:
        graph, labels, first = batch

        def loss(p: Leaves) -> jax.Array:
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(p, graph, first), labels))

        value, grads = jax.value_and_grad(loss)(state[0])
        updates, moments = optimizer.update(grads, state[1])
        return (optax.apply_updates(state[0], updates), moments), {"loss": value}

    def moments(state: tuple[Leaves, Any]) -> Leaves:
        return optax.tree_utils.tree_get(state[1], "mu")

    graph = prepared(inputs, case.nodes, nodes=inputs.constants["x"])
    leaves, labels = jax.device_put(inputs.leaves), jnp.asarray(inputs.constants["labels"], jnp.int32)
    state = leaves, optimizer.init(leaves)
    first = jax.jit(aggregate.mean)(graph, graph.nodes)
    return {
        "narrower side": training(step, state, (graph, labels, None), moments),
        "narrower side, first mean kept": training(step, state, (graph, labels, first), moments),
    }


def _gat(case: Case, inputs: Inputs) -> dict[str, Variant]:
    heads, width = case.options["heads"], case.options["head_width"]

    def layer(graph: jraph.GraphsTuple, p: Leaves) -> jax.Array:
        params = {"linear": {"kernel": p["kernel"]}, "bias": p["bias"]}
        params |= {"attention_sender": p["sender"], "attention_receiver": p["receiver"]}
        out: Any = GATConv(width, heads).apply({"params": params}, graph, p["x"])
        return out

    return {"attention": forward_backward(layer, prepared(inputs, case.nodes), inputs)}


def _rgcn(case: Case, inputs: Inputs) -> dict[str, Variant]:
    relations, graph = case.options["relations"], prepared(inputs, case.nodes, edges=inputs.constants["types"])

    def product_first(graph: jraph.GraphsTuple, p: Leaves) -> jax.Array:
        stacked = jnp.moveaxis(p["kernels"], 0, 1)  # [f, r, d]
        messages = jnp.tensordot(p["x"], stacked, axes=1)
        return aggregate.relation_sum(graph, messages) + p["x"] @ p["own"] + p["bias"]

    def means_first(graph: jraph.GraphsTuple, p: Leaves) -> jax.Array:
        means = aggregate.relation_means(graph, p["x"], relations)
        return jnp.tensordot(means, p["kernels"], axes=2) + p["x"] @ p["own"] + p["bias"]

    return {
        "product first": forward_backward(product_first, graph, inputs),
        "means first": forward_backward(means_first, graph, inputs),
    }


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    size, leaves = case.options, jax.device_put(inputs.leaves)
    model = build(ModelConfig("gcnii", size["layers"], size["hidden"], size["dropout"]), size["classes"])
    optimizer = make_optimizer(OptimConfig(conv_decay=0.01, dense_decay=5e-4))
    params = {
        "input": {"kernel": leaves["input"], "bias": leaves["input_bias"]},
        "blocks": {"conv": {"kernel": leaves["conv"]}},
        "output": {"kernel": leaves["output"], "bias": leaves["output_bias"]},
    }

    def moments(state: TrainState) -> Leaves:
        mu = optax.tree_utils.tree_get(state.opt_state, "mu")["student"]
        ends = {name: mu[name]["kernel"] for name in ("input", "output")}
        return ends | {f"{name}_bias": mu[name]["bias"] for name in ends} | {"conv": mu["blocks"]["conv"]["kernel"]}

    batch = _batch(case, inputs)
    state = init_state(jax.random.key(0), model, optimizer, batch, student_params=params)
    step = make_distill_step(model, None, optimizer, classification())
    return {
        "one step a dispatch": training(step, state, batch, moments),
        "ten, as fit does": training(step, state, batch, moments, steps=10),
    }


def _batch(case: Case, inputs: Inputs) -> Batch:
    """Returns the whole graph with sparse bags of words."""
    graph = prepared(inputs, case.nodes, nodes=sparse_features(inputs.constants["words"]))
    masks = NodeMasks(jnp.ones(case.nodes, bool), jnp.asarray(inputs.constants["train"]))
    return Batch(graph, jnp.asarray(inputs.constants["labels"], jnp.int32), masks)


def _seeds(case: Case, inputs: Inputs) -> dict[str, Variant]:
    """Returns all seeds in one program, as in `fit`, and a program per seed; both scan over the steps."""
    size, batch = case.options, _batch(case, inputs)
    model = build(ModelConfig("gcnii", size["layers"], size["hidden"], size["dropout"]), size["classes"])
    optimizer = make_optimizer(OptimConfig(conv_decay=0.01, dense_decay=5e-4))
    objective = distill.weighted_sum(distill.Term("soft_label", 1.0, distill.soft_label(4.0)))
    keys = list(jax.random.split(jax.random.key(0), size["seeds"]))
    params: Any = None
    targets: Any = None
    if size["soft_labels"]:
        teachers = [GNNOutput(jax.random.normal(key, (case.nodes, size["classes"])), ()) for key in keys]
        params = objective.init(keys[0], teachers[0], teachers[0])  # empty: soft labels have no parameters
        targets = [objective.targets(teacher, graph=batch.graph, mask=batch.masks) for teacher in teachers]
        targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *targets)
    states: Any = [init_state(key, model, optimizer, batch, objective_params=params) for key in keys]
    step = make_distill_step(model, objective if size["soft_labels"] else None, optimizer, classification())

    def program(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        def body(state: TrainState, _: None) -> tuple[TrainState, jax.Array]:
            state, metrics = step(state, batch)
            return state, metrics["loss"]

        return jax.lax.scan(body, state, None, length=size["steps"])

    axes: Any = Batch(None, None, None, 0)  # type: ignore[arg-type]  # as jax.vmap takes them
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    batches = [batch._replace(targets=jax.tree.map(lambda t, i=i: t[i], targets)) for i in range(len(states))]
    together, facts = compiled(
        vmap_seeds(program, axes, stacked.params["student"]), stacked, batch._replace(targets=targets)
    )
    single, single_facts = compiled(program, states[0], batches[0])

    def all_at_once() -> np.ndarray:
        return np.asarray(finish(together(stacked, batch._replace(targets=targets)))[1])

    def one_by_one() -> np.ndarray:
        return np.stack([finish(single(*pair))[1] for pair in zip(states, batches, strict=True)])

    return {
        "one program": Variant(lambda: ignore(all_at_once()), lambda: {"losses": all_at_once()}, facts),
        "ten programs": Variant(lambda: ignore(one_by_one()), lambda: {"losses": one_by_one()}, single_facts),
    }


BUILD = {
    "weighted_sum": _weighted_sum,
    "maximum": _maximum,
    "sage": _sage,
    "gat": _gat,
    "rgcn": _rgcn,
    "gcnii": _gcnii,
    "seeds": _seeds,
}
