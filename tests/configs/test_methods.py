"""Methods that a run has no field for until they are named."""

import dataclasses
import pickle

import pytest

from abkd_jax.configs import methods, options, presets
from abkd_jax.configs.methods import METHODS, can_be_named, with_methods, with_named
from abkd_jax.distill import build

RUN = presets.distill_config("cora")


def test_a_named_loss_stands_beside_the_soft_labels_of_the_run():
    found = with_named(RUN, ["soft_label", "krd", "geometric", "a.b:mine", "unknown"])
    assert methods.methods_of(found) == (*methods.methods_of(RUN), "krd", "geometric", "mine")
    changes = {
        "krd": {"auxiliary": "krd", "auxiliary_weight": 1.0},
        "geometric": {"auxiliary": "geometric", "auxiliary_weight": 1e-6, "auxiliary_max_nodes": 1024},
        "mine": {"auxiliary": "a.b:mine", "auxiliary_weight": 1.0},
    }
    for name, changed in changes.items():
        assert getattr(found, name) == dataclasses.replace(RUN.soft_label, **changed)
    assert {option.name: getattr(found, option.name) for option in dataclasses.fields(RUN)} == vars(RUN)
    assert with_named(RUN, ["soft_label", "glnn"]) is RUN


def test_every_loss_of_the_package_is_a_method():
    assert set(build._AUXILIARY) <= set(METHODS)
    assert set(methods.FURTHER) == set(methods.FURTHER_WEIGHTS)
    assert not set(methods.FURTHER) & set(methods.methods_of(RUN))


def test_a_run_with_further_methods_is_one_kind_of_run_and_can_be_sent_to_other_processes():
    both = with_named(RUN, ["krd", "lsp", "a:mine"])
    assert both == with_named(with_named(RUN, ["krd"]), ["a:mine"])
    assert type(both) is type(with_named(RUN, ["krd", "a:mine"]))
    assert isinstance(both, options.DistillConfig)
    again = pickle.loads(pickle.dumps(dataclasses.replace(both, seeds=7)))
    assert again == dataclasses.replace(both, seeds=7)
    assert again.mine.auxiliary == "a:mine"


@pytest.mark.parametrize(
    "name",
    ["a b", "", "class", "seeds", "student", "teacher", "abkd", "__init__", "quiet", "1x", "data", "extended_at"],
)
def test_names_that_no_further_method_can_have(name):
    assert not can_be_named(name)
    assert with_named(RUN, [f"module:{name}"]) is RUN


def test_settings_replace_those_of_methods_that_are_there():
    mine = options.MethodConfig(task_weight=0.25)
    found = with_methods(RUN, {"abkd": mine, "own": mine})
    assert (found.abkd, found.own, found.soft_label) == (mine, mine, RUN.soft_label)
