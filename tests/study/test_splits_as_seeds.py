"""Splits as seeds: each seed has the teacher, the nodes and the test score of its own split."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from pipeline_samples import STUDENT, TEACHER

from abkd_jax import datasets
from abkd_jax.configs import presets
from abkd_jax.configs.options import MethodConfig, OptimConfig
from abkd_jax.run import records
from abkd_jax.run.data import prepare_data
from abkd_jax.run.program import select_seed
from abkd_jax.run.resolve import Job
from abkd_jax.run.scores import make_scores
from abkd_jax.study import splits
from abkd_jax.study.contents import student_cell
from abkd_jax.study.options import Table
from abkd_jax.study.places import open_place
from abkd_jax.study.runner import _validation
from abkd_jax.study.splits import load_splits, prepare_splits
from abkd_jax.study.train import train_lanes
from abkd_jax.study.tuning import Trial
from abkd_jax.types import InputError

OPTIM = OptimConfig(epochs=4, eval_every=4, learning_rate=0.04)
JOB = Job("soft_label", STUDENT, MethodConfig(0.5, 1.0, start="positive", optim=OPTIM))
TRIAL = Trial({"temperature": 0.5}, "default")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The path of a graph whose split is drawn from the seed."""
    path = tmp_path_factory.mktemp("graph") / "drawn.npz"
    datasets.save_npz(datasets.load("synthetic"), path)
    arrays = {name: array for name, array in np.load(path).items() if not name.endswith("_mask") and name != "split"}
    np.savez(path, **arrays)
    return str(path)


def test_seeds_have_splits_of_one_graph(graph):
    found = load_splits(graph, None, 3)
    assert len(found) == 3
    for seed, dataset in enumerate(found):
        expected = datasets.load(graph, seed=seed)
        assert dataset.senders is found[0].senders
        for mask in splits.MASKS:
            np.testing.assert_array_equal(getattr(dataset, mask), getattr(expected, mask))


def test_an_official_split_is_one(tmp_path):
    datasets.save_npz(datasets.load("synthetic"), tmp_path / "official.npz")
    assert len(load_splits(str(tmp_path / "official.npz"), None, 3)) == 1
    assert len(load_splits("synthetic", None, 3)) == 1


def test_another_graph_is_refused(monkeypatch):
    monkeypatch.setattr(splits, "GENERATED", "")
    with pytest.raises(InputError, match="synthetic: the graph of seed 1 is not that of seed 0"):
        load_splits("synthetic", None, 2)


@pytest.mark.parametrize("regime", ["transductive", "inductive", "unseen_validation"])
def test_a_seed_is_trained_and_scored_on_its_split(graph, regime, tmp_path, monkeypatch):
    shallow = dataclasses.replace(TEACHER, model=dataclasses.replace(TEACHER.model, layers=1))
    small = dataclasses.replace(presets.preset("synthetic"), teacher=shallow)
    monkeypatch.setattr(presets, "preset", lambda dataset, facts: small)
    place = open_place(
        Table(seeds=2, max_teacher_epochs=4), graph, regime, tmp_path / "checkpoints", tmp_path / "teachers"
    )
    module, source = place.teacher.models.module, place.teacher.source
    lanes = [place.lane(k, seed, TRIAL) for k, seed in ((0, 0), (1, 1))] * 2
    trained = train_lanes(place.splits, JOB, module, source, lanes, tmp_path / "all")
    scores = trained.history["val_accuracy"][-1].tolist()
    assert scores[:2] == scores[2:]  # lanes come back in the order in which they were given
    scored = []

    def counting(data, module):
        scores = make_scores(data, module)
        return lambda variables, of: scored.append(of.split) or scores(variables, of)

    monkeypatch.setattr(records, "make_scores", counting)
    cell = student_cell(place.splits, {4: trained}, place.tests, 100, place.validation)
    assert cell["splits"] == [0, 1, 0, 1]
    further = len(place.tests) + (place.validation is not None)
    assert scored == [0, 0, 1, 1] * 2 + [0, 1, 0, 1] * further  # last and best models, on their splits alone
    alone = train_lanes(place.splits[1:], JOB, module, source, [lanes[1]._replace(split=0)], tmp_path / "alone")
    variables = select_seed(alone.variables, 0)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), select_seed(trained.variables, 1), variables)
    own = {"test": place.splits[1], **{name: tests[1] for name, tests in place.tests.items()}}
    for name, data in own.items():
        expected = make_scores(data, alone.module)(variables)["test_accuracy"]
        np.testing.assert_allclose(cell["scores"][name][1], expected, atol=0.01)
    chosen_on = (place.validation or place.splits)[1]
    expected = make_scores(chosen_on, alone.module)(variables)["val_accuracy"]
    np.testing.assert_allclose(cell["scores"]["validation"][1], expected, atol=0.01)
    np.testing.assert_allclose(_validation(place, lanes, trained), cell["scores"]["validation"], atol=1e-4)


def test_real_targets_have_the_units_of_their_split(tmp_path):
    """As in a run on that split alone, whose teachers have the same identity."""
    whole, rng = datasets.load("synthetic"), np.random.default_rng(0)
    edges = np.stack([whole.senders, whole.receivers], axis=1)
    targets = np.exp(2.0 * rng.normal(size=(whole.num_nodes, 1))).astype(np.float32)
    path = tmp_path / "real.npz"
    np.savez(path, edges=edges, features=whole.features, labels=targets, task=np.array("regression"))
    loaded = load_splits(str(path), None, 2)
    for split, data in enumerate(prepare_splits(loaded)):
        known = targets[loaded[split].train_mask]
        np.testing.assert_allclose(np.ravel(data.units), [known.std(), known.mean()], rtol=1e-5)
        alone = prepare_data(str(path), split=split)
        assert data.identity.fingerprint == alone.identity.fingerprint
        np.testing.assert_array_equal(np.ravel(data.units), np.ravel(alone.units))
