"""Starts that students can have, and which of them `auto` is."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pipeline_samples import STUDENT, TEACHER, tiny

import abkd_jax
from abkd_jax import datasets
from abkd_jax.configs.options import MethodConfig, ModelConfig
from abkd_jax.configs.presets import DATASETS, distill_config
from abkd_jax.run.compress import _knowing
from abkd_jax.run.resolve import jobs, methods_of, resolve
from abkd_jax.run.starts import possible
from abkd_jax.types import InputError

BASE = dataclasses.replace(tiny(Path("never")), methods=("supervised", "soft_label", "abkd", "glnn", "lsp"))
PLAIN = {"supervised": "positive", "soft_label": "positive", "abkd": "positive", "glnn": "default", "lsp": "positive"}
CUT_OUT = PLAIN | dict.fromkeys(("soft_label", "abkd", "lsp"), "attention_map")


def starts_of(config):
    return {job.name: job.method.start for job in jobs(resolve(config))}


def with_teacher(**changes):
    return {"teacher": dataclasses.replace(TEACHER, model=dataclasses.replace(TEACHER.model, **changes))}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, CUT_OUT),
        ({"student": dataclasses.replace(STUDENT, layers=9)}, CUT_OUT),
        ({"student": dataclasses.replace(STUDENT, hidden=9)}, PLAIN),  # wider than its teacher
        ({"student": ModelConfig("gcn", layers=2, hidden=4)}, PLAIN),
        ({"student": dataclasses.replace(STUDENT, norm="layer")}, PLAIN),
        (with_teacher(variant=True), PLAIN),
        (with_teacher(repeated=True), PLAIN),
        ({"teacher_ensemble": 2}, PLAIN),
        ({"teacher_outputs": (Path("a.npz"),)}, PLAIN),
        ({"teacher_weights": Path("a.safetensors")}, CUT_OUT),
        ({"abkd": dataclasses.replace(BASE.abkd, input="teacher")}, CUT_OUT | {"abkd": "positive"}),
        ({"lsp": dataclasses.replace(BASE.lsp, start="default")}, CUT_OUT | {"lsp": "default"}),
        ({"lsp": dataclasses.replace(BASE.lsp, student=ModelConfig("mlp", 2, 4))}, CUT_OUT | {"lsp": "positive"}),
        ({"supervised": MethodConfig(start="attention_map")}, CUT_OUT | {"supervised": "attention_map"}),
    ],
    ids=range(14),
)
def test_students_are_cut_out_where_they_can_be_and_learn_from_their_teacher(changes, expected):
    assert starts_of(dataclasses.replace(BASE, **changes)) == expected


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_preset_gets_a_start_for_all_of_its_methods(dataset):
    config = resolve(distill_config(dataset))
    found = {getattr(config, name).start for name in methods_of(config)}
    assert "auto" not in found
    assert ("attention_map" in found) == (config.teacher.model.name == "gcnii")


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
        for changes in ({}, {"hidden": 9}, {"name": "gcn"}, {"variant": True}, {"norm": "layer"}, {"repeated": True})
    ]
    for student in models:
        for teacher in models:
            given = {"student": student, "teacher": dataclasses.replace(TEACHER, model=teacher)}
            for start in ("teacher_directions", "attention_map"):
                method = dataclasses.replace(BASE.abkd, start=start)
                config = dataclasses.replace(BASE, **given, abkd=method, methods=("abkd",))
                try:
                    accepted = starts_of(config) == {"abkd": start}
                except InputError:
                    accepted = False
                assert accepted == (start in possible(student, teacher)), (student, teacher, start)


def test_a_teacher_from_elsewhere_is_cut_up_where_its_architecture_is_known():
    outputs = np.eye(3, dtype=np.float32)[datasets.load("synthetic").labels]
    found = abkd_jax.compress("synthetic", outputs, methods="soft_label", seeds=1, max_epochs=1)
    assert found.config.soft_label.start == "positive"
    model = dataclasses.replace(TEACHER.model, hidden=5)
    weights = resolve(_knowing(BASE, Path("t.safetensors"), model))
    assert (weights.teacher.model, weights.abkd.start) == (model, "attention_map")
    for other in (Path("t.npz"), [Path("t.safetensors")] * 2, lambda graph: graph.nodes):
        assert starts_of(_knowing(BASE, other, model)) == PLAIN
