"""What happens once a model is compiled as a whole: operation by operation, every shape of a leaf is one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pipeline_samples import TEACHER

from abkd_jax.run.data import prepare_data
from abkd_jax.run.program import select_seed, stack_trees
from abkd_jax.run.teachers import train_teacher

SHAPES = ((2, 3), (2, 5), (2, 7), (2, 4, 3))
FEW = 10  # programs of a teacher; initialised operation by operation it takes six times as many


@pytest.fixture
def compiled():
    """Names of the programs that are compiled, or read back, while a test runs."""
    names = []

    def note(event, _, fun_name="", **__):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def test_seeds_of_a_tree_are_one_program(compiled):
    on_host = [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for shape in SHAPES]
    tree = jax.device_put(on_host)
    seeds = [select_seed(tree, seed) for seed in range(2)]
    back = stack_trees(*seeds)
    assert len(compiled) == 2
    for leaf, first, second, again in zip(on_host, *seeds, back, strict=True):
        np.testing.assert_array_equal(first, leaf[0])
        np.testing.assert_array_equal(second, leaf[1])
        np.testing.assert_array_equal(again, leaf)


def test_what_is_on_the_host_stays_there(compiled):
    tree = {"outputs": np.ones((2, 4)), "step": jnp.arange(2)}
    assert isinstance(select_seed(tree, 1)["outputs"], np.ndarray)
    del compiled[:]
    assert isinstance(select_seed({"outputs": np.ones((2, 4))}, 1)["outputs"], np.ndarray)
    assert not compiled


def test_a_teacher_starts_in_few_programs(tmp_path, compiled):
    data = prepare_data("synthetic")
    del compiled[:]
    train_teacher(data, TEACHER, 0, tmp_path)
    assert 1 < len(compiled) <= FEW, compiled
