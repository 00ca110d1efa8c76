"""What the compiled programs are made of: no scatter in buckets, nothing of one row an edge in CSR form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from aggregate_samples import MANY, OPS, arguments_of, arranged, cotangent_of, typed_graph
from graphs import random_edges, raw_graph

from abkd_jax.aggregate import attention_sum, mean, weighted_sum
from abkd_jax.graph import prepare

NODES, EDGES, WIDTH = 2000, 100_000, 128  # messages of 51 MB


def _value_and_gradients(op):
    def run(graph, arguments, cotangent):
        out, pullback = jax.vjp(lambda *a: op.function(graph, *a), *arguments)
        return out, pullback(cotangent)

    return run


@pytest.mark.parametrize("name", sorted(set(OPS) - {"attention_with_everything"}))
def test_buckets_are_gathers_alone(name):
    """Neither forwards nor backwards, before and after compilation; a sorted sum does need one."""
    op = OPS[name]
    arguments = arguments_of(op, MANY)
    cotangent = cotangent_of(op, MANY, arguments)
    lowered = {
        backend: jax.jit(_value_and_gradients(op)).lower(arranged(typed_graph(MANY), backend), arguments, cotangent)
        for backend in ("bucketed", "segment")
    }
    assert "scatter" not in lowered["bucketed"].as_text()
    assert "scatter" not in lowered["bucketed"].compile().as_text()
    assert name == "maximum" or "scatter" in lowered["segment"].as_text()


def _programs():
    def attention(graph, logits, x):
        return attention_sum(graph, logits, x.reshape(NODES, 4, WIDTH // 4))

    def sums(graph, x, weights):
        return weighted_sum(graph, x, weights)

    def means(graph, x):
        return mean(graph, x)

    shapes = {"x": (NODES, WIDTH), "weights": (EDGES,), "logits": (EDGES, 4)}
    x, weights, logits = (jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes.values())
    cases = {
        "weighted_sum": (sums, (x, weights)),
        "mean": (means, (x,)),
        "attention_sum": (attention, (logits, x)),
    }
    for name, (function, arguments) in cases.items():
        yield pytest.param(function, arguments, id=name)

        def gradient(graph, *arguments, function=function):
            total = lambda *a: jnp.sum(function(graph, *a) ** 2)  # noqa: E731
            return jax.grad(total, argnums=tuple(range(len(arguments))))(*arguments)

        yield pytest.param(gradient, arguments, id=f"gradients of {name}")


@pytest.fixture(scope="module")
def large():
    return prepare(
        raw_graph(random_edges(0, NODES, EDGES), np.zeros((NODES, 1), np.float32)), backend="csr", buckets=False
    )


@pytest.mark.parametrize(("function", "arguments"), list(_programs()))
def test_native_products_build_nothing_of_one_row_an_edge(function, arguments, large):
    """The weights of the edges and their gradients, of four heads at most, are the most that is kept."""
    memory = jax.jit(function).lower(large, *arguments).compile().memory_analysis()
    assert memory.temp_size_in_bytes < EDGES * WIDTH * 4 / 2
