"""Runs whose graph is spread over devices: the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from graphs import features
from model_samples import CLASSES, HIDDEN, NODES, assert_close, initialised, make, trained_once, typed_graph
from partition_samples import needs_devices, spread

from abkd_jax import distill
from abkd_jax.configs.options import MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.graph import node_mask, prepare
from abkd_jax.run.data import prepare_data
from abkd_jax.run.program import Teacher
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import train_teachers
from abkd_jax.training import tasks
from abkd_jax.training.sharding import make_mesh
from abkd_jax.training.step import init_state, make_distill_step
from abkd_jax.types import Batch, GNNOutput, NodeMasks

PARTS = min(8, jax.device_count())


@needs_devices
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "rgcn"])
def test_a_training_step_has_the_gradients_and_statistics_of_one_device(name):
    """With batch norm over the nodes of all blocks, and dropout by the number of a node, which stays."""
    model = make(name, layers=2, dropout=0.4)
    variables, run = initialised(model), trained_once(model)
    gradients, out, state = run(variables, spread(typed_graph(), PARTS), jax.random.key(0))
    own = jax.tree.map(lambda leaf: leaf[:NODES], out)
    assert_close((gradients, own, state), run(variables, prepare(typed_graph()), jax.random.key(0)), 1e-5, 1e-5)


@needs_devices
def test_a_distillation_step_learns_as_on_one_device():
    """Soft labels and the closed form of ABKD, which compares layers over the nodes of all blocks."""
    graph = typed_graph()
    whole, blocks = prepare(graph), spread(graph, PARTS)
    objective = distill.weighted_sum(
        distill.Term("soft", 1.0, distill.soft_label()), distill.Term("abkd", 0.5, distill.abkd_closed_form(2))
    )
    student, optimizer = make("gcn", layers=2, norm="none"), optax.sgd(0.1)
    step = make_distill_step(student, objective, optimizer, tasks.classification())
    variables, states = initialised(student), []
    for cut in (whole, blocks):
        size = cut.nodes.shape[0]
        out = GNNOutput(*(jnp.asarray(features(seed, size, width)) for seed, width in ((1, CLASSES), (2, HIDDEN))))
        out = out._replace(hiddens=(out.hiddens,))
        batch = Batch(cut, jnp.arange(size) % CLASSES, NodeMasks(node_mask(cut), node_mask(cut)))
        heads = objective.init(jax.random.key(1), out, out)
        targets = jax.jit(objective.targets)(out, graph=cut, mask=batch.masks)
        params = jax.tree.map(jnp.copy, variables["params"])
        state = init_state(jax.random.key(0), student, optimizer, batch, objective_params=heads, student_params=params)
        states.append(step(state, batch._replace(targets=targets)))
    (one, metrics), (many, found) = states
    assert_close((many.params, found), (one.params, metrics), 1e-5, 1e-5)


def assert_same_run(found, expected, relative=1e-5):
    histories = ({k: v for k, v in of.history.items() if k != "seconds"} for of in (found, expected))
    assert_close(*histories, relative, relative)
    assert_close(found.variables, expected.variables, 10 * relative, relative)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    model, optim = ModelConfig("gcnii", layers=4, hidden=6, dropout=0.3), OptimConfig(epochs=2, eval_every=1)
    folder = tmp_path_factory.mktemp("teacher")
    return Teacher(train_teachers(prepare_data("synthetic"), TeacherConfig(model, optim), 1, folder), model, {})


@needs_devices
@pytest.mark.parametrize(("start", "relative"), [("attention_map", 1e-5), ("fitted", 1e-3)], ids=["map", "fitted"])
def test_a_student_starts_from_a_teacher_in_blocks_as_on_one_device(teacher, tmp_path, start, relative):
    """Conjugate gradients pass the rounding of other sums on from step to step."""
    student = ModelConfig("gcnii", layers=2, hidden=6, dropout=0.3)
    method = MethodConfig(soft_label_weight=1.0, start=start, optim=OptimConfig(epochs=2, eval_every=1))
    one, many = (
        train_students(
            prepare_data("synthetic", mesh=make_mesh(mesh)),
            Job("soft_label", student, method),
            teacher,
            [(tmp_path / "-".join(("students", *mesh)), [0])],
        )
        for mesh in ((), (f"nodes={PARTS}",))
    )
    assert_same_run(many, one, relative)


@needs_devices
def test_a_teacher_has_the_losses_of_one_device_and_is_read_on_fewer(tmp_path):
    model = ModelConfig("gcn", layers=2, hidden=4, dropout=0.3)
    method = MethodConfig(soft_label_weight=1.0, start="positive", optim=OptimConfig(epochs=4, eval_every=2))

    def teacher_of(folder, *mesh, may_train=True):
        data = prepare_data("synthetic", mesh=make_mesh(mesh))
        return train_teachers(data, TeacherConfig(model, OptimConfig(epochs=4)), 1, folder, may_train=may_train)

    def student_of(folder, *mesh):
        data, models = prepare_data("synthetic", mesh=make_mesh(mesh)), teacher_of(folder, *mesh, may_train=False)
        job = Job("soft_label", model, method)
        return train_students(data, job, Teacher(models, model, {}), [(folder / "students", [0])])

    # The teacher is trained in blocks, and its student, which reads it from its checkpoint, in fewer of them.
    folder, (fewer, blocks) = tmp_path / "run", ("nodes=2", f"nodes={PARTS}")
    one, many = teacher_of(tmp_path / "one"), teacher_of(folder, blocks)
    assert_same_run(many, one)
    student = student_of(folder, fewer)
    assert np.isfinite(student.history["loss"]).all()
