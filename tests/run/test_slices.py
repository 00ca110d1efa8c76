"""Runs whose seeds are shared by devices, beside minibatches or blocks of nodes: the numbers of one device."""

import threading

import jax
import numpy as np
import pytest
from model_samples import assert_close
from numpy.testing import assert_array_equal

from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.graph.partitioned import partition_of
from abkd_jax.run import program
from abkd_jax.run.data import build_model, prepare_data
from abkd_jax.run.resolve import Job
from abkd_jax.run.slices import in_slices
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import as_teacher, train_teachers
from abkd_jax.training.sharding import make_mesh, slices
from abkd_jax.types import InputError

SEEDS = 2
MODEL = ModelConfig("gcn", layers=2, hidden=4, dropout=0.3)
OPTIM = OptimConfig(epochs=4, eval_every=2)
METHOD = MethodConfig(soft_label_weight=1.0, start="positive", optim=OPTIM)
WHOLE, SAMPLED = BatchConfig(), BatchConfig(kind="neighbours", size=8, fan_outs=(3, 2), per_step=4)
pytestmark = pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices, tests/conftest.py fakes them")


def test_a_mesh_is_cut_along_an_axis():
    mesh = make_mesh(["data=2", "seeds=2"])
    parts = slices(mesh, "seeds")
    assert [dict(part.shape) for part in parts] == [{"data": 2, "seeds": 1, "nodes": 1}] * 2
    assert {device.id for part in parts for device in part.devices.flat} == {d.id for d in mesh.devices.flat}
    assert parts[0].devices.ravel().tolist() == mesh.devices[:, 0].ravel().tolist()


def prepared(batches, *mesh):
    return prepare_data("synthetic", batches=batches, mesh=make_mesh(mesh))


def assert_same_run(found, expected):
    histories = ({k: v for k, v in of.history.items() if k != "seconds"} for of in (found, expected))
    assert_close(*histories, 1e-5, 1e-5)
    assert_close(found.variables, expected.variables, 1e-4, 1e-5)


@pytest.fixture(scope="module")
def taught_by():
    """A teacher of random numbers."""
    data = prepared(WHOLE)
    model = build_model(data, MODEL)
    return model, jax.device_get(jax.jit(model.init)(jax.random.key(9), data.batch.graph))


@pytest.mark.parametrize(
    ("batches", "mesh"), [(SAMPLED, ("data=2", "seeds=2")), (WHOLE, ("seeds=2", "nodes=2"))], ids=["data", "nodes"]
)
def test_students_of_two_seeds_train_side_by_side_as_on_one_device(taught_by, tmp_path, batches, mesh):
    def students(folder, *mesh):
        data, own = prepared(batches, *mesh), [(folder / str(seed), [seed]) for seed in range(SEEDS)]
        programs = own if batches == SAMPLED else [(folder, list(range(SEEDS)))]
        teacher = as_teacher(data, taught_by, SEEDS, folder)
        return train_students(data, Job("soft_label", MODEL, METHOD), teacher, programs)

    assert_same_run(students(tmp_path / "four", *mesh), students(tmp_path / "one"))


def test_teachers_of_two_seeds_train_side_by_side_as_one_after_the_other(tmp_path):
    def teachers(folder, *mesh):
        return train_teachers(prepared(WHOLE, *mesh), TeacherConfig(MODEL, OPTIM), SEEDS, folder)

    assert_same_run(teachers(tmp_path / "two", "seeds=2"), teachers(tmp_path / "one"))


@pytest.mark.parametrize("mesh", [("seeds=2",), ("seeds=2", "nodes=2")], ids=["alone", "nodes"])
def test_models_come_in_the_order_of_their_seeds_from_their_own_devices(mesh):
    data, places = prepared(WHOLE, *mesh), []
    whole = jax.device_get(data.batch)

    def trainer(own):
        devices = frozenset(own.labels.devices())
        places.append(devices)
        held, size = partition_of(own.batch.graph), data.dataset.num_nodes
        assert held is None or held.info.mesh.devices.size == 2
        for moved, expected in zip(jax.tree.leaves(own.batch), jax.tree.leaves(whole), strict=True):
            assert moved.devices() == own.val_mask.devices() == devices
            assert_array_equal(moved, expected)
        made = jax.device_put(own.labels[:size].astype(float), min(devices, key=lambda device: device.id))
        return lambda seed: program.Trained(made * seed, made, None, None, {}, (), None)

    found = in_slices(data, range(5), trainer)
    for seed, of in enumerate(found):
        assert_array_equal(of.variables, seed * data.dataset.labels)
        assert of.variables.devices() == data.labels.devices()
    assert len(set(places)) == 2
    assert not places[0] & places[1]


def test_where_one_fails_the_others_end_too():
    data, training = prepared(WHOLE, "seeds=2"), threading.Event()

    def trainer(own):
        def train(seed):
            if seed == 1:
                assert training.wait(60)
                raise InputError("seed 1 has no room")
            training.set()
            assert own.stop.wait(60)  # what `program.train` looks at
            raise program.Stopped

        return train

    with pytest.raises(InputError, match="seed 1 has no room"):
        in_slices(data, range(3), trainer)


def test_a_model_ends_at_its_next_evaluation_once_another_has_failed(tmp_path):
    data, stop = prepared(WHOLE), threading.Event()
    stop.set()
    with pytest.raises(program.Stopped):
        train_teachers(data._replace(stop=stop), TeacherConfig(MODEL, OPTIM), 1, tmp_path)
    kept = train_teachers(data, TeacherConfig(MODEL, OPTIM), 1, tmp_path)  # what it had trained by then was kept
    assert np.isfinite(kept.history["loss"]).all()
