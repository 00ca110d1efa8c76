"""One call: the numbers of the command, from any teacher, with nothing left on disk."""

import dataclasses
import functools
import tempfile

import flax.linen as nn
import numpy as np
import pytest
from matplotlib.figure import Figure
from pipeline_samples import tiny

import abkd_jax
from abkd_jax import InputError, datasets, distill
from abkd_jax.configs.options import MethodConfig, ModelConfig, OptimConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.inference.student import Student
from abkd_jax.run import folder, pipeline

METHODS = ("soft_label", "abkd")
LOGITS = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
NOT_THE_NUMBERS = ("seconds", "latency_ms", "provenance")


def _numbers(records):
    return [{key: value for key, value in record.items() if key not in NOT_THE_NUMBERS} for record in records]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The config of a finished run of the command."""
    config = tiny(tmp_path_factory.mktemp("compress"), methods=METHODS)
    pipeline.distill(config)
    return config


@pytest.fixture(scope="module")
def found(run, tmp_path_factory):
    """The same in one call, and what it left among the temporary files."""
    place, before = tmp_path_factory.mktemp("temporary"), tempfile.tempdir
    tempfile.tempdir = str(place)
    try:
        compressed = abkd_jax.compress(datasets.load("synthetic"), config=run)
    finally:
        tempfile.tempdir = before
    assert list(place.iterdir()) == []
    assert compressed.folder is None
    return compressed


def test_the_numbers_are_those_of_the_command(run, found):
    assert _numbers(found.records) == _numbers(folder.read_results(run.out)["records"])


def test_the_students_are_those_that_the_command_keeps(run, found):
    graph = datasets.load("synthetic")
    kept = abkd_jax.load(run.out, "abkd")
    assert found.student.card["seed"] == kept.card["seed"]
    np.testing.assert_array_equal(found.student.predict(graph), kept.predict(graph))
    assert [student.card["seed"] for student in found.students["soft_label"]] == [0, 1]


def test_tables_and_figures(found):
    assert [line.split()[0] for line in found.table().splitlines()[2:]] == ["teacher", *METHODS]
    assert found._repr_markdown_().startswith("| method")
    for figure in (
        found.learning_curves(),
        found.layer_maps(),
        found.layer_maps("abkd", "dissimilarity"),
        found.pareto(),
    ):
        assert isinstance(figure, Figure)
        assert figure.axes
    with pytest.raises(InputError, match="soft_label has no attention of layers, expected one of abkd"):
        found.layer_maps("soft_label")


def test_a_teacher_from_elsewhere_and_a_folder_that_is_kept(tmp_path, program_folder):
    graph = datasets.load("synthetic")
    outputs = np.eye(3, dtype=np.float32)[graph.labels]
    own = {"soft_label": MethodConfig(soft_label_weight=1.0, optim=OptimConfig(epochs=2))}
    found = abkd_jax.compress(graph, outputs, methods=own, seeds=1, out=tmp_path / "run")
    assert found.config.soft_label.optim.epochs == 2
    assert folder.open_run(tmp_path / "run").description["dataset"] == "synthetic"
    assert found.records[0]["test_accuracy"] == 1.0
    assert found.records[0]["parameters"] is None
    assert any(program_folder.glob("*-cache"))  # compiled programs are kept for later calls
    assert abkd_jax.load(tmp_path / "run").card["weights"] == found.student.card["weights"]
    with pytest.raises(InputError, match="logits alone, but abkd compare hidden layers"):
        abkd_jax.compress(graph, outputs, methods="abkd", seeds=1)


def own_error():
    """A loss of one's own: at the top of a module, so that it has a name."""
    return distill.output_error()


def test_a_loss_is_a_method_as_a_name_as_a_function_and_in_settings():
    """Two names of one loss train the same student."""
    graph = datasets.load("synthetic")
    config = dataclasses.replace(distill_config("synthetic"), seeds=1, max_epochs=2, student=ModelConfig("mlp", 2))
    found = abkd_jax.compress(graph, LOGITS, methods=["krd", own_error], config=config)
    assert found.config.methods == ("krd", "own_error")
    assert found.config.own_error.auxiliary == f"{__name__}:own_error"
    mine = dataclasses.replace(found.config.own_error, auxiliary_weight=1.0)
    again = abkd_jax.compress(graph, LOGITS, methods={"mine": mine}, config=config)
    weights = {record["method"]: record["weights"] for record in found.records + again.records}
    assert list(again.students) == ["mine"]
    assert weights["mine"] == weights["own_error"] != weights["krd"]


def own_features():
    return distill.fitnet()


def test_an_own_loss_of_hidden_layers_is_refused_where_the_teacher_has_none():
    with pytest.raises(InputError, match="own_features on synthetic: fitnet: the teacher returns no hidden layers"):
        abkd_jax.compress(datasets.load("synthetic"), LOGITS, methods=own_features, seeds=1)


def test_devices_traces_and_the_root_of_the_data_are_those_of_the_settings(run, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def reached(plan, prepared, given):
        raise Reached(prepared)

    roots, load = [], datasets.load
    monkeypatch.setattr(datasets, "load", lambda name, root, split: roots.append(root) or load(name, None, split))
    monkeypatch.setattr(pipeline, "train_and_score", reached)
    config = dataclasses.replace(run, mesh=("seeds=2",), profile_dir=tmp_path / "traces", data_root=tmp_path)
    for own in (None, "elsewhere"):
        with pytest.raises(Reached) as found:
            abkd_jax.compress("synthetic", config=config, data_root=own)
        (prepared,) = found.value.args
        assert (prepared.mesh.shape["seeds"], prepared.profile_dir) == (2, tmp_path / "traces")
    assert roots == [tmp_path, "elsewhere"]


def test_a_teacher_to_train_goes_before_the_files_of_the_settings(run, tmp_path, monkeypatch):
    def reached(plan, prepared, given):
        raise InputError(f"given is {given}")

    monkeypatch.setattr(pipeline, "train_and_score", reached)
    config = dataclasses.replace(run, teacher_outputs=(tmp_path / "absent.npz",))
    with pytest.raises(InputError, match=r"^given is None$"):
        abkd_jax.compress("synthetic", run.teacher, config=config)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("method", "message"),
    [
        (distill.output_error(), "compress: a method is Objective, expected a name, or a function that returns an"),
        (lambda: distill.output_error(), "<lambda>: it cannot be found by name, expected a function at the top of"),
        (functools.partial(own_error), "an object of class partial: it cannot be found by name"),
        (distill.gcrd, "would be called gcrd, which is taken; expected another function, or gcrd itself"),
        (3, "a method is int, expected a name"),
    ],
)
def test_a_method_that_has_no_name_is_refused_in_one_line(method, message):
    with pytest.raises(InputError, match=message):
        abkd_jax.compress(datasets.load("synthetic"), methods=[method])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "kdr"}, "method kdr is unknown, expected some of supervised, soft_label, .*; did you mean krd"),
        (
            {"methods": {"seeds": MethodConfig()}},
            "methods has the name 'seeds', expected an identifier that no setting",
        ),
        ({"methods": {"a b": MethodConfig()}}, "methods has the name 'a b', expected an identifier"),
        ({"methods": {"gcrd": {}}}, r"compress: methods\['gcrd'\] is dict, expected a MethodConfig"),
        ({"student": "gcn"}, "student is str, expected a ModelConfig, or a function of your own that returns a module"),
        ({"student": nn.Dense(3)}, "student is Dense, expected a ModelConfig, or a function"),
        ({"student": lambda config, classes: None}, "<lambda>: it cannot be found by name, expected a function at the"),
        ({"teacher_model": {"name": "gcn"}}, "compress: teacher_model is dict, expected a ModelConfig"),
        ({"config": "cora"}, "compress: config is str, expected a DistillConfig"),
        ({"student": ModelConfig(hidden=0)}, "^student.hidden is 0, expected a whole number"),
        ({"max_epochs": 0}, "^max_epochs is 0, expected a whole number"),
        ({"teacher_model": ModelConfig()}, "compress: teacher_model without weights, expected a file of weights as t"),
        ({"teacher": None, "teacher_model": ModelConfig()}, "one that is trained here is a TeacherConfig"),
        ({"teacher": [LOGITS, "t.npz"], "teacher_model": ModelConfig()}, "teacher_model without weights"),
        ({"teacher": ["t.pt"], "teacher_model": ModelConfig()}, r"t\.pt: a pickle, which may run code"),
    ],
)
def test_settings_of_another_type_are_refused_in_one_line_by_their_names_in_python(changes, message):
    with pytest.raises(InputError, match=message):
        abkd_jax.compress(datasets.load("synthetic"), **{"teacher": LOGITS, **changes})


def test_a_score_of_zero_is_a_score(found):
    """As an RMSE of 0 is, whose score is minus it."""
    bundle, scores = found.student.bundle, (None, -2.0, 0.0, -1.0)
    cards = [bundle.card | {"val_accuracy": score} for score in scores]
    students = [Student(dataclasses.replace(bundle, card=card)) for card in cards]
    assert dataclasses.replace(found, students={"abkd": students}).student is students[2]


def test_what_is_returned_is_named_in_a_line(found):
    assert repr(found) == "Compressed(data='synthetic', folder=None)"
    assert len(repr(found.student)) < 80
    assert f"{found.records[-1]['parameters']:,} parameters" in repr(found.student)


@pytest.mark.parametrize("data", [3, [], {"x": 1}, np.ones(3)], ids=["a number", "a list", "a dict", "an array"])
def test_what_is_no_graph_is_refused_in_one_line(data):
    with pytest.raises(InputError, match=r"compress: data is a .*, expected a data set"):
        abkd_jax.compress(data)
