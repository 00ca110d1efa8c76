"""Settings: the published recipes, and that every run can be written down."""

import dataclasses
import json

import pytest

from abkd_jax import datasets
from abkd_jax.configs import options, presets, ranges


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


@pytest.mark.parametrize("dataset", ["cora", "aifb", "mutag", "ogbn-arxiv", "ogbn-mag", "my_graph"])
def test_teacher_student_and_methods_are_those_of_the_preset(dataset):
    chosen, run = presets.preset(dataset), presets.distill_config(dataset)
    assert (run.teacher, run.student, run.batches) == (chosen.teacher, chosen.student, chosen.batches)
    assert (presets.teacher(dataset), presets.student(dataset)) == (chosen.teacher, chosen.student)
    assert (run.supervised, run.soft_label, run.abkd) == (chosen.supervised, chosen.soft_label, chosen.abkd)
    assert all(getattr(run, name) == method for name, method in presets.methods(dataset).items())


@dataclasses.dataclass(frozen=True)
class Study(options.DistillConfig):
    shallow: options.MethodConfig = dataclasses.field(default_factory=options.MethodConfig)


def test_a_study_keeps_the_run_and_adds_methods():
    base = dataclasses.replace(presets.distill_config("citeseer"), seeds=7)
    shallow, sharp = (dataclasses.replace(base.abkd, temperature=t) for t in (0.5, 0.1))
    study = presets.extend(Study, base, ["abkd", "shallow"], shallow=shallow, soft_label=sharp)
    assert (study.methods, study.shallow, study.soft_label) == (("abkd", "shallow"), shallow, sharp)
    changed = {"methods", "shallow", "soft_label"}
    assert {
        f.name for f in dataclasses.fields(Study) if getattr(study, f.name) != getattr(base, f.name, None)
    } == changed


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.RunConfig().seeds = 4


@pytest.mark.parametrize("dataset", presets.DATASETS)
def test_every_number_of_a_preset_is_in_its_range(dataset):
    checked = set()

    def check(config):
        for option in dataclasses.fields(config):
            value = getattr(config, option.name)
            if dataclasses.is_dataclass(value):
                check(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                assert ranges.RANGES[option.name].holds(value), (option.name, value)
                checked.add(option.name)

    check(presets.distill_config(dataset))
    assert {"layers", "dropout", "learning_rate", "temperature", "size", "seeds"} <= checked


@pytest.mark.parametrize(
    ("name", "inside", "outside", "text"),
    [
        ("dropout", (0, 0.5), (1, -0.1, float("nan")), "of at least 0 and below 1"),
        ("temperature", (0.001, 1_000), (0, 1_001), "of at least 0.001 and at most 1,000"),
        ("fan_outs", (-1, 1), (0, -2), "of at least -1 and at most 1,000,000,000, other than 0"),
        ("learning_rate", (1e-9,), (0,), "above 0 and at most "),
    ],
)
def test_ranges_hold_their_ends_and_say_so(name, inside, outside, text):
    limits = ranges.RANGES[name]
    assert all(map(limits.holds, inside))
    assert not any(map(limits.holds, outside))
    assert str(limits).startswith(text)
