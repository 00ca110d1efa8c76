"""Regimes, trials, contents of cells and comparisons: each against values worked out by hand."""

import dataclasses
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax import datasets
from abkd_jax.configs.options import ModelConfig
from abkd_jax.configs.presets import preset
from abkd_jax.run.identity import fingerprint
from abkd_jax.run.starts import possible
from abkd_jax.study.cells import cell_path, load, read_cell, write_cell
from abkd_jax.study.methods import METHODS, recipe, student_of
from abkd_jax.study.options import Table, student_model
from abkd_jax.study.regimes import view
from abkd_jax.study.reproduce import compare
from abkd_jax.study.tuning import ranking, trials
from abkd_jax.types import InputError
from experiments.reproduce import Reproduce, as_stored, reproduce

DRAWN = ("positive", "teacher_directions", "attention_map")
STARTS = (*DRAWN, "fitted")
PLACE = {"regime": "transductive", "student": "4x4"}
FIXED = {
    f"{loss}_{suffix}": {start}
    for loss in ("soft_label", "abkd", "teacher_input")
    for suffix, start in (("cut_out", "attention_map"), ("plain", "positive"), ("fitted", "fitted"))
} | {"soft_label_fitted_dropout": {"fitted"}}


def test_nodes_that_are_unseen_have_no_edge_and_are_in_no_loss():
    whole = datasets.load("synthetic")
    seen = view(whole, "inductive", np.random.default_rng(0))
    unseen = seen.tests["test: unseen nodes"].test_mask
    assert unseen.sum() == int(0.2 * whole.test_mask.sum())
    assert (whole.test_mask | ~unseen).all()
    assert not unseen[seen.train.senders].any()
    assert not unseen[seen.train.receivers].any()
    kept = ~(unseen[whole.senders] | unseen[whole.receivers])
    np.testing.assert_array_equal(seen.train.senders, whole.senders[kept])
    assert not (seen.taught & unseen).any()
    np.testing.assert_array_equal(seen.train.test_mask | unseen, whole.test_mask)
    for test in seen.tests.values():
        np.testing.assert_array_equal(test.senders, whole.senders)


def test_unseen_validation_nodes_are_the_teachers_alone():
    whole = datasets.load("synthetic")
    inductive, seen = (view(whole, name, np.random.default_rng(0)) for name in ("inductive", "unseen_validation"))
    assert fingerprint(seen.teacher) == fingerprint(inductive.train)
    assert [*map(fingerprint, seen.tests.values())] == [*map(fingerprint, inductive.tests.values())]
    choosing = seen.validation.val_mask
    assert fingerprint(seen.validation._replace(val_mask=whole.val_mask)) == fingerprint(inductive.train)
    assert choosing.sum() == whole.val_mask.sum() // 2
    np.testing.assert_array_equal(seen.train.val_mask, whole.val_mask & ~choosing)
    np.testing.assert_array_equal(seen.taught, inductive.taught & ~choosing)
    kept = ~(choosing[inductive.train.senders] | choosing[inductive.train.receivers])
    np.testing.assert_array_equal(seen.train.senders, inductive.train.senders[kept])
    few = whole._replace(val_mask=whole.val_mask & (np.cumsum(whole.val_mask) == 1))
    with pytest.raises(InputError, match="1 validation nodes, expected at least 2 in the regime unseen_validation"):
        view(few, "unseen_validation", np.random.default_rng(0))


def test_labelled_nodes_alone_are_taught():
    whole = datasets.load("synthetic")
    seen = view(whole, "labelled_only", np.random.default_rng(0))
    np.testing.assert_array_equal(seen.taught, whole.train_mask)
    assert seen.with_labels


def test_a_regime_that_is_unknown():
    with pytest.raises(InputError, match="regime few is unknown, expected one of transductive"):
        view(datasets.load("synthetic"), "few", np.random.default_rng(0))


@pytest.mark.parametrize("name", METHODS)
def test_trials_lie_in_the_ranges_and_start_with_the_preset(name):
    tried = recipe(name, preset("cora"), STARTS)
    first, *others = trials(tried, 16)
    assert len(others) == 15
    assert first.numbers["optim.learning_rate"] == tried.method.optim.learning_rate
    assert {trial.start for trial in others} == FIXED.get(name, set(DRAWN))
    assert first.start in FIXED.get(name, {"positive"})
    for trial in others:
        for path, (low, high) in tried.ranges.items():
            assert low * 0.99 <= trial.numbers[path] <= high * 1.01
    assert trials(tried, 16) == trials(tried, 16, draw=0)
    again = trials(tried, 16, draw=1)
    assert again[0] == first
    assert [one.numbers for one in again[1:] if one in others] == []


def test_methods_alone_have_labels_and_no_soft_labels():
    alone, beside = (recipe(name, preset("cora"), STARTS).method for name in ("labels_gsp", "gsp"))
    assert (alone.task_weight, alone.soft_label_weight, alone.auxiliary) == (1.0, 0.0, "gsp")
    assert (beside.task_weight, beside.soft_label_weight, beside.auxiliary) == (0.0, 1.0, "gsp")


def test_a_student_that_repeats_a_layer_cannot_start_from_averages_of_layers():
    teacher = ModelConfig(layers=8, hidden=8)
    for name, mapped in (("mustad", True), ("mustad_repeated", False), ("labels_mustad_repeated", False)):
        student = student_of(name, ModelConfig(layers=2, hidden=4))
        assert ("attention_map" in possible(student, teacher)) == mapped
        assert recipe(name, preset("cora"), STARTS).method.auxiliary == "mustad"
    assert recipe("mine:my_repeated", preset("cora"), STARTS).method.auxiliary == "mine:my_repeated"


def test_on_minibatches_the_optimizer_is_the_preset_s_with_rates_of_a_decade_around_its_own():
    for dataset in ("mutag", "ogbg-molbace"):
        own = preset(dataset).soft_label.optim
        tried = recipe("gcrd", preset(dataset), STARTS, minibatches=True)
        assert tried.method.optim == own
        low, high = tried.ranges["optim.learning_rate"]
        assert low * high == pytest.approx(own.learning_rate**2)
        assert high == pytest.approx(10 * low)
        assert trials(tried, 4)[0].numbers["optim.learning_rate"] == own.learning_rate
    whole = recipe("gcrd", preset("cora"), STARTS)
    assert whole.ranges["optim.learning_rate"] == (0.01, 0.1)


def test_methods_from_one_start_are_those_of_all_starts():
    for one in ("soft_label_cut_out", "abkd_cut_out", "soft_label_fitted", "abkd_fitted", "teacher_input_fitted"):
        every = one.removesuffix("_cut_out").removesuffix("_fitted")
        fixed, tried = recipe(one, preset("cora"), STARTS), recipe(every, preset("cora"), STARTS)
        assert fixed.ranges == tried.ranges
        assert dataclasses.replace(fixed.method, start=tried.method.start) == tried.method


def test_students_with_dropout_are_taught_as_those_without():
    for name in ("soft_label", "abkd", "soft_label_fitted"):
        assert recipe(f"{name}_dropout", preset("cora"), STARTS) == recipe(name, preset("cora"), STARTS)
        narrow, wide = ModelConfig(layers=2, hidden=4, dropout=0.0), ModelConfig(name="mlp", dropout=0.0)
        assert student_of(name, narrow) == narrow
        assert student_of(f"{name}_dropout", narrow) == dataclasses.replace(narrow, input_dropout=0.5)
        assert student_of(f"{name}_dropout", wide) == dataclasses.replace(wide, input_dropout=0.5, dropout=0.5)
    assert student_of("mine:my_dropout", wide) == wide


def test_a_start_that_the_students_cannot_have():
    with pytest.raises(InputError, match="soft_label_cut_out: start attention_map, but the students have positive"):
        recipe("soft_label_cut_out", preset("cora"), ("positive", "teacher_directions"))


def test_a_method_that_is_unknown():
    with pytest.raises(InputError, match="did you mean abkd"):
        recipe("abdk", preset("cora"), STARTS)


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=6))
def test_trials_are_ranked_by_their_mean(scores):
    found = ranking(np.array(scores))
    assert sorted(found) == list(range(len(scores)))
    means = [round(float(np.mean(scores[trial])), 12) for trial in found]
    assert means == sorted(means, reverse=True)


def test_a_trial_that_diverged_comes_last():
    assert ranking(np.array([[np.nan, 0.9], [0.1, 0.1]])) == [1, 0]


@pytest.mark.parametrize("text", ["4", "4x", "x4", "a:b:c:4x4", "4x4x4", "4x4:", "4x4:none"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="expected layers x units"):
        student_model(text, ModelConfig())


def test_a_student_with_normalised_layers():
    named = student_model("gcn:4x2:batch", ModelConfig(norm="layer"))
    assert (named.name, named.layers, named.hidden, named.norm) == ("gcn", 4, 2, "batch")
    own = ModelConfig(norm="layer", dropout=0.5)
    assert student_model("4x2", own) == dataclasses.replace(own, layers=4, hidden=2)


def cell(scores, **changes):
    provenance = {"code": "1", "versions": {}, "hardware": "here"}
    names = {"table": "main", "dataset": "cora", "regime": "transductive", "student": "4x4", "method": "abkd"}
    seeds = list(range(len(scores)))
    return {
        **names,
        "metric": "accuracy",
        "seeds": seeds,
        "splits": [0] * len(seeds),
        "scores": {"test": scores},
        "provenance": provenance,
    } | changes


def test_cells_are_read_as_they_were_written_and_only_for_their_settings(tmp_path):
    path = cell_path(tmp_path, "cora", "transductive", "4x4", "abkd")
    write_cell(path, cell([0.5, None], identity="a"))
    assert load(tmp_path) == [cell([0.5, None], identity="a")]
    assert read_cell(path, "a") == cell([0.5, None], identity="a")
    assert read_cell(path, "b") is None


@pytest.mark.parametrize(
    ("new", "changes", "reproduced"),
    [
        ([0.5, 0.7], {}, True),
        ([0.5, 0.71], {}, False),  # the same code, versions and hardware, and another score
        ([0.5, 0.71], {"provenance": {"code": "2"}}, True),  # within the deviation
        ([0.1, 0.2], {"provenance": {"code": "2"}}, False),
    ],
)
def test_a_reproduction(new, changes, reproduced):
    (found,) = compare([cell([0.5, 0.7])], [cell(new, **changes)])
    assert found.reproduced == reproduced


def test_a_table_is_reproduced_as_far_as_it_is_stored():
    stored = [
        {"dataset": "cora", "method": "abkd", "seeds": [0, 1], **PLACE},
        {"dataset": "cora", "method": "teacher", "seeds": [0, 1], **PLACE, "student": "teacher"},
        {"dataset": "pubmed", "method": "soft_label", "seeds": [0], **PLACE},
    ]
    table = Table(datasets=("cora", "citeseer", "pubmed"), methods=("soft_label", "abkd"))
    parts = [(part.datasets, part.methods, part.seeds) for part in as_stored(table, stored)]
    assert parts == [(("cora",), ("abkd",), 2), (("pubmed",), ("soft_label",), 1)]
    wide = dataclasses.replace(table, students=("2x2", "4x4"), regimes=("labelled_only", "transductive"))
    assert {(part.students, part.regimes) for part in as_stored(wide, stored)} == {(("4x4",), ("transductive",))}
    for absent in (stored[1:2], [one | {"student": "4x8"} for one in stored]):
        with pytest.raises(InputError, match="table main: no cell of these data sets, regimes, students and methods"):
            as_stored(table, absent)


def test_the_stored_teachers_of_a_layout_are_taken_along(tmp_path, monkeypatch):
    stored = [cell([0.5], dataset="heterophilous:tolokers")]
    write_cell(cell_path(tmp_path / "main", "heterophilous:tolokers", "transductive", "4x4", "abkd"), stored[0])
    (tmp_path / "teachers/tolokers").mkdir(parents=True)  # by the short name, as `stored_path` has it
    (tmp_path / "teachers/tolokers/one.safetensors").touch()
    found = []

    def train(run):
        found.extend(path.relative_to(run.results).as_posix() for path in run.results.rglob("*.safetensors"))
        shutil.copytree(tmp_path / "main", run.results / "main")

    monkeypatch.setattr("experiments.reproduce.train", train)
    table = Table(datasets=("heterophilous:tolokers",), methods=("abkd",))
    reproduce(Reproduce(table, tmp_path, work=tmp_path / "work"))
    assert found == ["teachers/tolokers/one.safetensors"]
