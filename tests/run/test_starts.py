"""Starts that students can have, and which of them `auto` is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pipeline_samples import STUDENT, TEACHER, tiny

import abkd_jax
from abkd_jax import datasets
from abkd_jax.configs.methods import methods_of
from abkd_jax.configs.options import MethodConfig, ModelConfig
from abkd_jax.configs.presets import DATASETS, distill_config
from abkd_jax.run.compress import _knowing
from abkd_jax.run.resolve import jobs, resolve
from abkd_jax.run.starts import possible, with_start
from abkd_jax.types import InputError

BASE = dataclasses.replace(tiny(Path("never")), methods=("supervised", "soft_label", "abkd", "glnn", "lsp"))
PLAIN = {"supervised": "positive", "soft_label": "positive", "abkd": "positive", "glnn": "default", "lsp": "positive"}
FITTED = PLAIN | dict.fromkeys(("soft_label", "abkd", "lsp"), "fitted")


def starts_of(config):
    return {job.name: job.method.start for job in jobs(resolve(config))}


def with_teacher(**changes):
    return {"teacher": dataclasses.replace(TEACHER, model=dataclasses.replace(TEACHER.model, **changes))}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, FITTED),
        ({"student": dataclasses.replace(STUDENT, layers=9)}, FITTED),
        ({"student": dataclasses.replace(STUDENT, hidden=9)}, FITTED),  # wider than its teacher
        ({"student": ModelConfig("gcn", layers=2, hidden=4)}, FITTED),
        ({"student": ModelConfig("gat", layers=2, hidden=4)}, PLAIN),
        ({"student": dataclasses.replace(STUDENT, norm="layer")}, PLAIN),
        ({"student": dataclasses.replace(STUDENT, norm="batch")}, FITTED),
        ({"student": dataclasses.replace(STUDENT, repeated=True)}, PLAIN),
        (with_teacher(name="gat", layers=2), FITTED),
        ({"teacher_ensemble": 2}, FITTED),
        ({"teacher_outputs": (Path("a.npz"),)}, FITTED),
        ({"teacher_weights": Path("a.safetensors")}, FITTED),
        ({"abkd": dataclasses.replace(BASE.abkd, input="teacher")}, FITTED),
        ({"lsp": dataclasses.replace(BASE.lsp, start="default")}, FITTED | {"lsp": "default"}),
        ({"lsp": dataclasses.replace(BASE.lsp, student=ModelConfig("rgcn", 2, 4))}, FITTED | {"lsp": "positive"}),
        ({"supervised": MethodConfig(start="attention_map")}, FITTED | {"supervised": "attention_map"}),
        ({"supervised": MethodConfig(start="fitted")}, FITTED | {"supervised": "fitted"}),
    ],
    ids=range(17),
)
def test_students_are_fitted_where_they_can_be_and_learn_from_their_teacher(changes, expected):
    assert starts_of(dataclasses.replace(BASE, **changes)) == expected


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_preset_gets_a_start_for_all_of_its_methods(dataset):
    preset = distill_config(dataset)
    config = resolve(preset)
    asked, found = ({getattr(of, name).start for name in methods_of(config)} for of in (preset, config))
    assert "auto" not in found
    linear = config.student.name in ("gcnii", "gcn", "graphsage")
    assert ("fitted" in found) == (linear and "auto" in asked)
    assert linear == (dataset == "ogbn-arxiv" or "auto" in asked)  # whose published methods name their start


def test_a_graph_level_student_is_cut_out_and_not_fitted():
    """Fitting goes through the layers of nodes; the cut-out start of a GCNII needs no more than parameters."""
    student, teacher = (ModelConfig(layers=2, hidden=hidden, readout="mean") for hidden in (4, 8))
    assert "fitted" not in possible(student, teacher)
    assert with_start(BASE.soft_label, student, teacher).start == "attention_map"
    assert with_start(dataclasses.replace(BASE.soft_label, input="teacher"), student, teacher).start == "positive"


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (ModelConfig("gat", 2, 4), r"linear in their parameters \(gcnii, gcn, mlp, graphsage\), not those of gat"),
        (ModelConfig("gcn", 2, 4, norm="layer"), "one by one, expected --abkd.student.norm none or batch"),
        (dataclasses.replace(STUDENT, repeated=True), "one by one, expected --abkd.student.repeated False"),
    ],
    ids=["gat", "norm", "repeated"],
)
def test_what_cannot_be_fitted_is_refused_before_anything_is_compiled(student, message):
    abkd = dataclasses.replace(BASE.abkd, start="fitted", student=student)
    with pytest.raises(InputError, match=f"abkd: start fitted solves .*{message}"):
        resolve(dataclasses.replace(BASE, abkd=abkd))


@pytest.mark.parametrize(
    ("option", "value", "path"),
    [
        ("variant", True, "--teacher.model.variant False"),
        ("norm", "batch", "--teacher.model.norm none"),
        ("norm", "batch", "--abkd.student.norm none"),
    ],
)
def test_what_cannot_be_averaged_is_refused_before_anything_is_compiled(option, value, path):
    model = dataclasses.replace(STUDENT, **{option: value})
    at_teacher = path.startswith("--teacher")
    abkd = dataclasses.replace(BASE.abkd, start="attention_map", student=None if at_teacher else model)
    config = dataclasses.replace(BASE, abkd=abkd, **(with_teacher(**{option: value}) if at_teacher else {}))
    with pytest.raises(InputError, match=f"abkd: start attention_map averages .* expected {path}"):
        resolve(config)


def test_starts_that_are_possible_are_those_that_are_accepted():
    """Tuning tries the first, the command line takes the second: one rule."""
    plain = ModelConfig(layers=4, hidden=8)
    models = [
        dataclasses.replace(plain, **changes)
        for changes in (
            *({}, {"hidden": 9}, {"name": "gcn"}, {"variant": True}, {"repeated": True}),
            *({"norm": "layer"}, {"norm": "batch"}),
        )
    ]
    for student in models:
        for teacher in models:
            given = {"student": student, "teacher": dataclasses.replace(TEACHER, model=teacher)}
            for start in ("teacher_directions", "attention_map", "fitted"):
                method = dataclasses.replace(BASE.abkd, start=start)
                config = dataclasses.replace(BASE, **given, abkd=method, methods=("abkd",))
                try:
                    accepted = starts_of(config) == {"abkd": start}
                except InputError:
                    accepted = False
                assert accepted == (start in possible(student, teacher)), (student, teacher, start)


def test_students_of_a_teacher_from_elsewhere_are_fitted_to_what_it_returns():
    outputs = np.eye(3, dtype=np.float32)[datasets.load("synthetic").labels]
    found = abkd_jax.compress("synthetic", outputs, methods="soft_label", seeds=1, max_epochs=1)
    assert found.config.soft_label.start == "fitted"
    model = dataclasses.replace(TEACHER.model, hidden=5)
    weights = resolve(_knowing(BASE, Path("t.safetensors"), model))
    assert (weights.teacher.model, weights.abkd.start) == (model, "fitted")
    pooled = dataclasses.replace(BASE, student=dataclasses.replace(STUDENT, readout="mean"))
    assert _knowing(pooled, Path("t.safetensors"), model).abkd.start == "auto"  # of which `resolve` makes attention_map
    for other in (Path("t.npz"), [Path("t.safetensors")] * 2, lambda graph: graph.nodes):
        assert starts_of(_knowing(BASE, other, model)) == FITTED
        assert _knowing(pooled, other, model).abkd.start == "positive"
