"""Settings: the published recipes, and that every run can be written down."""

import dataclasses
import json

import pytest

from abkd_jax import datasets
from abkd_jax.configs import options, presets


@pytest.mark.parametrize(
    ("dataset", "dropout", "lam", "conv_decay"),
    [("cora", 0.6, 0.5, 0.01), ("citeseer", 0.7, 0.6, 0.01), ("pubmed", 0.5, 0.4, 5e-4)],
)
def test_teacher_is_the_published_recipe(dataset, dropout, lam, conv_decay):
    """GCNII, arXiv 2007.02133, appendix: hyper-parameters of the semi-supervised task."""
    teacher = presets.teacher(dataset)
    assert (teacher.model.dropout, teacher.model.lam, teacher.model.alpha) == (dropout, lam, 0.1)
    assert (teacher.model.layers, teacher.model.hidden) == (64, 64)
    assert (teacher.optim.conv_decay, teacher.optim.dense_decay) == (conv_decay, 5e-4)
    assert (teacher.optim.epochs, teacher.optim.patience, teacher.optim.learning_rate) == (1500, 100, 0.01)


def test_student_is_the_papers_headline():
    student = presets.student("pubmed")
    assert (student.name, student.layers, student.hidden, student.lam) == ("gcnii", 4, 4, 0.4)


@pytest.mark.parametrize("dataset", [*datasets.names(), "my_graph"])
def test_every_data_set_has_a_run_that_is_plain_json(dataset):
    run = presets.distill_config(dataset)
    assert run.dataset == dataset
    written = dataclasses.asdict(run)
    assert json.loads(json.dumps(written))["abkd"] == written["abkd"]
    for method in presets.methods(dataset).values():
        assert method.optim.epochs % method.optim.eval_every == 0


def test_methods_differ_in_their_terms_alone():
    methods = presets.methods("cora")
    assert methods["supervised"].soft_label_weight == methods["supervised"].alignment_weight == 0.0
    assert methods["soft_label"].alignment_weight == 0.0
    assert dataclasses.replace(methods["soft_label"], alignment_weight=0.1) == methods["abkd"]
    assert dataclasses.replace(methods["abkd"], dissimilarity="trained_heads") == methods["abkd_paper"]


def test_earlier_losses_stand_beside_the_same_soft_labels():
    """Weights of efficient-gnns on ogbn-arxiv (ogbn-mag for G-CRD), FitNets and attention transfer at other sizes."""
    methods = presets.methods("cora")
    weights = {"fitnet": 6.25, "attention_transfer": 297.777, "lsp": 100.0, "gsp": 10.0, "gcrd": 0.1}
    for name, weight in weights.items():
        assert methods[name].auxiliary_weight == pytest.approx(weight, rel=1e-5)
        changed = {"auxiliary": name, "auxiliary_weight": methods[name].auxiliary_weight}
        assert dataclasses.replace(methods["soft_label"], **changed) == methods[name]


@pytest.mark.parametrize(
    ("dataset", "dropout", "decay", "rate"),
    [
        ("cora", 0.6, 5e-3, 0.01),
        ("citeseer", 0.1, 1e-3, 0.01),
        ("pubmed", 0.4, 0.0, 0.005),
        ("digits", 0.6, 5e-3, 0.01),
    ],
)
def test_glnn_is_the_published_recipe(dataset, dropout, decay, rate):
    glnn = presets.methods(dataset)["glnn"]
    assert glnn.student == options.ModelConfig(name="mlp", layers=2, hidden=128, dropout=dropout)
    assert (glnn.task_weight, glnn.soft_label_weight, glnn.temperature, glnn.soft_label_nodes) == (0.0, 1.0, 1.0, "all")
    assert (glnn.optim.dense_decay, glnn.optim.learning_rate, glnn.optim.epochs) == (decay, rate, 500)


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.RunConfig().seeds = 4


def test_options_of_models_are_described_where_they_are_used():
    """What was trained before an option existed is found again: it is not spoken of at its default."""
    plain = {"name": "gcnii", "layers": 64, "hidden": 64, "dropout": 0.6, "alpha": 0.1, "lam": 0.5}
    assert options.described(options.ModelConfig()) == plain
    assert options.described(options.ModelConfig(norm="batch")) == plain | {"norm": "batch"}
    run = presets.distill_config("cora")
    written = options.described(run)
    assert written["student"] == plain | {"layers": 4, "hidden": 4, "dropout": 0.0}
    assert written["teacher"] == {"model": plain, "optim": dataclasses.asdict(run.teacher.optim)}
    assert written.keys() == dataclasses.asdict(run).keys() - {"batches"}
    sampled = dataclasses.replace(run, batches=options.BatchConfig(kind="walks"))
    assert options.described(sampled)["batches"]["kind"] == "walks"
