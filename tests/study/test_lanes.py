"""Students side by side with settings, starts and nodes of their own are those that train alone."""

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from pipeline_samples import STUDENT, TEACHER

from abkd_jax.configs.options import MethodConfig, OptimConfig
from abkd_jax.run.compiled import kept_programs
from abkd_jax.run.data import prepare_data
from abkd_jax.run.lanes import Lane, with_numbers
from abkd_jax.run.program import select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teachers import as_teacher
from abkd_jax.study import train
from abkd_jax.types import NodeMasks

OPTIM = OptimConfig(epochs=6, eval_every=3, monitor="val_accuracy", learning_rate=0.04, schedule="cosine")
METHOD = MethodConfig(task_weight=0.5, soft_label_weight=1.0, alignment_weight=0.1, start="positive", optim=OPTIM)
NUMBERS = (
    {"temperature": 0.5, "alignment_weight": 0.3, "optim.learning_rate": 0.02, "optim.dense_decay": 1e-3},
    {"temperature": 2.0, "alignment_weight": 3.0, "optim.learning_rate": 0.08, "optim.dense_decay": 0.0},
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    data = prepare_data("synthetic")
    short = dataclasses.replace(TEACHER, optim=dataclasses.replace(TEACHER.optim, epochs=8))
    return data, as_teacher(data, short, 2, tmp_path_factory.mktemp("teachers"))


def run(splits, teacher, lanes, folder, method=METHOD, **options):
    job = Job("abkd", STUDENT, method)
    return train.train_lanes(splits, job, teacher.models.module, teacher.source, lanes, folder, **options)


def lane(teacher, seed, **own):
    return Lane(seed, select_seed(teacher.models.variables, seed), **own)


def assert_same(trained, other, lane):
    """Compares what was logged: of a parameter without a gradient Adam makes steps out of rounding."""
    for name in ("loss", "task_loss", "soft_label/loss", "val_loss"):
        assert_allclose(trained.history[name][:, lane], other.history[name][:, 0], rtol=1e-4)


@pytest.fixture(scope="module")
def both(learned, tmp_path_factory):
    data, teacher = learned
    lanes = [
        lane(teacher, 0, numbers=NUMBERS[0]),
        lane(teacher, 1, numbers=NUMBERS[1], start="default"),
    ]
    return run((data,), teacher, lanes, tmp_path_factory.mktemp("both"))


@pytest.mark.parametrize(("seed", "start"), [(0, "positive"), (1, "default")])
def test_each_lane_is_the_student_of_its_own_settings(learned, both, seed, start, tmp_path):
    data, teacher = learned
    method = dataclasses.replace(with_numbers(METHOD, NUMBERS[seed]), start=start)
    alone = train_students(data, Job("abkd", STUDENT, method), teacher, [(tmp_path, [seed])])
    assert_same(both, alone, seed)


def test_lanes_of_other_numbers_differ(both):
    first, second = ([leaf[k] for leaf in jax.tree.leaves(both.variables)] for k in (0, 1))
    assert any(not np.allclose(one, other, rtol=1e-2) for one, other in zip(first, second, strict=True))


def test_a_lane_has_the_nodes_of_its_split(learned, tmp_path):
    data, teacher = learned
    kind = jax.numpy.asarray(np.random.default_rng(0).integers(3, size=data.labels.shape[0]))

    def split(own):
        return data._replace(batch=data.batch._replace(masks=NodeMasks(kind < 2, kind == own)), val_mask=kind == 2)

    splits = (split(0), split(1))
    soft = dataclasses.replace(METHOD, alignment_weight=0.0)
    lanes = [lane(teacher, 0, split=1), lane(teacher, 1, split=0)]
    trained = run(splits, teacher, lanes, tmp_path / "both", soft)
    for k, one in enumerate(lanes):
        alone = run((splits[one.split],), teacher, [one._replace(split=0)], tmp_path / str(k), soft)
        assert_same(trained, alone, k)
        assert_allclose(trained.history["val_accuracy"][:, k], alone.history["val_accuracy"][:, 0])


def test_lanes_of_graphs_of_their_own_come_back_in_their_order(learned, tmp_path):
    data, teacher = learned
    splits = (data, data._replace(batch=data.batch._replace(graph=data.batch.graph._replace())))
    soft = dataclasses.replace(METHOD, alignment_weight=0.0)
    lanes = [lane(teacher, k, split=split) for k, split in ((0, 1), (1, 0), (0, 0))]  # masks are those of one array
    trained = run(splits, teacher, lanes, tmp_path / "all", soft)
    for k, one in enumerate(lanes):
        alone = run((splits[one.split],), teacher, [one._replace(split=0)], tmp_path / str(k), soft)
        assert_same(trained, alone, k)


@pytest.fixture
def compiled_loops(program_folder):
    """Returns the names of the training loops that this test has compiled; in the session's folder are other tests'."""
    with kept_programs():
        yield lambda: {path.name for path in program_folder.glob("jit_run_chunk-*-cache")}


def test_a_method_has_one_program_for_its_tuning_and_one_for_both_lengths(
    learned, compiled_loops, tmp_path, monkeypatch
):
    data, teacher = learned
    monkeypatch.setattr(train, "MAX_LANES", 2)
    optim = OptimConfig(epochs=30, learning_rate=0.05)
    soft = MethodConfig(task_weight=0.0, soft_label_weight=1.0, start="positive", optim=optim)
    tried = dataclasses.replace(soft, optim=dataclasses.replace(optim, eval_every=30))
    longer = dataclasses.replace(soft, optim=dataclasses.replace(optim, epochs=90))
    lanes = [lane(teacher, k % 2, numbers={"temperature": 1.0 + k}) for k in range(4)]

    before = compiled_loops()
    first = run((data,), teacher, lanes, tmp_path / "all", tried, curves=False)
    run((data,), teacher, lanes[:2], tmp_path / "finalists", tried, curves=False)
    assert len(compiled_loops() - before) == 1
    assert first.history["epoch"][:, 0].tolist() == [30]  # no untrained students where there is no curve

    before = compiled_loops()
    curve = run((data,), teacher, lanes[:1], tmp_path / "30", soft)
    assert len(compiled_loops() - before) == 1
    run((data,), teacher, lanes[:1], tmp_path / "90", longer)
    assert len(compiled_loops() - before) == 1
    assert curve.history["epoch"][:, 0].tolist() == list(range(31))
    assert_allclose(curve.history["loss"][-1, 0], first.history["loss"][-1, 0], rtol=1e-3)
