"""Models from outside the package in a run: what is checked first, what is decided for them, all from end to end."""

import dataclasses
import functools
import logging
import re
import subprocess
import sys

import jax
import numpy as np
import own_model_samples
import pytest
from cli_samples import printed
from pipeline_samples import TEACHER, TEACHER_OPTIONS, tiny
from problem_samples import typed_dataset

import abkd_jax
from abkd_jax import datasets
from abkd_jax.cli import parser
from abkd_jax.configs.options import MethodConfig, ModelConfig, TeacherConfig
from abkd_jax.inference.neighbourhood import radius
from abkd_jax.run import data as run_data
from abkd_jax.run.data import prepare_data
from abkd_jax.run.identity import DataIdentity, config_dict, run_digest, teacher_identity
from abkd_jax.run.job_checks import check_jobs, check_teacher, output_shapes
from abkd_jax.run.resolve import Job, jobs, resolve
from abkd_jax.study.methods import recipe
from abkd_jax.study.options import student_model
from abkd_jax.types import InputError

ALIGNED = MethodConfig(alignment_weight=1.0, start="default")
SOURCE = """
import flax.linen as nn
from abkd_jax import GNNOutput, aggregate

class Tiny(nn.Module):
    width: int
    classes: int

    @nn.compact
    def __call__(self, graph, train=False):
        h = nn.relu(nn.Dense(self.width)(aggregate.propagate(graph, graph.nodes)))
        return GNNOutput(nn.Dense(self.classes)(h), (h,))

def tiny(config, classes):
    return Tiny(config.hidden, classes)
"""


def own(name, **settings):
    return ModelConfig(f"own_model_samples:{name}", **{"layers": 2, "hidden": 4, "dropout": 0.5, **settings})


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


def checked(data, model, method=ALIGNED):
    check_jobs(data, [Job("abkd", model, method)], functools.partial(output_shapes, data, TEACHER.model))


@pytest.mark.parametrize("name", ["tiny", "of_nnx", "of_nnx_with_dropout", "of_the_package"])
def test_what_can_be_trained_passes(data, name):
    checked(data, own(name))
    check_teacher(data, own(name), [Job("abkd", own("tiny"), ALIGNED)])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("few_rows", "logits are float32[5, 3], expected floats [300, 3]"),
        ("narrow", "logits are float32[300, 2], expected floats [300, 3]"),
        ("integers", "logits are int32[300, 3], expected floats [300, 3]"),
        ("flat_hidden", "hidden layer 1 is float32[300], expected floats [300, width]"),
        ("no_output", "its module returns tuple, expected an abkd_jax.GNNOutput"),
        ("breaks", "it fails on the graph: TypeError: dot_general"),
        ("without_parameters", "it has no parameters, expected some to train"),
        ("logits_alone", "it returns no hidden layers, which abkd compares; expected some beside the logits"),
    ],
)
def test_what_cannot_is_one_line_before_a_teacher_is_trained(data, name, message):
    line = f"own_model_samples:{name}: {message}"
    with pytest.raises(InputError, match=re.escape(f"abkd on synthetic: {line}")) as caught:
        checked(data, own(name))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=re.escape(f"teacher on synthetic: {line}")):
        check_teacher(data, own(name), [Job("abkd", TEACHER.model, ALIGNED)])


def test_a_positive_start_needs_an_input_layer(data):
    positive = dataclasses.replace(ALIGNED, start="positive")
    checked(data, own("tiny"), positive)
    with pytest.raises(InputError, match=r"start positive: the model has no input layer: .*; expected start default"):
        checked(data, own("logits_alone"), MethodConfig(start="positive"))


def test_graphs_evaluated_layer_by_layer_and_nodes_without_features_are_refused(monkeypatch):
    typed = typed_dataset()
    bare = prepare_data(typed._replace(features=np.zeros((0, 0), np.float32)))
    with pytest.raises(
        InputError, match="typed has no features, and own_model_samples:tiny takes no embeddings; expected"
    ):
        checked(bare, own("tiny"))
    monkeypatch.setattr(run_data, "MAX_FULL_BATCH_NODES", 10)
    sampled = prepare_data("synthetic", batches=run_data.BatchConfig(kind="walks", size=10, length=2, steps=2))
    with pytest.raises(
        InputError, match="tiny: synthetic is evaluated layer by layer, expected a model of this package"
    ):
        checked(sampled, own("tiny"))
    checked(sampled, own("of_the_package"))


def test_the_start_is_the_modules_own_and_others_are_refused(tmp_path):
    config = tiny(tmp_path, student=own("tiny"), methods=("supervised", "soft_label", "abkd"))
    assert {job.method.start for job in jobs(resolve(config))} == {"default"}
    for start, reason in {
        "fitted": "solves layers linear in their parameters",
        "attention_map": "knows the parameters of the models here, not those of own_model_samples:tiny; expected",
        "teacher_directions": "knows the parameters of the models here",
    }.items():
        with pytest.raises(InputError, match=f"abkd: start {start} {reason}"):
            resolve(dataclasses.replace(config, abkd=dataclasses.replace(config.abkd, start=start)))
    with pytest.raises(
        InputError, match="input teacher knows the first layers of the models here, not that of own_model"
    ):
        resolve(dataclasses.replace(config, abkd=dataclasses.replace(config.abkd, input="teacher")))
    taught = dataclasses.replace(tiny(tmp_path), teacher=TeacherConfig(own("tiny")))
    assert {job.name: job.method.start for job in jobs(resolve(taught))}["abkd"] == "fitted"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("graphsag", r"--student: model is 'graphsag', expected one of gcnii, .*; did you mean graphsage\?"),
        (
            "no_such_module:tiny",
            "--student: no_such_module:tiny: there is no module no_such_module, expected one in the",
        ),
        (
            "own_model_samples:toni",
            "own_model_samples has no toni, expected a function that returns a flax.linen.Module",
        ),
    ],
)
def test_a_wrong_name_is_one_line_before_data_are_read(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        resolve(tiny(tmp_path, student=ModelConfig(name, layers=2, hidden=4)))


def test_what_it_reads_is_not_known():
    with pytest.raises(InputError, match="own_model_samples:tiny: what it reads is not known"):
        radius(own("tiny"))


def test_a_table_has_students_of_ones_own():
    model = student_model("own_model_samples:tiny:2x8", ModelConfig())
    assert (model.name, model.layers, model.hidden) == ("own_model_samples:tiny", 2, 8)
    preset = abkd_jax.configs.presets.preset("cora")
    assert recipe("soft_label", preset, ("default",)).method.start == "default"


@pytest.fixture
def source(own_module):
    """The file of a module `models_of_test` in the current folder."""
    return own_module("models_of_test", SOURCE)


def test_identities_change_with_the_source(source, tmp_path):
    model = ModelConfig("models_of_test:tiny", layers=2, hidden=8)
    config = tiny(tmp_path, student=model)
    where = DataIdentity("synthetic", "0", {})
    before = config_dict(model), run_digest(config), teacher_identity(where, TeacherConfig(model), 0)
    source.write_text(SOURCE + "# another\n")
    sys.modules.pop("models_of_test")
    after = config_dict(model), run_digest(config), teacher_identity(where, TeacherConfig(model), 0)
    assert {key for key in after[0] if after[0][key] != before[0][key]} == {"source"}
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert "source" not in config_dict(ModelConfig())


@pytest.mark.usefixtures("unchecked")
def test_a_run_from_end_to_end(source, tmp_path, capsys, caplog):
    options = [*TEACHER_OPTIONS, "--student.name", "models_of_test:tiny", "--student.hidden", "8", "--out", "run"]
    parser.main(["distill", *options, "--teachers", "teachers", "--methods", "abkd"])
    assert "abkd" in capsys.readouterr().out
    assert "stablehlo" in printed(capsys, "export", "run", "--format", "stablehlo", "--out", "exported")
    graph, student = datasets.load("synthetic"), abkd_jax.load("run")
    assert student.bundle.config.name == "models_of_test:tiny"
    program = jax.export.deserialize(bytearray((tmp_path / "exported" / "model.stablehlo").read_bytes()))
    exported = program.call(graph.features, graph.senders, graph.receivers)["logits"]
    np.testing.assert_allclose(student.logits(graph), exported, atol=1e-5)
    np.testing.assert_array_equal(student.logits(graph, np.array([7, 2])), student.logits(graph)[[7, 2]])
    lines = printed(capsys, "predict", "--model", "run", "--graph", "synthetic").splitlines()
    assert len(lines) == 301
    source.write_text(SOURCE + "# another\n")
    sys.modules.pop("models_of_test")
    with caplog.at_level(logging.WARNING):
        abkd_jax.load("run")
    assert "the source of models_of_test:tiny has changed since it was trained" in caplog.text
    sys.modules.pop("models_of_test")
    source.write_text(SOURCE.replace("Tiny(config.hidden, classes)", "Tiny(config.hidden + 100, classes)"))
    with pytest.raises(InputError, match=r"params/Dense_0/bias is \[108\], expected \[8\], as it was trained"):
        abkd_jax.load("run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "abkd_jax", "predict", "--model", str(tmp_path / "run"), "--graph", "synthetic"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere)
    assert done.returncode == 1
    assert (
        "models_of_test:tiny: there is no module models_of_test, expected one in the current folder or on PYTHONPATH"
        in (done.stderr.splitlines()[-1])
    )


def test_compress_takes_the_function_itself():
    graph = datasets.load("synthetic")
    logits = np.eye(3, dtype=np.float32)[np.maximum(graph.labels, 0)]
    found = abkd_jax.compress(
        graph, logits, student=own_model_samples.tiny, methods="soft_label", seeds=2, max_epochs=2
    )
    assert found.config.student.name == "own_model_samples:tiny"
    assert (found.config.student.layers, found.config.student.hidden) == (4, 4)
    assert found.student.predict(graph).shape == (300, 3)
    assert "batch_stats" in found.student.bundle.variables
