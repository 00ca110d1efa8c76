"""The mesh of devices: its sizes, and what it refuses."""

import copy
import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from numpy.testing import assert_allclose
from training_samples import CLASSES, NODES, Tiny, arrays, make, make_batch

from abkd_jax import distill
from abkd_jax.configs.options import OptimConfig
from abkd_jax.training import loops
from abkd_jax.training.loops import fit
from abkd_jax.training.seeds import over_seeds, put_batch, put_seeds
from abkd_jax.training.sharding import axis_size, make_mesh, mesh_sizes
from abkd_jax.types import Batch, GNNOutput, InputError

FOUR = pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices, tests/conftest.py fakes them")


@FOUR
def test_axes_come_in_any_order_and_the_others_have_one_device():
    mesh = make_mesh(["seeds=2", "data=2"])
    assert mesh is not None
    assert dict(mesh.shape) == {"data": 2, "seeds": 2, "nodes": 1}
    assert len({device.id for device in mesh.devices.flat}) == 4
    assert axis_size(mesh, "seeds") == 2
    assert make_mesh(["data=2"]).size == 2
    assert make_mesh([]) is None
    assert axis_size(None, "data") == 1


@pytest.mark.parametrize(
    "word", ["data", "data=", "data=0", "data=-2", "data=x", "rows=2", "data=2=2", "data=\u00b2", "=2", ""]
)
def test_a_word_that_names_no_axis_and_size_is_refused(word):
    with pytest.raises(InputError, match=r"--mesh .*, expected data=N, seeds=N, nodes=N, each at most once"):
        mesh_sizes([word])


def test_an_axis_is_named_once():
    with pytest.raises(InputError, match="each at most once"):
        mesh_sizes(["data=2", "data=2"])


def test_more_devices_than_there_are_are_refused_with_their_number():
    with pytest.raises(InputError, match=f"has 8,000 devices, expected at most {jax.device_count()}, the number found"):
        make_mesh(["data=1000", "seeds=8"])


CONFIG = OptimConfig(epochs=6, eval_every=2, learning_rate=0.05)


@FOUR
def test_seeds_that_two_devices_share_train_as_on_one_and_resume_on_any_number(monkeypatch):
    """Three seeds on two devices, one of which trains a copy; each has targets of its own. Saved runs know no mesh."""
    monkeypatch.setattr(loops, "CHUNK_EVALUATIONS", 1)
    batch, seeds = make_batch(), (0, 1, 2)
    soft = distill.soft_label()
    objective = soft._replace(apply=lambda *of, mask, **options: soft.apply(*of, mask=mask.all, **options))
    logits = jax.random.normal(jax.random.key(9), (3, NODES, CLASSES))
    targets = jax.vmap(lambda z: soft.targets(GNNOutput(z, ()), graph=batch.graph, mask=batch.masks.all))(logits)
    batch = batch._replace(targets=targets)
    step, validate, states = make(Tiny(dropout=0.3, normed=True), CONFIG, batch, seeds, objective)
    axes = Batch(None, None, None, 0)

    def run(mesh, config=CONFIG, **options):
        if mesh is None:
            return fit(step, validate, states, batch, axes, config, **options)
        placed = put_seeds(states, mesh), put_batch(batch, axes, mesh)
        run = functools.partial(fit, step, validate, *placed, axes, config, mesh=mesh)
        return over_seeds(run, len(seeds), mesh)(**options)

    expected = run(None)
    saved = []

    def save(state, history, epochs):
        saved.append((jax.tree.map(jnp.copy, state), copy.deepcopy(history)))

    found = run(make_mesh(["seeds=2"]), on_chunk=save)
    assert len(saved) == 3
    for mesh in (None, make_mesh(["seeds=4"])):
        assert_close(run(mesh, resume=saved[0]), expected)
    short = run(None, dataclasses.replace(CONFIG, epochs=4))
    assert_close(run(make_mesh(["seeds=2"]), resume=short), expected)
    assert_close(found, expected)
    assert_close(saved[-1], expected)


def assert_close(found, expected):
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), arrays(found), arrays(expected))


@FOUR
def test_states_that_do_not_lie_on_a_mesh_of_seeds_are_refused_in_one_line():
    batch = make_batch()
    step, validate, states = make(Tiny(), CONFIG, batch, seeds=(0, 1))
    run = functools.partial(fit, step, validate, config=CONFIG, batch_axes=None)
    mesh = jax.make_mesh((2,), ("seeds",), axis_types=(AxisType.Auto,))
    for placed in ((states, batch), (put_seeds(states, mesh), batch), (states, put_batch(batch, None, mesh))):
        with pytest.raises(InputError, match=r"do not lie on the 2 devices of the mesh, expected training\.put_seeds"):
            run(*placed, mesh=mesh)
    for axis, kind in (("seeds", AxisType.Explicit), ("data", AxisType.Auto)):
        other = jax.make_mesh((2,), (axis,), axis_types=(kind,))
        for use in (functools.partial(put_seeds, states), lambda mesh: run(states, batch, mesh=mesh)):
            with pytest.raises(InputError, match=rf"mesh has axes {axis} {kind.name}, expected seeds, all Auto"):
                use(other)
    _, history = run(put_seeds(states, mesh), put_batch(batch, None, mesh), mesh=mesh)  # axes of run need not be there
    assert history["val_loss"].shape == (CONFIG.epochs // CONFIG.eval_every, 2)
