"""Shared parts of this library's cases: prepared graphs, compiled programs, forward and backward, a step."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from abkd_jax.cli.allocator import keep_freed_memory
from abkd_jax.graph.build import prepare
from experiments.bench.message_passing.inputs import Inputs
from experiments.bench.message_passing.worker import Variant

__all__ = ["compiled", "finish", "forward_backward", "ignore", "prepared", "training"]


def prepared(inputs: Inputs, n: int, nodes: Any = None, edges: Any = None) -> jraph.GraphsTuple:
    """Returns the prepared graph on the device; `edges` in the order of the inputs."""
    nodes = np.zeros((n, 1), np.float32) if nodes is None else nodes  # their length is the number of nodes
    senders, receivers = inputs.senders.astype(np.int32), inputs.receivers.astype(np.int32)
    sizes = np.array([n], np.int32), np.array([senders.shape[0]], np.int32)
    return jax.device_put(prepare(jraph.GraphsTuple(nodes, edges, receivers, senders, None, *sizes)))


def compiled(program: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, dict[str, float]]:
    """Returns the compiled program, with its temporary memory and compilation time."""
    began = time.perf_counter()
    done = jax.jit(program, **options).lower(*args).compile()
    memory: Any = done.memory_analysis()
    return done, {"temp_mb": memory.temp_size_in_bytes / 1e6, "compile_s": time.perf_counter() - began}


def forward_backward(
    layer: Callable[[jraph.GraphsTuple, dict[str, jax.Array]], jax.Array], graph: jraph.GraphsTuple, inputs: Inputs
) -> Variant:
    """Returns a variant of the layer's output and the gradients to all leaves for the given cotangent.

    Freed memory is kept, as in commands on minibatches: one dispatch a step.
    """
    keep_freed_memory()

    def program(graph: jraph.GraphsTuple, leaves: dict[str, jax.Array], cotangent: jax.Array) -> tuple[Any, Any]:
        out, pull = jax.vjp(lambda leaves: layer(graph, leaves), leaves)
        return out, pull(cotangent)[0]

    args = graph, *jax.device_put((inputs.leaves, inputs.constants["cotangent"]))
    run, facts = compiled(program, *args)

    def values() -> dict[str, np.ndarray]:
        out, grads = jax.device_get(run(*args))
        return {"out": out} | {f"gradient of {name}": grad for name, grad in grads.items()}

    return Variant(lambda: ignore(finish(run(*args))), values, facts)


def training(
    step: Callable[..., Any], state: Any, batch: Any, moments: Callable[[Any], dict[str, jax.Array]], steps: int = 1
) -> Variant:
    """Returns a variant of training; `values` are three losses, and the gradients of the first one.

    Args:
        step: `(state, batch) -> (state, metrics with "loss")`.
        state: the initial state.
        batch: the input of every step.
        moments: Adam's first moments under the names of the inputs: a tenth of the first gradients, decay included.
        steps: steps per dispatch, scanned as in `training.fit`.
    """
    run, facts = compiled(step, state, batch, donate_argnums=0)

    def scanned(state: Any, batch: Any) -> Any:
        return jax.lax.scan(lambda s, _: step(s, batch), state, None, length=steps)

    advance_by = run
    if steps > 1:
        advance_by, facts = compiled(scanned, state, batch, donate_argnums=0)
    now = jax.tree.map(jnp.copy, state)  # steps donate their state

    def advance() -> None:
        nonlocal now
        now, metrics = advance_by(now, batch)
        finish((now, metrics))

    def values() -> dict[str, np.ndarray]:
        current, losses, first = jax.tree.map(jnp.copy, state), [], {}
        for index in range(3):
            current, metrics = run(current, batch)
            losses.append(np.asarray(metrics["loss"]))
            if index == 0:
                first = jax.device_get(moments(current))
        return {"losses": np.stack(losses)} | {f"gradient of {name}": 10 * mu for name, mu in first.items()}

    return Variant(advance, values, facts, steps)


def ignore(_: Any) -> None:
    """Frees a result."""


def finish(out: Any) -> Any:
    """Returns the result once it is computed."""
    return jax.block_until_ready(out)
