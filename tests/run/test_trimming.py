"""Runs on sampled neighbours whose layers are trimmed: the numbers of those that compute all rows."""

import numpy as np
import pytest
from model_samples import assert_close
from pipeline_samples import tiny

from abkd_jax import models
from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.models.external import Applied, Ensemble, Stored
from abkd_jax.models.own import Own
from abkd_jax.models.reduced_input import ReducedInput
from abkd_jax.run.data import prepare_data
from abkd_jax.run.folder import open_run
from abkd_jax.run.pipeline import prepare, train_all
from abkd_jax.run.plan import make_plan
from abkd_jax.run.resolve import resolve
from abkd_jax.run.trimming import trimmed

SAMPLED = BatchConfig(kind="neighbours", size=16, fan_outs=(4, 3, 2))
SAGE = models.GraphSAGE(4, 3, 3)


@pytest.fixture(scope="module")
def sampled():
    return prepare_data("synthetic", batches=SAMPLED)


def hops(data) -> int:
    return len(next(data.sampler(np.random.default_rng(0))).graph.edges.hops)


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        ([SAGE], 3),
        ([models.GraphSAGE(4, 1, 3, jumping="last"), Stored()], 1),
        ([models.GraphSAGE(4, 1, 3, jumping="last"), SAGE], 3),
        ([models.GraphSAGE(4, 1, 3, jumping="last"), models.GCNII(4, 3, 3)], 1),
        ([Stored(), Ensemble((SAGE, SAGE), "classification")], 3),
        ([ReducedInput(SAGE)], 3),
        ([models.GAT(4, 3, 3, symmetric_norm=True)], 3),
        ([models.GCNII(4, 3, 3), Stored()], 0),
        ([SAGE, Own(SAGE)], 0),
        ([SAGE, Ensemble((Applied(SAGE.apply), SAGE), "classification")], 0),
    ],
)
def test_batches_have_the_hops_of_their_deepest_stack(sampled, readers, expected):
    assert hops(trimmed(sampled, readers)) == expected
    assert hops(trimmed(sampled, readers, MethodConfig(auxiliary="lsp", auxiliary_weight=1.0))) == expected


def test_a_loss_from_outside_may_read_any_row(sampled):
    assert trimmed(sampled, [SAGE], MethodConfig(auxiliary="somewhere:loss", auxiliary_weight=1.0)) is sampled
    assert hops(sampled) == 0


def test_batches_for_a_tpu_have_them_in_slots():
    data = trimmed(prepare_data("synthetic", batches=SAMPLED, platform="tpu"), [SAGE])
    *inner, _ = next(data.sampler(np.random.default_rng(0))).graph.edges.hops
    assert [hop.slots is not None for hop in inner] == [True, True]


@pytest.mark.parametrize("batches", [BatchConfig(), BatchConfig(kind="walks", size=10, length=2, steps=2)])
def test_other_batches_are_as_they_were(batches):
    data = prepare_data("synthetic", batches=batches)
    assert trimmed(data, [SAGE]) is data


def test_a_run_has_the_losses_of_one_that_computes_all_rows(tmp_path):
    """A teacher in the step, soft labels, alignment of layers and similarities along the edges; dropout in both."""
    optim = OptimConfig(epochs=4, eval_every=2)
    terms = {"soft_label_weight": 1.0, "alignment_weight": 0.1, "auxiliary": "lsp", "auxiliary_weight": 1.0}
    teacher = ModelConfig("gat", layers=3, hidden=8, heads=2, dropout=0.3, symmetric_norm=True)
    settings = {
        "teacher": TeacherConfig(teacher, optim),
        "student": ModelConfig("graphsage", layers=2, hidden=4, dropout=0.2),
        "batches": SAMPLED,
        "methods": ("abkd",),
        "abkd": MethodConfig(**terms, optim=optim),
        "seeds": 1,
    }

    def histories(folder, trims):
        config = resolve(tiny(folder, **settings))
        data = prepare(config)
        assert data.trim is not None
        trained = train_all(make_plan(config, open_run(folder)), data if trims else data._replace(trim=None))
        return {name: models.history | {"seconds": 0.0} for name, _, models in trained}

    found, expected = (histories(tmp_path / str(trims), trims) for trims in (True, False))
    assert all(any(term in name for name in expected["abkd"]) for term in ("soft_label", "abkd", "lsp"))
    assert_close(found, expected, 1e-4, 1e-5)
