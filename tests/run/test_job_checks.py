"""What of the jobs only the data can tell is said in one line, before a teacher is trained."""

import dataclasses
import functools
import re
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pipeline_samples import STUDENT, TEACHER, tiny
from problem_samples import graph_dataset, several_dataset, typed_dataset

from abkd_jax import distill
from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig
from abkd_jax.run import data as run_data
from abkd_jax.run import pipeline
from abkd_jax.run.data import build_model, prepare_data
from abkd_jax.run.given_teachers import given_teacher
from abkd_jax.run.job_checks import check_jobs, output_shapes, shapes_of_given
from abkd_jax.run.resolve import Job, resolve
from abkd_jax.types import InputError

GIN = ModelConfig(name="gin", layers=2, hidden=4, dropout=0.0, readout="mean")
RGCN = ModelConfig(name="rgcn", layers=2, hidden=4, dropout=0.0, embedding_width=4)
LOSSES = {
    "right": lambda: distill.soft_label(2.0),
    "rows": lambda: applied(lambda student, targets: (student.logits, {})),
    "alone": lambda: applied(lambda student, targets: jnp.mean(student.logits)),
    "whole": lambda: applied(lambda student, targets: (jnp.sum(student.logits > 0), {})),
    "nested": lambda: applied(lambda student, targets: (jnp.mean(student.logits), {"parts": {"all": 1.0}})),
    "product": lambda: applied(lambda student, targets: (jnp.mean(student.logits @ targets), {})),
    "refuses": lambda: applied(refuse),
}


def applied(function):
    """A loss whose targets are logits."""
    targets = lambda teacher, *, graph, mask: distill.freeze(teacher).logits  # noqa: E731
    return distill.output_error()._replace(
        targets=targets, apply=lambda params, targets, student, **_: function(student, targets)
    )


def refuse(student, targets):
    raise InputError("never for such outputs")


@pytest.fixture(autouse=True)
def own_losses(monkeypatch):
    """The losses as functions of a module `own_losses`."""
    module = types.ModuleType("own_losses")
    vars(module).update(LOSSES)
    monkeypatch.setitem(sys.modules, "own_losses", module)


def own(name, **settings):
    return MethodConfig(auxiliary=f"own_losses:{name}", auxiliary_weight=1.0, start="positive", **settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows", "gcrd on synthetic: own_losses:rows: its loss is float32[300, 3], expected a scalar of floats"),
        ("whole", "own_losses:whole: its loss is int32[], expected a scalar of floats"),
        ("alone", "own_losses:alone: its apply returns ShapeDtypeStruct, expected (loss, metrics), metrics a dict"),
        ("nested", "own_losses:nested: its metric parts is dict, expected an array or a number"),
        ("product", "own_losses:product: it fails on outputs of teacher and student: TypeError: dot_general"),
        ("refuses", "gcrd on synthetic: never for such outputs"),
    ],
)
def test_a_loss_of_ones_own_that_cannot_be_trained_is_named(name, message):
    data = prepare_data("synthetic")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        check_jobs(data, [Job("gcrd", STUDENT, own(name))], functools.partial(output_shapes, data, TEACHER.model))
    assert "\n" not in str(caught.value)


def test_it_is_said_before_a_teacher_is_trained_and_a_run_is_written_or_removed(tmp_path, monkeypatch):
    """A loss that is mended has another digest: its folder must not be that of the one that failed."""
    config = resolve(tiny(tmp_path, methods=("soft_label", "gcrd"), gcrd=own("rows")))
    monkeypatch.setattr(pipeline, "teacher_of", None)
    stored = config.out / "config.json"
    for overwrite in (False, True):
        with pytest.raises(InputError, match="gcrd on synthetic: own_losses:rows"):
            pipeline.distill(dataclasses.replace(config, overwrite=overwrite))
        assert stored.exists() == overwrite
        stored.write_text("of an earlier run")


def test_losses_that_can_be_trained_pass_on_nodes_and_graphs_by_every_teacher(monkeypatch):
    jobs = [Job("gcrd", STUDENT, own("right", auxiliary_nodes="train"))]
    data = prepare_data("synthetic")
    check_jobs(data, jobs, functools.partial(output_shapes, data, TEACHER.model, 2))
    monkeypatch.setattr(run_data, "MAX_FULL_BATCH_NODES", 10)  # a batch is a part of what outputs are stored of
    walks = prepare_data(typed_dataset(), batches=BatchConfig(kind="walks", size=10, length=2, steps=2))
    logits = np.random.default_rng(0).normal(size=(walks.dataset.num_nodes, 3)).astype(np.float32)
    stored = given_teacher(walks, logits, 1)
    check_jobs(walks, [Job("own", RGCN, own("right"))], functools.partial(shapes_of_given, walks, stored))
    rings = prepare_data(graph_dataset(), batches=BatchConfig(kind="graphs", size=8))
    found = output_shapes(rings, GIN)
    assert found.logits.shape == rings.batch.labels.shape
    of_nodes = dataclasses.replace(own("right"), auxiliary="fitnet")
    check_jobs(rings, [Job("fitnet", GIN, of_nodes)], lambda: found)


def test_a_loss_of_another_task_is_named_with_method_and_data():
    several = prepare_data(several_dataset())
    krd = MethodConfig(auxiliary="krd", auxiliary_weight=1.0)
    with pytest.raises(InputError, match="my_method on several: auxiliary is krd, which needs one class per node"):
        check_jobs(several, [Job("my_method", STUDENT, krd)], lambda: pytest.fail("no loss is from outside"))


@pytest.mark.parametrize("name", ["gcn", "mlp"])
def test_features_that_are_not_there_are_missed_by_models_that_read_them(name):
    typed = typed_dataset()
    data = prepare_data(typed._replace(features=np.zeros((0, 0), np.float32)))
    model = ModelConfig(name=name, layers=2, hidden=4, dropout=0.0)
    with pytest.raises(InputError, match=f"glnn on typed: typed has no features, which {name} reads; expected rgcn"):
        check_jobs(data, [Job("glnn", model, MethodConfig())], lambda: pytest.fail("no loss is from outside"))
    check_jobs(data, [Job("glnn", RGCN, MethodConfig())], lambda: pytest.fail("no loss is from outside"))
    assert isinstance(build_model(prepare_data(typed), model), nn.Module)
    assert output_shapes(data, RGCN).logits.dtype == jax.numpy.float32
