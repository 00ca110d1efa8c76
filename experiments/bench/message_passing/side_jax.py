"""This library's side. Graphs are prepared once and travel into the programs as arguments."""

import time
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax

from abkd_jax import aggregate
from abkd_jax.config import ModelConfig, OptimConfig
from abkd_jax.graph import prepare, raw_edges, sparse_features
from abkd_jax.models import build
from abkd_jax.tasks import classification
from abkd_jax.training import TrainState, init_state, make_distill_step, make_optimizer
from abkd_jax.types import Batch, NodeMasks
from experiments.bench.message_passing.cases import Case
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.worker import Variant

__all__ = ["BUILD", "start"]


def start(threads: int) -> dict[str, str]:
    """Versions; the threads follow from the cores that the process may use."""
    return {"jax": jax.__version__, "flax": flax.__version__}


def prepared(inputs: Inputs, n: int, nodes: Any = None, edges: Any = None) -> jraph.GraphsTuple:
    """The prepared graph on the device; `edges` in the order of the inputs."""
    nodes = np.zeros((n, 1), np.float32) if nodes is None else nodes  # their length is the number of nodes
    senders, receivers = inputs.senders.astype(np.int32), inputs.receivers.astype(np.int32)
    sizes = np.array([n], np.int32), np.array([senders.shape[0]], np.int32)
    return jax.device_put(prepare(jraph.GraphsTuple(nodes, edges, receivers, senders, None, *sizes)))


def compiled(program: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, dict[str, float]]:
    """The compiled program; its temporary memory and the time it took to compile."""
    began = time.perf_counter()
    done = jax.jit(program, **options).lower(*args).compile()
    memory: Any = done.memory_analysis()
    return done, {"temp_mb": memory.temp_size_in_bytes / 1e6, "compile_s": time.perf_counter() - began}


def forward_backward(
    layer: Callable[[jraph.GraphsTuple, dict[str, jax.Array]], jax.Array], graph: jraph.GraphsTuple, inputs: Inputs
) -> Variant:
    """The layer's output, and the gradients to all leaves for the given cotangent."""

    def program(graph: jraph.GraphsTuple, leaves: dict[str, jax.Array], cotangent: jax.Array) -> tuple[Any, Any]:
        out, pull = jax.vjp(lambda leaves: layer(graph, leaves), leaves)
        return out, pull(cotangent)[0]

    args = graph, *jax.device_put((inputs.leaves, inputs.constants["cotangent"]))
    run, facts = compiled(program, *args)

    def values() -> dict[str, np.ndarray]:
        out, grads = jax.device_get(run(*args))
        return {"out": out} | {f"gradient of {name}": grad for name, grad in grads.items()}

    return Variant(lambda: _finish(run(*args)), values, facts)


def training(step: Callable[..., Any], state: TrainState, batch: Batch) -> Variant:
    """A training step; `values` are three losses, and the gradients (in Adam's first moments) of the first step."""
    run, facts = compiled(step, state, batch, donate_argnums=0)
    now = state

    def advance() -> None:
        nonlocal now
        now, metrics = run(now, batch)
        _finish((now, metrics))

    def values() -> dict[str, np.ndarray]:
        own, losses, moments = jax.tree.map(jnp.copy, state), [], {}
        for index in range(3):
            own, metrics = run(own, batch)
            losses.append(np.asarray(metrics["loss"]))
            if index == 0:
                moments = jax.device_get(flat_names(optax.tree_utils.tree_get(own.opt_state, "mu")["student"]))
        return {"losses": np.stack(losses)} | {f"gradient of {name}": 10 * mu for name, mu in moments.items()}

    return Variant(advance, values, facts)


def flat_names(params: Any) -> dict[str, jax.Array]:
    """GCNII's parameters under the names of the inputs."""
    return {
        "input": params["input"]["kernel"],
        "input_bias": params["input"]["bias"],
        "conv": params["blocks"]["conv"]["kernel"],
        "output": params["output"]["kernel"],
        "output_bias": params["output"]["bias"],
    }


def _finish(out: Any) -> None:
    jax.block_until_ready(out)


def _weighted_sum(case: Case, inputs: Inputs) -> dict[str, Variant]:
    graph = prepared(inputs, case.nodes, edges=inputs.constants["weights"])
    layer = lambda graph, leaves: aggregate.weighted_sum(graph, leaves["x"], raw_edges(graph))  # noqa: E731
    return {"csr": forward_backward(layer, graph, inputs)}


def gcnii_batch(case: Case, inputs: Inputs) -> Batch:
    """The whole graph with sparse bags of words."""
    graph = prepared(inputs, case.nodes, nodes=sparse_features(inputs.constants["words"]))
    masks = NodeMasks(jnp.ones(case.nodes, bool), jnp.asarray(inputs.constants["train"]))
    return Batch(graph, jnp.asarray(inputs.constants["labels"], jnp.int32), masks)


def _gcnii(case: Case, inputs: Inputs) -> dict[str, Variant]:
    size, leaves = case.options, jax.device_put(inputs.leaves)
    model = build(ModelConfig("gcnii", size["layers"], size["hidden"], size["dropout"]), size["classes"])
    optimizer = make_optimizer(OptimConfig(conv_decay=0.01, dense_decay=5e-4))
    params = {
        "input": {"kernel": leaves["input"], "bias": leaves["input_bias"]},
        "blocks": {"conv": {"kernel": leaves["conv"]}},
        "output": {"kernel": leaves["output"], "bias": leaves["output_bias"]},
    }
    batch = gcnii_batch(case, inputs)
    state = init_state(jax.random.key(0), model, optimizer, batch, student_params=params)
    step = make_distill_step(model, None, optimizer, classification())
    return {"sparse words": training(step, state, batch)}


BUILD = {"weighted_sum": _weighted_sum, "gcnii": _gcnii}
