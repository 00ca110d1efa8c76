"""Learned node embeddings whose rows are spread over devices train as on one."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from model_samples import CLASSES, HIDDEN, RELATIONS, assert_close

from abkd_jax import distill, models
from abkd_jax.graph import from_edges, prepare
from abkd_jax.sampling import Minibatch
from abkd_jax.training.accumulate import build_parts, make_parts_step
from abkd_jax.training.sharding import make_mesh, put
from abkd_jax.training.step import init_state, make_gradients, with_teacher_targets
from abkd_jax.training.tables import fetch_rows, on_shards, put_tables, take_tables
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, InputError, NodeMasks

NODES, ROWS, PARTS = 12, 10, 4  # the rows do not divide among the devices
pytestmark = pytest.mark.skipif(jax.device_count() < PARTS, reason="needs 4 devices, tests/conftest.py fakes them")


def build(seed):
    """A minibatch of the host, half of whose nodes read the table; some rows are read by several of them."""
    rng = np.random.default_rng(seed)
    embedding = np.where(rng.random(NODES) < 0.5, rng.integers(ROWS, size=NODES), -1).astype(np.int32)
    nodes = {"features": rng.normal(size=(NODES, HIDDEN)).astype(np.float32), "embedding": embedding}
    graph = from_edges(np.arange(NODES), (np.arange(NODES) + 1 + seed) % NODES, NODES, nodes=nodes)
    typed = graph._replace(edges={"relation": (np.arange(NODES) % RELATIONS).astype(np.int32)})
    labels, masks = rng.integers(CLASSES, size=NODES), NodeMasks(np.ones(NODES, bool), np.arange(NODES) < 4 + seed)
    prepared = prepare(typed, buckets=False, relations=RELATIONS)
    return Minibatch(Batch(prepared, labels.astype(np.int32), masks), np.arange(NODES, dtype=np.int32))


@pytest.mark.parametrize("size", [PARTS, 3], ids=["full", "last of an epoch"])
def test_a_distillation_step_is_that_of_one_device(size):
    batch = build(0).batch
    model = models.RGCN(HIDDEN, 2, CLASSES, relations=RELATIONS, embeddings=ROWS)
    objective, optimizer = (
        distill.weighted_sum(distill.Term("soft", 1.0, distill.soft_label())),
        optax.adam(0.01, eps=1e-3),
    )
    variables = jax.jit(model.init)(jax.random.key(1), batch.graph)
    make = functools.partial(init_state, model=model, optimizer=optimizer, batch=batch, objective_params={"soft": {}})
    state = jax.jit(make)(jax.random.key(0))
    builds = [functools.partial(build, seed) for seed in range(size)]

    def run(mesh):
        own = on_shards(model, mesh)
        gradients = with_teacher_targets(make_gradients(own, objective, classification()), objective, own.apply)
        step, start, read = make_parts_step(gradients, optimizer, mesh), jax.tree.map(jnp.copy, state), variables
        if mesh is not None:
            start, read = put_tables(start, mesh), put_tables(read, mesh)
            table = start.opt_state[0].mu["student"]["input"]["embedding"]
            assert {shard.data.shape for shard in table.addressable_shards} == {(3, HIDDEN)}
        for _ in range(2):
            start, metrics = step(start, build_parts(builds, PARTS, mesh), read)
        if mesh is not None:
            assert not start.params["student"]["input"]["embedding"].sharding.is_fully_replicated
        return take_tables((start._replace(key=()), metrics), mesh, state.params["student"])

    found, expected = run(make_mesh([f"data={PARTS}"])), run(None)
    assert found[0].params["student"]["input"]["embedding"].shape == (ROWS, HIDDEN)
    assert_close(found, expected, 1e-5, 1e-6)


def test_a_table_of_that_name_in_another_model_is_refused_on_several_devices():
    """`nn.Embed` calls its parameter like that; half of its rows would be read as all of them."""

    class Looks(nn.Module):
        @nn.compact
        def __call__(self, graph):
            return nn.Embed(ROWS, CLASSES, name="input")(graph.nodes)

    graph = from_edges(np.array([0]), np.array([1]), 2, nodes=np.array([0, ROWS - 1], np.int32))
    own, variables = Looks(), {"params": {"input": {"embedding": jnp.ones((ROWS, CLASSES))}}}
    with pytest.raises(InputError, match="parameters input/embedding: on several devices they are spread by row"):
        on_shards(own, make_mesh([f"data={PARTS}"])).apply(variables, graph)
    assert on_shards(own, None) is own


def test_the_table_never_travels_as_a_whole():
    """Rows and their gradients do: the program has no other collectives, and none as large as the table."""
    mesh, rows, width = jax.make_mesh((PARTS,), ("data",), axis_types=(AxisType.Auto,)), 4096, 8
    table, ids = put(jnp.zeros((rows, width)), mesh, "data"), put(jnp.arange(64) % 7, mesh, "data")
    spec = jax.sharding.PartitionSpec("data")
    fetch = jax.shard_map(fetch_rows, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)

    @jax.jit
    def loss(table, ids):
        return jnp.sum(fetch(table, ids) ** 2)

    text = jax.jit(jax.grad(loss)).lower(table, ids).compile().as_text()
    sent = [line for line in text.splitlines() if " all-gather(" in line or " reduce-scatter(" in line]
    assert len(sent) >= 3
    assert not [line for line in sent if f"[{rows}," in line]
    assert " all-reduce(" not in text
