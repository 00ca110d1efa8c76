"""Steps of several minibatches: means over them, on one device as on several, padding of the last step included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose
from training_samples import CLASSES, FEATURES, Tiny

from abkd_jax import datasets, distill, models, sampling
from abkd_jax.graph import from_edges
from abkd_jax.graph.host import host_graph
from abkd_jax.sampling import Minibatch
from abkd_jax.training.accumulate import build_parts, make_parts_step
from abkd_jax.training.sharding import make_mesh, put, take
from abkd_jax.training.step import (
    Gradients,
    TrainState,
    init_state,
    make_distill_step,
    make_gradients,
    with_teacher_targets,
)
from abkd_jax.training.tasks import classification
from abkd_jax.types import Batch, NodeMasks

NODES, PARTS = 12, 4
FOUR = pytest.mark.skipif(jax.device_count() < PARTS, reason="needs 4 devices, tests/conftest.py fakes them")


def build(seed):
    """A minibatch of the host: random features, labels of the first nodes."""
    rng = np.random.default_rng(seed)
    graph = from_edges(np.arange(NODES), (np.arange(NODES) + 1 + seed) % NODES, NODES)
    graph = graph._replace(nodes=rng.normal(size=(NODES, FEATURES)).astype(np.float32))
    labels = rng.integers(CLASSES, size=NODES).astype(np.int32)
    masks = NodeMasks(np.ones(NODES, bool), np.arange(NODES) < 4 + seed)
    batch = jax.device_get(Batch(graph, labels, masks))
    return Minibatch(batch, np.arange(NODES, dtype=np.int32))


def group(size=PARTS):
    return [functools.partial(build, seed) for seed in range(size)]


@pytest.fixture(scope="module")
def setup():
    model, optimizer = Tiny(dropout=0.4, normed=True), optax.sgd(0.5)
    state = jax.jit(lambda key: init_state(key, model, optimizer, build(0).batch))(jax.random.key(3))
    return model, optimizer, state


def run(setup, builds, mesh=None, count=PARTS):
    model, optimizer, state = setup
    step = make_parts_step(make_gradients(model, None, classification()), optimizer, mesh)
    start = jax.tree.map(jnp.copy, state)  # the step donates it, and what lies on a mesh may share its memory
    start = start if mesh is None else put(start, mesh)
    return take(step(start, build_parts(builds, count, mesh)), mesh)


def close(found, expected, atol=1e-6):
    def compare(one, other):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert_allclose(one, other, rtol=1e-5, atol=atol)

    jax.tree.map(compare, found, expected)


@pytest.mark.parametrize("size", [PARTS, 3], ids=["full", "last of an epoch"])
def test_a_step_is_the_mean_of_steps_that_start_alike(setup, size):
    """Gradient descent is linear in the gradient: the mean of the steps on each part is the step of the mean."""
    model, optimizer, state = setup
    single = make_distill_step(model, None, optimizer, classification())

    def alone(position):
        key = jax.random.fold_in(state.key, position)
        return single(jax.tree.map(jnp.copy, state)._replace(key=key), jax.device_put(build(position).batch))

    alike = [alone(position) for position in range(size)]
    expected = [(new.params, new.model_state, metrics) for new, metrics in alike]
    new, metrics = run(setup, group(size))
    close((new.params, new.model_state, metrics), jax.tree.map(lambda *of: np.mean(of, axis=0), *expected))
    assert int(new.step) == 1
    assert jax.random.key_data(new.key).tolist() == jax.random.key_data(state.key).tolist()


@FOUR
@pytest.mark.parametrize("devices", [2, 4])
@pytest.mark.parametrize("size", [PARTS, 1], ids=["full", "last of an epoch"])
def test_any_number_of_devices_takes_the_same_step(setup, devices, size):
    """Of one part alone, the other devices have nothing but copies of weight 0."""
    close(run(setup, group(size), make_mesh([f"data={devices}"])), run(setup, group(size)))


@FOUR
def test_distillation_on_sampled_neighbours_is_the_same_on_four_devices():
    """The teacher runs inside the step, on the parts of each device; two steps, the second from the first's result."""
    host = host_graph(datasets.load("synthetic"))
    sampler = sampling.neighbour_batches(host, 40, (4, 3))
    builds = next(sampler.groups(np.random.default_rng(0), PARTS))()
    student, teacher = models.GraphSAGE(4, 2, 3, dropout=0.2), models.GraphSAGE(8, 2, 3)
    terms = [distill.Term("soft", 1.0, distill.soft_label()), distill.Term("abkd", 1.0, distill.abkd_paper(dim=3))]
    objective = distill.weighted_sum(*terms)
    optimizer = optax.sgd(0.1)

    @jax.jit
    def init(key, batch):
        variables = teacher.init(key, batch.graph)
        outs = teacher.apply(variables, batch.graph), student.init_with_output(key, batch.graph)[0]
        params = objective.init(key, *outs)
        return variables, init_state(key, student, optimizer, batch, objective_params=params)

    variables, state = init(jax.random.key(0), builds[0]().batch)
    gradients = with_teacher_targets(make_gradients(student, objective, classification()), objective, teacher.apply)
    found = []
    for mesh in (None, make_mesh(["data=4"])):
        step = make_parts_step(gradients, optimizer, mesh)
        start = jax.tree.map(jnp.copy, (state, variables))
        own, read = start if mesh is None else put(start, mesh)
        for _ in range(2):
            own, metrics = step(own, build_parts(builds, PARTS, mesh), read)
        found.append(take((own, metrics), mesh))
    close(*found, atol=1e-5)


def test_parts_of_a_step_have_one_shape_and_hold_the_epoch():
    host = host_graph(datasets.load("synthetic"))
    sampler = sampling.cluster_batches(host, np.append(np.arange(200) // 2, np.full(100, 100)), 1)
    drawn = list(sampler.minibatches(np.random.default_rng(5)))
    assert len({minibatch.batch.labels.shape for minibatch in drawn}) > 1
    groups = [[build() for build in of()] for of in sampler.groups(np.random.default_rng(5), 3)]
    assert [len(of) for of in groups] == 33 * [3] + [2]
    for of in groups:
        assert len({minibatch.batch.labels.shape for minibatch in of}) == 1
    together = [minibatch.nodes.tolist() for of in groups for minibatch in of]
    assert together == [minibatch.nodes.tolist() for minibatch in drawn]


def test_what_fills_up_a_step_moves_no_embeddings_and_whole_numbers_stay_whole():
    """A table under the name that RGCN has for its own, whose rows a model reads by itself: -1 is the last one."""
    nodes, table = {"embedding": np.array([0, 1], np.int32)}, np.ones((4, 2), np.float32)
    batch = Batch(build(0).batch.graph._replace(nodes=nodes), np.zeros(2, np.int32), NodeMasks(*[np.ones(2, bool)] * 2))

    def gradients(state, batch):
        slope = jnp.zeros((4, 2)).at[batch.graph.nodes["embedding"]].add(0.25)
        counted = {"steps": state.model_state["counter"]["steps"] + 1}
        params = {"student": {"input": {"embedding": slope}}, "objective": {}}
        return Gradients(params, {"counter": counted}, {"loss": jnp.zeros(())})

    params = {"student": {"input": {"embedding": jnp.asarray(table)}}, "objective": {}}
    state = {"counter": {"steps": jnp.full((), 7, jnp.int32)}}
    optimizer, zero = optax.sgd(1.0), jnp.zeros((), jnp.int32)
    start = TrainState(params, state, optimizer.init(params), jax.random.key(0), zero)
    builds = [lambda: Minibatch(batch, np.arange(2, dtype=np.int32))] * 3
    new, _ = make_parts_step(gradients, optimizer)(start, build_parts(builds, PARTS))
    assert_allclose(new.params["student"]["input"]["embedding"][:, 0], [0.75, 0.75, 1.0, 1.0])
    steps = new.model_state["counter"]["steps"]
    assert (int(steps), steps.dtype) == (8, np.int32)
