"""From a typed or a graph-level data set to a table: minibatches, scores, both parameter counts, resumption."""

import dataclasses
import itertools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from problem_samples import AUTHORS, PAPERS, graph_dataset, several_dataset, targets_dataset, typed_dataset

from abkd_jax import datasets
from abkd_jax import load as load_student
from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig, TeacherConfig
from abkd_jax.configs.presets import distill_config
from abkd_jax.distill.alignment import dissimilarity
from abkd_jax.run import data, pipeline
from abkd_jax.run import folder as runfolder
from abkd_jax.run.data import build_model, prepare_data, with_powers
from abkd_jax.run.scores import make_scores
from abkd_jax.types import InputError

OPTIM = OptimConfig(epochs=4, eval_every=2, monitor="val_accuracy", learning_rate=0.05)
METHOD = MethodConfig(start="default", optim=OPTIM)
RGCN = ModelConfig(name="rgcn", layers=2, hidden=4, dropout=0.0, embedding_width=4)
GIN = ModelConfig(name="gin", layers=2, hidden=4, dropout=0.0, readout="mean")
GINE = ModelConfig(name="gin", layers=2, hidden=4, dropout=0.0)
GCN = ModelConfig(name="gcn", layers=2, hidden=4, dropout=0.0)
WALKS = BatchConfig(kind="walks", size=10, length=2, steps=2)


@pytest.fixture(autouse=True)
def _made_for_tests(monkeypatch):
    made = {"typed": typed_dataset, "rings": graph_dataset, "targets": targets_dataset, "several": several_dataset}
    monkeypatch.setattr(datasets, "load", lambda name, root, seed=0: datasets.validate(made[name]()))


def run(dataset, model, batches, folder, methods=("supervised", "abkd")):
    student = dataclasses.replace(model, hidden=2)
    abkd = dataclasses.replace(METHOD, soft_label_weight=1.0, alignment_weight=0.1, axes=2, dim=4)
    config = dataclasses.replace(
        distill_config("synthetic"),
        dataset=dataset,
        seeds=1,
        batches=batches,
        teacher=TeacherConfig(dataclasses.replace(model, hidden=8), OPTIM),
        student=student,
        methods=methods,
        supervised=METHOD,
        abkd=abkd,
        out=folder / "run",
        teachers=folder / "teachers",
    )
    return pipeline.distill(config)


def test_a_typed_graph_is_distilled_on_walks_and_counts_both_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_FULL_BATCH_NODES", 10)  # evaluated layer by layer
    monkeypatch.setattr(dissimilarity, "principal_axes", None)  # no batch is decomposed
    folder = run("typed", RGCN, WALKS, tmp_path)
    records = {r["method"]: r for r in runfolder.read_results(folder)["records"]}
    assert list(records) == ["teacher", "supervised", "abkd"]
    width, kinds, types = 4, 3, 2
    sizes = [(4, 8, 3), (4, 2, 3)]  # the vectors are as wide as the features, which enter as they are
    expected = [sum((kinds + types) * a * b + types * b for a, b in itertools.pairwise(s)) for s in sizes]
    assert [records[name]["parameters"] for name in ("teacher", "abkd")] == expected
    assert records["abkd"]["embedding_parameters"] == AUTHORS * width
    assert records["abkd"]["compression"] == pytest.approx(expected[0] / expected[1])
    both = [count + AUTHORS * width for count in expected]
    assert records["abkd"]["compression_with_embeddings"] == pytest.approx(both[0] / both[1])
    assert f"{records['abkd']['compression_with_embeddings']:.3f}x" in (folder / "report.md").read_text()
    assert run("typed", RGCN, WALKS, tmp_path) == folder  # the same command again trains nothing
    assert runfolder.read_results(folder)["records"] == list(records.values())


def test_whole_graphs_are_distilled_and_judged_by_their_metric(tmp_path):
    folder = run("rings", GIN, BatchConfig(kind="graphs", size=8), tmp_path)
    records = runfolder.read_results(folder)["records"]
    assert {r["metric"] for r in records} == {"ROC-AUC"}
    assert all(0.0 <= r["test_accuracy"] <= 1.0 for r in records)
    assert "test ROC-AUC %" in (folder / "report.md").read_text()


def test_graphs_of_a_large_set_are_evaluated_in_parts_to_the_same_scores(tmp_path, monkeypatch):
    batches, found = BatchConfig(kind="graphs", size=8), {}
    for name, most in (("at once", data.MAX_NODES_AT_ONCE), ("in parts", 10)):
        monkeypatch.setattr(data, "MAX_NODES_AT_ONCE", most)
        monkeypatch.setattr(sys.modules["abkd_jax.sampling.graph_parts"], "PER_PART", 7)
        assert (prepare_data(graph_dataset(), batches=batches).parts is None) == (name == "at once")
        folder = run("rings", GIN, batches, tmp_path / name, methods=("supervised",))
        evaluations = list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
        records = runfolder.read_results(folder)["records"]
        scores = [record[key] for record in records for key in ("test_accuracy", "val_accuracy", "weights")]
        found[name] = scores, [line["val_accuracy"] for line in evaluations], [line["val_loss"] for line in evaluations]
    assert found["in parts"][:2] == found["at once"][:2]  # of ranks of the same numbers
    assert_allclose(found["in parts"][2], found["at once"][2], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "model", "metric"),
    [("targets", GINE, "-RMSE"), ("several", GCN, "ROC-AUC")],
    ids=["regression", "multilabel"],
)
def test_targets_of_nodes_are_distilled_and_judged_by_their_metric(tmp_path, name, model, metric):
    results = runfolder.read_results(run(name, model, BatchConfig(), tmp_path, methods=("abkd",)))
    assert [(r["method"], r["metric"]) for r in results["records"]] == [("teacher", metric), ("abkd", metric)]
    assert all(np.isfinite(r["test_accuracy"]) for r in results["records"])
    assert results["data"]["counts"]["outputs"] == 2


def test_targets_of_any_units_are_learned_alike(tmp_path, monkeypatch, caplog):
    """Scores of `scale * targets + shift` are those of the targets, column by column, in the other units."""
    plain = targets_dataset()
    labels = plain.labels[:, :1]  # one column: the score is the mean over the columns, which have one unit each
    scale, shift, errors = 64.0, 4096.0, {}
    for name, given in {"plain": labels, "far": scale * labels + shift}.items():
        made = plain._replace(name=name, labels=given, num_classes=1)
        monkeypatch.setattr(datasets, "load", lambda *_, made=made, **__: made)
        folder = run(name, GINE, BatchConfig(), tmp_path / name, methods=("abkd",))
        records = runfolder.read_results(folder)["records"]
        errors[name] = np.array([record["test_accuracy"] for record in records])
        bundle = load_student(folder / "students" / "abkd" / "seed_0")
        error = np.asarray(bundle.predict(made))[made.test_mask] - given[made.test_mask]
        assert np.sqrt(np.mean(error**2)) == pytest.approx(-records[-1]["test_accuracy"], rel=1e-4)
    assert_allclose(errors["far"], scale * errors["plain"], rtol=1e-3)


def test_a_model_that_is_no_better_than_the_mean_of_the_targets_is_named(tmp_path, monkeypatch, caplog):
    made = targets_dataset()
    noise = np.random.default_rng(1).normal(size=made.labels.shape).astype(np.float32)
    made = made._replace(name="noise", labels=noise, test_mask=made.train_mask, train_mask=made.test_mask)
    monkeypatch.setattr(datasets, "load", lambda *_, **__: made)
    folder = run("noise", GINE, BatchConfig(), tmp_path, methods=("supervised",))
    records = runfolder.read_results(folder)["records"]
    errors = noise[made.test_mask] - noise[made.train_mask].mean(axis=0)
    expected = np.mean(np.sqrt(np.mean(errors**2, axis=0)))
    useless = [record["method"] for record in records if -record["test_accuracy"] >= expected]
    assert useless
    said = [message for message in caplog.messages if "mean of the training targets" in message]
    assert [message.partition(":")[0] for message in said] == useless
    assert all(f"mean of the training targets is {expected:.4g}:" in message for message in said)


def test_a_validation_part_on_which_no_score_is_defined_is_named(caplog):
    known = several_dataset()
    val = np.flatnonzero(known.val_mask)
    prepare_data(known)
    assert not caplog.messages
    for answers in ([1.0, 0.0], [1.0, np.nan]):
        caplog.clear()
        labels = known.labels.copy()
        labels[val] = answers
        prepare_data(known._replace(labels=labels))
        assert [message.partition(":")[2][:52] for message in caplog.messages] == [
            " no label has both answers on validation nodes, so n"
        ]


def test_sampled_targets_are_those_of_their_nodes():
    dataset = targets_dataset()
    prepared = prepare_data(dataset, batches=BatchConfig(kind="neighbours", size=8, fan_outs=(2, 2)))
    minibatch = next(iter(prepared.sampler.minibatches(np.random.default_rng(0))))
    count = len(minibatch.nodes)
    np.testing.assert_array_equal(minibatch.batch.labels[:count], dataset.labels[minibatch.nodes])
    assert prepared.loss_context.task == "regression"


def test_a_model_that_does_not_read_what_edges_have_is_named(caplog):
    prepared = prepare_data(targets_dataset()._replace(name="unread"))
    build_model(prepared, GCN)
    build_model(prepared, GINE)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "unread: edges have features, which gcn does not read; models that do: gin, gat",
        "unread: edges have weights, which gin does not read; models that do: gcnii, gcn, sign",
    ]


def test_layer_by_layer_scores_are_those_of_the_whole_graph(monkeypatch):
    whole = prepare_data("typed", None)
    monkeypatch.setattr(data, "MAX_FULL_BATCH_NODES", 10)
    by_layers = prepare_data("typed", None, BatchConfig(kind="neighbours", size=8, fan_outs=(2, 2)))
    assert by_layers.eval_nodes is not None
    assert by_layers.labels.shape == (PAPERS - 30,)
    model = build_model(whole, RGCN)
    variables = jax.jit(model.init)(jax.random.key(0), whole.batch.graph)
    expected, found = (make_scores(prepared, model)(variables) for prepared in (whole, by_layers))
    for name in ("val_loss", "val_accuracy", "test_accuracy"):
        assert_allclose(found[name], expected[name], rtol=1e-5)


def test_losses_look_at_the_target_type_alone():
    prepared = prepare_data("typed", None, WALKS)
    assert np.flatnonzero(prepared.batch.masks.all).tolist() == list(range(PAPERS))
    batch = next(iter(prepared.sampler(np.random.default_rng(0))))
    assert (batch.labels[batch.masks.all] >= 0).all()
    assert batch.masks.train.sum() > 0
    assert prepared.loss_context.minibatches


def test_64_bits_are_refused_before_models_are_stored_in_them():
    with jax.enable_x64(True), pytest.raises(InputError, match="jax_enable_x64 is True, expected False: "):
        prepare_data("synthetic")


@pytest.mark.parametrize(
    ("dataset", "kind", "message"),
    [("typed", "graphs", "expected full, neighbours, walks or clusters"), ("rings", "full", "expected graphs")],
)
def test_batches_must_fit_the_data_set(dataset, kind, message):
    with pytest.raises(InputError, match=message):
        prepare_data(dataset, None, BatchConfig(kind=kind))


def test_sign_reads_powers_that_are_computed_once():
    prepared = prepare_data("typed", None)
    plain = prepared._replace(batch=prepared.batch._replace(graph=prepared.batch.graph._replace(edges=None)))
    sign = ModelConfig(name="sign", layers=1, hidden=2, hops=2, dropout=0.0)
    found = with_powers(plain, sign, RGCN)
    nodes = found.batch.graph.nodes
    assert nodes["hops"].shape == (PAPERS + AUTHORS, 3, 4)
    assert_allclose(nodes["hops"][:, 0], jnp.asarray(plain.batch.graph.nodes["features"]))
    assert with_powers(found, sign) is found
    assert with_powers(prepared, RGCN) is prepared
    with pytest.raises(InputError, match="one number for all models"):
        with_powers(plain, sign, dataclasses.replace(sign, hops=3))
