"""Losses from outside the package, by name."""

import dataclasses
import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from distill_samples import EDGELESS, make_output
from numpy.testing import assert_allclose

from abkd_jax.configs.options import MethodConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.distill.build import build_objective
from abkd_jax.run.identity import config_dict, run_digest
from abkd_jax.run.resolve import resolve
from abkd_jax.types import InputError, NodeMasks

SOURCE = """
from abkd_jax import Objective, distill

def my_loss(temperature=2.0):
    return distill.soft_label(temperature, scale="none")

def needs_more(argument):
    return distill.soft_label()

def fails():
    return distill.soft_label(-1.0)

def a_number():
    return 3

value = 3
"""


@pytest.fixture
def module(own_module) -> Path:
    """The file of a module `outside_losses` in the current folder."""
    return own_module("outside_losses", SOURCE)


def method(name: str) -> MethodConfig:
    return MethodConfig(auxiliary=name, auxiliary_weight=3.0)


@pytest.mark.usefixtures("module")
def test_a_loss_from_outside_is_a_term_of_its_own_name():
    objective, masks = build_objective(method("outside_losses:my_loss")), NodeMasks(*[jnp.ones(12, bool)] * 2)
    teacher, student = make_output(0, ()), make_output(1, ())
    targets = objective.targets(teacher, graph=EDGELESS, mask=masks)
    params = objective.init(jax.random.key(0), teacher, student)
    loss, metrics = objective.apply(params, targets, student, graph=EDGELESS, mask=masks, key=None)
    p, q = (jax.nn.log_softmax(output.logits / 2.0) for output in (teacher, student))
    expected = jnp.mean(jnp.sum(jnp.exp(p) * (p - q), axis=1))
    assert_allclose(metrics["my_loss/loss"], expected, rtol=1e-5)
    assert_allclose(loss, 3.0 * expected, rtol=1e-5)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gcdr", "auxiliary is 'gcdr', expected one of fitnet, .*, or module:function; did you mean gcrd?"),
        ("no_such_module:loss", "no_such_module:loss: there is no module no_such_module"),
        ("outside_losses:other", "outside_losses has no other, expected a function that returns an Objective"),
        ("outside_losses:value", "outside_losses has no function value"),
        ("outside_losses:needs_more", "call without arguments failed with TypeError: .*argument"),
        ("outside_losses:fails", "soft_label: temperature is -1.0"),
        ("outside_losses:a_number", "it returns int, expected an abkd_jax.Objective"),
        ("outside_losses:", "'outside_losses:' names no loss, expected module:function"),
        ("./outside_losses.py:my_loss", "names no loss, expected module:function"),
    ],
)
def test_what_is_no_loss_is_one_line_before_anything_is_read(name, message):
    config = dataclasses.replace(distill_config("digits"), gcrd=method(name), methods=("gcrd",))
    with pytest.raises(InputError, match=message) as caught:
        resolve(config)
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_imported_is_one_line(module):
    module.write_text("import numpy\n1 +\n")
    with pytest.raises(InputError, match="import of outside_losses failed with SyntaxError"):
        build_objective(method("outside_losses:my_loss"))


def test_a_known_name_is_required_of_a_weight_of_0_too():
    with pytest.raises(InputError, match=r"did you mean lsp\?"):
        build_objective(MethodConfig(soft_label_weight=1.0, auxiliary="lsp_"))
    assert build_objective(MethodConfig(soft_label_weight=1.0, auxiliary="never_imported:loss")) is not None


def test_identity_holds_the_name_and_the_content_of_the_source(module):
    of_own = method("outside_losses:my_loss")
    config = dataclasses.replace(distill_config("digits"), gcrd=of_own, methods=("gcrd",))
    before, run = config_dict(of_own), run_digest(config)
    assert before["auxiliary"] == "outside_losses:my_loss"
    assert "auxiliary_source" not in config_dict(method("gcrd"))
    resolve(config)
    module.write_text(SOURCE.replace("2.0", "4.00"))
    assert config_dict(of_own) == before  # what was imported is what would run
    line = r"outside_losses:my_loss: outside_losses.py has changed .*, or importlib.reload\(outside_losses\)"
    with pytest.raises(InputError, match=line):
        resolve(config)
    importlib.reload(sys.modules["outside_losses"])
    resolve(config)
    after = config_dict(of_own)
    assert {name for name in after if after[name] != before[name]} == {"auxiliary_source"}
    assert run_digest(config) != run
