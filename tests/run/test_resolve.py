"""Settings that make no run are refused by name, before anything is read."""

import copy
import dataclasses
import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from abkd_jax.configs import options as config
from abkd_jax.configs import presets, ranges
from abkd_jax.run import resolve
from abkd_jax.types import InputError

CONFIGS = (
    config.ModelConfig,
    config.OptimConfig,
    config.TeacherConfig,
    config.MethodConfig,
    config.BatchConfig,
    config.DistillConfig,
)
METHODS = ("supervised", "soft_label", "abkd", "glnn")
BASE = dataclasses.replace(presets.distill_config("synthetic"), methods=METHODS)


def numbers_in(kind):
    """The types of numbers that an annotation allows."""
    return {kind} & {int, float} or {number for part in get_args(kind) for number in numbers_in(part)}


def options(*kinds):
    """Names and types of the options that are numbers."""
    hints = [(name, numbers_in(kind)) for of in kinds for name, kind in get_type_hints(of).items()]
    return {name: numbers.pop() for name, numbers in hints if numbers}


def changed(settings, path, value):
    """The settings with one option replaced, `a.b.c` deep inside: by what no type checker lets through, too."""
    first, _, rest = path.partition(".")
    copied = copy.copy(settings)
    object.__setattr__(copied, first, changed(getattr(settings, first), rest, value) if rest else value)
    return copied


def refused(settings):
    """The one line with which settings are refused."""
    with pytest.raises(InputError) as caught:
        resolve.resolve(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_number_has_a_range_and_every_range_an_option():
    assert ranges.RANGES.keys() == options(*CONFIGS).keys()


PLACES = {
    "": config.RunConfig,
    "batches.": config.BatchConfig,
    "teacher.model.": config.ModelConfig,
    "teacher.optim.": config.OptimConfig,
    "student.": config.ModelConfig,
    "glnn.student.": config.ModelConfig,
    "abkd.": config.MethodConfig,
    "soft_label.optim.": config.OptimConfig,
}


@pytest.mark.parametrize("prefix", PLACES)
def test_every_number_out_of_its_range_is_refused_by_its_flag(prefix):
    for name, kind in options(PLACES[prefix]).items():
        bounds = ranges.RANGES[name]
        beyond = [math.nan, math.inf, -math.inf, "4", True]
        beyond += [bounds.low - 1, kind(bounds.high * 10)] + ([1.5] if kind is int else [])
        for value in beyond:
            given = (value,) if name == "fan_outs" else value
            line = refused(changed(BASE, prefix + name, given))
            flag = f"--{prefix}{name} is ".replace("_", "-")
            assert line.startswith(f"{flag}{given!r}, expected a {'whole ' if kind is int else ''}number "), line


@pytest.mark.parametrize("dataset", presets.DATASETS)
def test_the_settings_of_every_data_set_pass(dataset):
    resolve.resolve(presets.distill_config(dataset))


def test_a_range_says_what_it_leaves_out():
    assert str(ranges.Range(0, 1, without=1)) == "of at least 0 and below 1"
    assert str(ranges.Range(0, 10_000, without=0)) == "above 0 and at most 10,000"
    assert str(ranges.Range(-1, 5, without=0)) == "of at least -1 and at most 5, other than 0"
    assert not ranges.Range(0, 1).holds(math.nan)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("abkd.task_weight", math.nan, "--abkd.task-weight is nan, expected a number of at least 0 and at most 1e+38"),
        (
            "abkd.temperature",
            1e-30,
            "--abkd.temperature is 1e-30, expected a number of at least 0.001 and at most 1,000",
        ),
        ("student.dropout", 1.0, "--student.dropout is 1.0, expected a number of at least 0 and below 1"),
        ("student.norm", "btach", "--student.norm is 'btach', expected one of none, batch, layer"),
        ("batches.fan_outs", (), "--batches.fan-outs is (), expected at least one value"),
        ("batches.fan_outs", (5, 0), "--batches.fan-outs is (5, 0), expected a whole number of at least -1"),
        ("student.layers", None, "--student.layers is None, expected a whole number"),
        ("teacher.model.heads", 2, "--teacher.model: gcnii: it has no option heads"),
        ("glnn.student.layers", 1, "--glnn.student: mlp: number of layers is 1"),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(path, value, message):
    assert refused(changed(BASE, path, value)).startswith(message)


def test_a_message_names_three_and_counts_the_others():
    wrong = BASE
    for name in ("task_weight", "soft_label_weight", "alignment_weight", "axes", "dim"):
        wrong = changed(wrong, f"abkd.{name}", -1)
    line = refused(wrong)
    assert line.count("expected") == 3
    assert line.endswith("; and 2 more")


def test_options_of_methods_that_do_not_run_are_not_looked_at():
    resolve.resolve(changed(BASE, "gcrd.dim", -1))


def test_a_method_without_a_weight_has_nothing_to_learn_from():
    silent = changed(BASE, "supervised.task_weight", 0.0)
    assert "--supervised.auxiliary-weight are all 0: supervised has nothing to learn from" in refused(silent)
    for name in resolve.WEIGHTS:
        resolve.resolve(changed(silent, f"supervised.{name}", 1.0))


@pytest.mark.parametrize(
    ("option", "chosen", "weight"),
    [
        ("auxiliary", "my_losses:logit_mse", "auxiliary-weight"),
        ("auxiliary", "lsp", "auxiliary-weight"),
        ("attention", "uniform", "alignment-weight"),
        ("dissimilarity", "cka", "alignment-weight"),
    ],
)
def test_a_loss_that_is_named_without_a_weight_is_refused(option, chosen, weight):
    idle = changed(BASE, f"soft_label.{option}", chosen)
    line = f"--soft-label.{option} is {chosen}, but --soft-label.{weight} is 0, so that it takes no part"
    assert refused(idle).startswith(line)
    if ":" not in chosen:
        resolve.resolve(changed(idle, f"soft_label.{weight.replace('-', '_')}", 0.1))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (("abdk",), "; did you mean abkd?"),
        (("abkd", "suported"), "method suported is unknown"),
        (("abkd", "abkd"), "each named once"),
        (("abkd,abkd",), "each named once"),
        ((",",), "methods are none"),
    ],
)
def test_unknown_methods_get_a_suggestion(methods, message):
    assert message in refused(dataclasses.replace(BASE, methods=methods))


def test_nothing_is_suggested_for_what_is_like_no_method():
    assert "did you mean" not in refused(dataclasses.replace(BASE, methods=("reddit",)))


def test_methods_may_be_joined_by_commas():
    joined = dataclasses.replace(BASE, methods=("abkd,soft_label", "glnn"))
    assert resolve.resolve(joined).methods == ("abkd", "soft_label", "glnn")


def test_the_home_folder_takes_the_place_of_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {"out": Path("~/run"), "teachers": Path("~"), "data_root": Path("here/~")}
    found = resolve.resolve(dataclasses.replace(BASE, **folders))
    assert (found.out, found.teachers, found.data_root) == (tmp_path / "run", tmp_path, Path("here/~"))
    assert "~nobody_of_this_name" in refused(dataclasses.replace(BASE, out=Path("~nobody_of_this_name/run")))


@pytest.mark.parametrize("kind", ["full", "neighbours", "walks", "clusters"])
def test_molecules_say_that_the_kind_of_batches_is_wrong(kind):
    wrong = changed(presets.distill_config("ogbg-molbace"), "batches.kind", kind)
    assert refused(wrong) == f"ogbg-molbace labels graphs: --batches.kind is {kind}, expected graphs"


def test_nodes_say_that_the_kind_of_batches_is_wrong():
    expected = "cora labels nodes: --batches.kind is graphs, expected full, neighbours, walks or clusters"
    assert refused(changed(presets.distill_config("cora"), "batches.kind", "graphs")) == expected


def test_a_readout_belongs_to_batches_of_graphs():
    assert "--batches.kind is full" in refused(changed(BASE, "student.readout", "sum"))
    molecules = presets.distill_config("mutag")
    assert "--teacher.model.readout is None" in refused(changed(molecules, "teacher.model.readout", None))


def test_a_method_without_a_student_of_its_own_trains_the_runs_student():
    models = {job.name: job.model for job in resolve.jobs(BASE)}
    assert list(models) == list(METHODS)
    assert models["glnn"].name == "mlp"
    assert models["abkd"] == BASE.student


def test_resolving_twice_changes_nothing():
    config = resolve.resolve(dataclasses.replace(BASE, max_epochs=25))
    assert resolve.resolve(config) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teacher_outputs": (Path("a.npz"), Path("c.npz")), "teacher_weights": Path("b.safetensors")},
            "--teacher-outputs beside --teacher-weights are 2 files, expected one",
        ),
        (
            {"teacher_weights": Path("b.safetensors"), "teacher_ensemble": 2},
            "--teacher-weights and --teacher-ensemble: expected one of them",
        ),
        ({"teacher_ensemble": 0}, "--teacher-ensemble is 0, expected a whole number of at least 1"),
    ],
)
def test_a_teacher_comes_from_one_place(changes, message):
    assert message in refused(dataclasses.replace(BASE, **changes))


@pytest.mark.parametrize("start", ["attention_map", "teacher_directions"])
@pytest.mark.parametrize(
    "changes", [{"teacher_outputs": (Path("a.npz"),)}, {"teacher_ensemble": 2}], ids=["outputs", "ensemble"]
)
def test_starts_that_read_parameters_need_those_of_one_teacher(start, changes):
    settings = dataclasses.replace(changed(BASE, "abkd.start", start), **changes)
    line = refused(settings)
    assert line.startswith(f"abkd: start {start} reads the parameters of one teacher")
    assert line.endswith("expected --abkd.start auto, positive or default")
    resolve.resolve(dataclasses.replace(settings, methods=("soft_label",)))


def test_a_repeated_convolution_has_no_layers_to_average():
    repeated = changed(BASE, "student.repeated", True)
    resolve.resolve(repeated)
    line = refused(changed(repeated, "abkd.start", "attention_map"))
    assert line == "abkd: start attention_map averages the kernels of plain layers, expected --student.repeated False"
    assert "gcn: it has no option repeated (True), only gcnii do" in refused(changed(repeated, "student.name", "gcn"))


def test_the_input_of_a_teacher_needs_its_parameters_and_its_features():
    through = changed(BASE, "abkd.input", "teacher")
    line = refused(dataclasses.replace(through, teacher_ensemble=2))
    assert line.startswith("abkd: input teacher reads the parameters of one teacher")
    assert "of which sign as student reads powers" in refused(changed(through, "student.name", "sign"))


def test_settings_of_a_teacher_from_files_are_not_looked_at():
    idle = changed(BASE, "teacher.model.heads", 2)
    assert "--teacher.model: gcnii: it has no option heads" in refused(idle)
    resolve.resolve(dataclasses.replace(idle, teacher_outputs=(Path("~/a.npz"),)))


WALKS = config.BatchConfig(kind="walks", per_step=4)


@pytest.mark.parametrize(
    ("batches", "mesh", "message"),
    [
        (config.BatchConfig(per_step=2), (), "--batches.per-step is 2, expected 1: --batches.kind is full"),
        (config.BatchConfig(), ("data=2",), "--batches.kind is full and --batches.per-step 1, expected minibatches"),
        (WALKS, ("data=3",), "--batches.per-step 4, expected minibatches and a multiple of 3"),
        (WALKS, ("nodes=2",), "--mesh nodes=2: --batches.kind is walks, expected full"),
        (config.BatchConfig(), ("seeds=1000",), "--mesh seeds=1000 has 1,000 devices, expected at most"),
        (config.BatchConfig(), ("seeds=two",), "--mesh seeds=two: 'seeds=two', expected data=N, seeds=N, nodes=N"),
    ],
    ids=["full", "data", "multiple", "nodes", "devices", "word"],
)
def test_devices_fit_the_batches(batches, mesh, message):
    assert message in refused(dataclasses.replace(BASE, batches=batches, mesh=mesh))


def test_several_processes_do_not_share_seeds_of_minibatches(monkeypatch):
    monkeypatch.setattr(resolve, "are_several", lambda: True)
    message = "--mesh seeds=2: --batches.kind is walks in several processes, expected full"
    assert message in refused(dataclasses.replace(BASE, batches=WALKS, mesh=("data=2", "seeds=2")))
