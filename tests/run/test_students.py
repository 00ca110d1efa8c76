"""Students: the losses that the configs describe, and one student for each teacher."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distill.distill_samples import EDGELESS, make_output, random_params
from numpy.testing import assert_allclose
from pipeline_samples import STUDENT, TEACHER

from abkd_jax import datasets
from abkd_jax.configs.options import MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.distill import (
    attention_map,
    attention_transfer,
    ff_g2m,
    fitnet,
    fitted,
    gcrd,
    geometric,
    gsp,
    krd,
    lsp,
    mustad,
    propagate,
)
from abkd_jax.distill.build import build_objective
from abkd_jax.graph.build import from_edges
from abkd_jax.models import build
from abkd_jax.models.external import Applied
from abkd_jax.run import records
from abkd_jax.run.data import prepare_data
from abkd_jax.run.identity import config_dict
from abkd_jax.run.program import Teacher, Trained, select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import train_teachers
from abkd_jax.types import InputError, NodeMasks

METHOD = MethodConfig(
    task_weight=0.5,
    soft_label_weight=1.0,
    start="positive",
    optim=OptimConfig(epochs=6, eval_every=3, monitor="val_accuracy", learning_rate=0.04),
)


def losses(method, teacher, student, masks):
    objective = build_objective(method)
    params = objective.init(jax.random.key(0), teacher, student)
    targets = objective.targets(teacher, graph=EDGELESS, mask=masks)
    return objective.apply(params, targets, student, graph=EDGELESS, mask=masks, key=jax.random.key(1))


@pytest.mark.parametrize(("nodes", "chosen"), [("all", slice(0, 12)), ("train", slice(3, 7))])
def test_soft_labels_have_the_weight_temperature_and_nodes_of_the_config(nodes, chosen):
    teacher, student = make_output(0, (4,)), make_output(1, (3,))
    masks = NodeMasks(jnp.ones(12, bool), (jnp.arange(12) >= 3) & (jnp.arange(12) < 7))
    loss, _ = losses(
        MethodConfig(soft_label_weight=3.0, temperature=0.5, soft_label_nodes=nodes), teacher, student, masks
    )
    log_p, log_q = (
        z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        for z in (np.asarray(o.logits, np.float64) / 0.5 for o in (teacher, student))
    )
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)[chosen].mean()
    assert_allclose(loss, 3.0 * 0.5 * kl, rtol=1e-5)  # below 1 the loss is scaled by T


def test_labels_alone_need_no_objective():
    assert build_objective(MethodConfig()) is None


@pytest.mark.parametrize("attention", ["learned", "uniform", "last_layer"])
@pytest.mark.parametrize("dissimilarity", ["closed_form", "fixed_axes", "trained_heads", "trained_heads_pooled"])
def test_every_alignment_of_the_config_makes_a_loss(attention, dissimilarity):
    teacher, student = make_output(0, (6, 6, 6)), make_output(1, (4, 4))
    method = MethodConfig(alignment_weight=0.1, attention=attention, dissimilarity=dissimilarity, axes=3, dim=5)
    masks = NodeMasks(jnp.ones(12, bool), jnp.ones(12, bool))
    loss, metrics = jax.eval_shape(lambda t, s: losses(method, t, s, masks), teacher, student)
    assert loss.shape == ()
    assert metrics["abkd/attention"].shape == metrics["abkd/dissimilarity"].shape == (3, 2)
    params = jax.eval_shape(lambda t, s: build_objective(method).init(jax.random.key(0), t, s), teacher, student)
    widths = {leaf.shape[-1] for leaf in jax.tree.leaves(params)}
    heads = {"closed_form": set(), "fixed_axes": {3}}.get(dissimilarity, {5})
    assert widths == heads | ({5} if attention == "learned" else set())


AUXILIARY = {
    "fitnet": fitnet(dim=3),
    "attention_transfer": attention_transfer(),
    "lsp": lsp(),
    "gsp": gsp(),
    "gcrd": gcrd(dim=3),
    "mustad": mustad(),
    "geometric": geometric(delta=0.1, layers=((-1, -1),)),
    "krd": krd(0.25),
    "ff_g2m": ff_g2m(0.25),
    "propagate": propagate(0.25),
}


@pytest.mark.parametrize("nodes", ["all", "train"])
@pytest.mark.parametrize("name", AUXILIARY)
def test_earlier_losses_have_the_weight_width_and_nodes_of_the_config(name, nodes):
    teacher, student = make_output(0, (4, 4)), make_output(1, (3,))
    masks = NodeMasks(jnp.ones(12, bool), jnp.arange(12) < 7)
    graph = from_edges(np.arange(11), np.arange(1, 12), 12, nodes=np.zeros((12, 1), np.float32), undirected=True)
    method = MethodConfig(auxiliary=name, auxiliary_weight=3.0, auxiliary_nodes=nodes, dim=3)
    objective, seen = build_objective(method), {"graph": graph, "mask": getattr(masks, nodes)}
    params = random_params(objective, teacher, student)
    both = {"graph": graph, "mask": masks, "key": jax.random.key(1)}
    loss, metrics = objective.apply(params, objective.targets(teacher, graph=graph, mask=masks), student, **both)
    plain = AUXILIARY[name]
    expected, _ = plain.apply(params[name], plain.targets(teacher, **seen), student, **seen, key=None)
    assert_allclose(metrics[f"{name}/loss"], expected, rtol=1e-5)
    assert_allclose(loss, 3.0 * expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["gsp", "gcrd", "geometric"])
def test_pairs_of_nodes_are_drawn_where_there_are_more(name):
    teacher, student = make_output(0, (4,)), make_output(1, (3,))
    objective = build_objective(MethodConfig(auxiliary=name, auxiliary_weight=1.0, auxiliary_max_nodes=5))
    masks = NodeMasks(jnp.ones(12, bool), jnp.ones(12, bool))
    params = random_params(objective, teacher, student)
    targets = objective.targets(teacher, graph=EDGELESS, mask=masks)
    one, two = (
        objective.apply(params, targets, student, graph=EDGELESS, mask=masks, key=jax.random.key(k))[0] for k in (0, 1)
    )
    assert one != two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auxiliary_weight": 0.1, "auxiliary_max_nodes": 0}, "gcrd: max_nodes is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"alignment_weight": 0.1, "axes": 0}, "k is 0"),
        ({"alignment_weight": 0.1, "dim": 0}, "dim is 0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_objective(dataclasses.replace(METHOD, **change))


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic", None)


@pytest.fixture(scope="module")
def teachers(data):
    """Two teachers that have not been trained: any logits will do."""
    init = jax.jit(build(TEACHER.model, datasets.load("synthetic").num_classes).init)
    variables = jax.vmap(init, in_axes=(0, None))(jnp.stack([jax.random.key(10), jax.random.key(11)]), data.batch.graph)
    return taught_by(Trained(variables, variables, np.ones(2, int), np.ones(2, int), {}, (), build(TEACHER.model, 3)))


def taught_by(trained, model=TEACHER.model):
    return Teacher(trained, model, config_dict(model))


@pytest.fixture(scope="module")
def pair(data, teachers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("students")
    return folder, train(data, teachers, METHOD, folder)


def train(data, teachers, method, folder, seeds=(0, 1)):
    return train_students(data, Job("soft_label", STUDENT, method), teachers, [(folder, list(seeds))])


def test_result_is_stacked_over_seeds(pair):
    students = pair[1]
    assert list(students.epochs) == [6, 6]
    assert students.variables["params"]["input"]["kernel"].shape == (2, 32, 4)
    assert students.history["loss"].shape == (3, 2)  # untrained, and two evaluations
    assert (students.history["epoch"] == [[0, 0], [3, 3], [6, 6]]).all()
    assert np.isfinite(students.history["loss"]).all()


def test_each_student_learns_from_its_own_teacher(data, teachers, pair, tmp_path):
    alone = train(data, teachers, METHOD, tmp_path / "alone", seeds=[1])
    jax.tree.map(
        lambda both, one: assert_allclose(both[1], one[0], rtol=1e-3, atol=1e-5), pair[1].variables, alone.variables
    )
    turned = jax.tree.map(lambda leaf: leaf[::-1], teachers.models.variables)
    swapped = taught_by(teachers.models._replace(variables=turned))
    misled = train(data, swapped, METHOD, tmp_path / "misled", seeds=[1])
    assert not np.allclose(misled.history["loss"], alone.history["loss"])
    inputs = [np.asarray(run.variables["params"]["input"]["kernel"]) for run in (misled, alone)]
    assert not np.allclose(*inputs, atol=1e-5)


def test_attention_map_start_is_cut_out_of_each_teacher(data, teachers, tmp_path):
    """Before the first step: the input layers are columns of the teachers', and the layers pair up by depth."""
    method = dataclasses.replace(METHOD, start="attention_map", optim=OptimConfig(epochs=1, learning_rate=1e-9))
    found = train(data, teachers, method, tmp_path).variables["params"]
    model, mask = build(TEACHER.model, 3), data.batch.masks.all
    depths = jnp.repeat(jnp.eye(2), 2, axis=0)  # four teacher layers, two student layers
    for seed in (0, 1):
        teacher = select_seed(teachers.models.variables, seed)
        out = model.apply(teacher, data.batch.graph)
        expected = attention_map(select_seed(found, seed), teacher["params"], out, depths, mask)
        jax.tree.map(lambda x, y, s=seed: assert_allclose(x[s], y, rtol=1e-3, atol=1e-4), found, expected)


def test_fitted_students_are_those_of_their_own_teachers(data, teachers, tmp_path):
    """Before the first step, behind the features and behind the teacher's first layer, whose fit has fewer inputs."""
    method = dataclasses.replace(METHOD, start="fitted", optim=OptimConfig(epochs=1, learning_rate=1e-9))
    found = train(data, teachers, method, tmp_path / "full").variables["params"]
    behind = train(data, teachers, dataclasses.replace(method, input="teacher"), tmp_path / "behind").history
    teacher, student, mask = build(TEACHER.model, 3), build(STUDENT, 3), data.batch.masks.all
    labels = np.asarray(data.batch.labels)
    start = jax.jit(lambda params, out, graph: fitted(params, student, out, graph, mask))
    for seed in (0, 1):
        out = jax.jit(teacher.apply)(select_seed(teachers.models.variables, seed), data.batch.graph)
        expected = start(select_seed(found, seed), out, data.batch.graph)
        jax.tree.map(lambda x, y, s=seed: assert_allclose(x[s], y, rtol=1e-2, atol=1e-3), found, expected)
    assert (behind["val_accuracy"][0] > np.bincount(labels).max() / len(labels)).all()


def test_a_start_is_the_same_through_the_input_of_the_teacher(data, teachers, tmp_path):
    """Before the first step: what a start computes of the teacher's first layer it computes behind it too."""
    idle = OptimConfig(epochs=1, learning_rate=1e-9)
    plain, reduced = (
        train(
            data, teachers, dataclasses.replace(METHOD, start="attention_map", input=read, optim=idle), tmp_path / read
        )
        for read in ("full", "teacher")
    )
    jax.tree.map(lambda x, y: assert_allclose(x, y, rtol=1e-3, atol=1e-4), plain.variables, reduced.variables)


def test_input_through_the_teacher_stays_among_its_directions(data, teachers, tmp_path):
    students = train(data, teachers, dataclasses.replace(METHOD, input="teacher"), tmp_path)
    assert set(students.variables) == {"params"}
    for seed in (0, 1):
        read = np.asarray(select_seed(teachers.models.variables, seed)["params"]["input"]["kernel"])
        assert read.shape[1] < read.shape[0]  # else every kernel is among them
        kernel = np.asarray(students.variables["params"]["input"]["kernel"][seed])
        assert_allclose(read @ np.linalg.lstsq(read, kernel)[0], kernel, atol=1e-4)
    losses = students.history["loss"]
    assert (losses[-1] < losses[0]).all()


def test_input_of_a_teacher_without_parameters_is_refused(data, teachers, tmp_path):
    function = Applied(lambda variables, graph: build(TEACHER.model, 3).apply(variables, graph))
    nameless = teachers._replace(models=teachers.models._replace(module=function))
    with pytest.raises(InputError, match="multiplies no kernel with the node features"):
        train(data, nameless, dataclasses.replace(METHOD, input="teacher"), tmp_path)


def test_finished_students_are_read_back(data, teachers, pair):
    folder, students = pair
    again = train(data, teachers, METHOD, folder)
    jax.tree.map(np.testing.assert_array_equal, again.variables, students.variables)
    assert float(again.history["seconds"]) == float(students.history["seconds"])


def test_students_of_another_config_are_refused(data, teachers, pair):
    other = dataclasses.replace(METHOD, temperature=0.5)
    with pytest.raises(InputError, match=r"temperature is 0\.25 there, 0\.5 here"):
        train(data, teachers, other, pair[0])


def test_batch_statistics_travel_from_training_to_evaluation(data, tmp_path):
    """Of a teacher and its student, both with batch normalisation: trained, kept, read back and used."""
    model = ModelConfig("gcn", layers=2, hidden=4, dropout=0.0, norm="batch")
    config = TeacherConfig(model, OptimConfig(epochs=3))
    teacher, again = (train_teachers(data, config, 1, tmp_path) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, again.variables, teacher.variables)
    method = dataclasses.replace(METHOD, optim=dataclasses.replace(METHOD.optim, eval_every=6))
    job, programs = Job("s", model, method), [(tmp_path / "students", [0])]
    students, restored = (train_students(data, job, taught_by(of, model), programs) for of in (teacher, again))
    jax.tree.map(np.testing.assert_array_equal, restored.variables, students.variables)
    for stacked in (teacher.variables, students.variables):
        variables = select_seed(stacked, 0)
        statistics = variables["batch_stats"]["norm_0"]
        assert (np.asarray(statistics["mean"]) != 0.0).all()
        assert (np.asarray(statistics["var"]) != 1.0).all()
    record = records.make_records((data,), "s", students)[0]
    logits = _normed_gcn(data, jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), students.variables))
    hits = logits.argmax(axis=1) == data.dataset.labels
    assert record["test_accuracy"] == pytest.approx(hits[data.dataset.test_mask].mean(), abs=1e-6)
    assert record["val_accuracy"] == pytest.approx(students.history["val_accuracy"][-1, 0], abs=1e-6)
    assert record["parameters"] == 32 * 4 + 4 + 2 * 4 + 4 * 3 + 3


def _normed_gcn(data, variables):
    """Logits of a GCN of two layers with running statistics, in NumPy float64."""
    p, statistics, graph = variables["params"], variables["batch_stats"]["norm_0"], data.batch.graph
    matrix = np.zeros((graph.nodes.shape[0],) * 2)
    matrix[np.asarray(graph.receivers), np.asarray(graph.senders)] = 1.0
    matrix += np.eye(len(matrix))
    matrix /= np.sqrt(matrix.sum(axis=1))[:, None] * np.sqrt(matrix.sum(axis=1))[None]
    h = matrix @ np.asarray(graph.nodes, np.float64) @ p["conv_0"]["kernel"] + p["conv_0"]["bias"]
    h = (h - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5) * p["norm_0"]["scale"] + p["norm_0"]["bias"]
    return matrix @ np.maximum(h, 0.0) @ p["conv_1"]["kernel"] + p["conv_1"]["bias"]
