"""Teachers from outside: models of PyTorch Geometric by outputs and by weights, modules, functions, ensembles."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose
from parity.parity_samples import Late, pyg, torch
from pipeline_samples import tiny
from problem_samples import graph_dataset, typed_dataset

from abkd_jax import GNNOutput, aggregate
from abkd_jax.configs.options import BatchConfig, MethodConfig, ModelConfig, OptimConfig
from abkd_jax.graph import node_features
from abkd_jax.models import build
from abkd_jax.models.external import Ensemble, Stored
from abkd_jax.models.pyg import from_state_dict
from abkd_jax.run import data as run_data
from abkd_jax.run import pipeline
from abkd_jax.run.data import build_model, prepare_data
from abkd_jax.run.given_teachers import given_teacher
from abkd_jax.run.identity import run_digest, source_of
from abkd_jax.run.program import select_seed
from abkd_jax.run.records import make_records
from abkd_jax.run.resolve import Job
from abkd_jax.run.students import train_students
from abkd_jax.run.teacher_outputs import save_outputs
from abkd_jax.run.teachers import read_teacher
from abkd_jax.types import InputError

library = Late("torch_geometric.nn.models")
safetensors = Late("safetensors.torch")
STUDENT = ModelConfig("mlp", layers=2, hidden=4, dropout=0.0)
METHOD = MethodConfig(  # reads logits and hidden layers
    task_weight=0.5,
    soft_label_weight=1.0,
    auxiliary_weight=0.5,
    auxiliary="fitnet",
    dim=3,
    start="positive",
    optim=OptimConfig(epochs=4, eval_every=4, learning_rate=0.02),
)


@pytest.fixture(scope="module")
def data():
    return prepare_data("synthetic")


def students(data, teacher, folder, student=STUDENT):
    return train_students(data, Job("fitnet", student, METHOD), teacher, [(folder, [0])])


def assert_equal_students(one, other):
    assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-3)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-3, atol=1e-4), one.variables, other.variables)


# PyTorch Geometric ---------------------------------------------------------------------------------------------------


def gcnii():
    """The model of the example `gcn2_cora.py`."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lins = torch.nn.ModuleList([torch.nn.Linear(32, 6), torch.nn.Linear(6, 3)])
            self.convs = torch.nn.ModuleList(pyg.GCN2Conv(6, 0.1, 0.5, layer) for layer in (1, 2, 3))

        def forward(self, x, edges):
            x = x_0 = self.lins[0](x).relu()
            hiddens = []
            for conv in self.convs:
                x = conv(x, x_0, edges).relu()
                hiddens.append(x)
            return self.lins[1](x), hiddens

    return Net()


def two_layers(make, activation):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = make(32, 6), make(6, 3)

        def forward(self, x, edges):
            h = activation(self.conv1(x, edges))
            return self.conv2(h, edges), [h]

    return Net()


MODELS = {
    "gcn": (ModelConfig("gcn", 2, 6), lambda: two_layers(pyg.GCNConv, torch.relu)),
    "gat": (ModelConfig("gat", 2, 6), lambda: two_layers(pyg.GATConv, torch.nn.functional.elu)),
    "gcnii": (ModelConfig("gcnii", 3, 6), gcnii),
}


def edges_of(dataset):
    """Both directions of all edges, `[2, e]`."""
    ends = np.stack([dataset.senders, dataset.receivers])
    return np.unique(np.concatenate([ends, ends[::-1]], axis=1), axis=1).astype(np.int64)


def trained(model, dataset):
    """The model after some epochs on the raw edges, once in each direction, and its outputs."""
    edges = torch.tensor(edges_of(dataset))
    x, labels = torch.tensor(np.asarray(dataset.features)), torch.tensor(dataset.labels, dtype=torch.int64)
    chosen, optimizer = torch.tensor(dataset.train_mask), torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x, edges)[0][chosen], labels[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        logits, hiddens = model(x, edges)
    return GNNOutput(logits.numpy(), tuple(hidden.numpy() for hidden in hiddens))


@pytest.mark.parametrize("name", MODELS)
def test_a_teacher_of_pytorch_is_the_same_by_outputs_weights_and_in_jax(data, tmp_path, name):
    config, make = MODELS[name]
    torch.manual_seed(0)
    model = make()
    output = trained(model, data.dataset)
    save_outputs(tmp_path / "teacher.npz", output, data)
    safetensors.save_file(model.state_dict(), tmp_path / "teacher.safetensors")
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    held = (build(config, 3), from_state_dict(config, state, features=32, classes=3))
    by_weights = given_teacher(data, tmp_path / "teacher.safetensors", 1, config)
    in_jax, by_outputs = given_teacher(data, held, 1), given_teacher(data, tmp_path / "teacher.npz", 1)
    jax.tree.map(np.testing.assert_array_equal, by_weights.models.variables, in_jax.models.variables)
    found = jax.jit(held[0].apply)(held[1], data.batch.graph)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(output), strict=True):
        assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    record = make_records((data,), "teacher", by_weights.models)[0]
    assert record["test_accuracy"] > 0.5
    assert record["parameters"] == sum(value.size for value in state.values())
    assert record["latency_ms"] > 0.0
    if name == "gcnii":  # the most hidden layers; nothing below depends on the architecture
        assert_equal_students(students(data, by_outputs, tmp_path / "o"), students(data, in_jax, tmp_path / "h"))


def damage_weights(path):
    path.write_bytes(path.read_bytes()[:-8])


WEIGHTS = {
    "cut": ("gcn", damage_weights, "t.safetensors", "expected a file of safetensors, but it is missing or damaged"),
    "no safetensors": ("gcn", lambda path: path.write_text("weights"), "t.safetensors", "missing or damaged"),
    "missing": ("gcn", lambda path: path.unlink(), "t.safetensors", "missing or damaged: No such file"),
    "another architecture": ("gcnii", None, "t.safetensors", "conv1.bias (6,) has no counterpart in gcnii"),
    "a pickle": ("gcn", None, "t.pt", "expected .safetensors, written by safetensors.torch.save_file(model"),
    "a table": ("gcn", None, "t.csv", "expected a file .npz of outputs, or .safetensors of weights"),
    "no model of theirs": ("sign", None, "t.safetensors", "sign has no counterpart in PyTorch Geometric"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_files_of_other_weights_are_refused_and_leave_no_folder(tmp_path, case):
    name, damage, file, message = WEIGHTS[case]
    path = tmp_path / file
    safetensors.save_file(two_layers(pyg.GCNConv, torch.relu).state_dict(), path)
    if damage:
        damage(path)
    config = tiny(tmp_path, methods=("soft_label",), teacher_weights=path)
    model = ModelConfig(name, 2, 6)
    with pytest.raises(InputError, match=r"^[^\n]+$") as caught:
        pipeline.distill(dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, model=model)))
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


HIDDEN_OPTIONS = {  # without a tensor in the file
    "normalize": ("GraphSAGE", "graphsage", {"normalize": True}),
    "maximum": ("GraphSAGE", "graphsage", {"aggr": "max"}),
    "self loops": ("GCN", "gcn", {"add_self_loops": False}),
    "activation": ("GAT", "gat", {}),
}


@pytest.mark.parametrize("option", HIDDEN_OPTIONS)
def test_outputs_beside_weights_show_what_the_file_does_not_say(data, tmp_path, option):
    theirs, name, changes = HIDDEN_OPTIONS[option]
    plain = {"act": "elu"} if name == "gat" else {}
    config, weights = ModelConfig(name, 2, 6), tmp_path / "w.safetensors"
    for options in (plain, changes):
        torch.manual_seed(0)
        model = getattr(library, theirs)(32, 6, 2, 3, **options).eval()
        for value in model.parameters():
            value.data *= 3.0  # so that probabilities differ too
        safetensors.save_file(model.state_dict(), weights)
        with torch.no_grad():
            logits = model(torch.tensor(np.asarray(data.dataset.features)), torch.tensor(edges_of(data.dataset)))
        np.savez(tmp_path / "o.npz", logits=logits.numpy())
        np.savez(tmp_path / "p.npz", probabilities=logits.softmax(dim=1).numpy())
        beside = (tmp_path / "o.npz", tmp_path / "p.npz", logits.numpy())
        if options == plain:
            for outputs in beside:
                given_teacher(data, weights, 1, config, outputs)
            continue
        given_teacher(data, weights, 1, config)
        for outputs in beside:
            with pytest.raises(InputError, match=r"w\.safetensors: \w+ differ from those in .* aggregation, [^\n]*$"):
                given_teacher(data, weights, 1, config, outputs)


def test_outputs_beside_weights_are_read_by_a_run_and_change_no_identity(data, tmp_path):
    weights, right, wrong = (tmp_path / name for name in ("w.safetensors", "o.npz", "x.npz"))
    model = two_layers(pyg.GCNConv, torch.relu)
    safetensors.save_file(model.state_dict(), weights)
    with torch.no_grad():
        logits = model(torch.tensor(np.asarray(data.dataset.features)), torch.tensor(edges_of(data.dataset)))[0]
    np.savez(right, logits=logits.numpy())
    np.savez(wrong, logits=logits.numpy() + 0.1 * np.eye(300, 3, dtype=np.float32))
    config = tiny(tmp_path, methods=("soft_label",), teacher_weights=weights)
    config = dataclasses.replace(config, teacher=dataclasses.replace(config.teacher, model=ModelConfig("gcn", 2, 6)))
    with pytest.raises(InputError, match=r"logits differ from those in .*x\.npz by up to 0.1, of"):
        pipeline.distill(dataclasses.replace(config, teacher_outputs=(wrong,)))
    assert not (tmp_path / "run").exists()
    both = dataclasses.replace(config, teacher_outputs=(right,))
    assert (run_digest(both), source_of(both)) == (run_digest(config), source_of(config))
    assert read_teacher(data, both).config == config.teacher.model


def test_learned_embeddings_are_not_in_weights(tmp_path):
    safetensors.save_file(two_layers(pyg.GCNConv, torch.relu).state_dict(), tmp_path / "t.safetensors")
    typed = prepare_data(typed_dataset())
    with pytest.raises(InputError, match="the learned embeddings of typed have no counterpart"):
        given_teacher(typed, tmp_path / "t.safetensors", 1, ModelConfig("rgcn", 2, 6))


# Python --------------------------------------------------------------------------------------------------------------


def apply(params, graph):
    """Two layers as a pure function."""
    hidden = jnp.tanh(node_features(graph) @ params["in"])
    return aggregate.propagate(graph, hidden) @ params["out"], [hidden]


class Linen(nn.Module):
    @nn.compact
    def __call__(self, graph):
        return nn.Dense(3)(node_features(graph))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(32, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs, deterministic=True)

    def __call__(self, graph):
        return self.dropout(self.dense(node_features(graph)))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {"in": rng.normal(size=(32, 5)).astype(np.float32), "out": rng.normal(size=(5, 3)).astype(np.float32)}


def sources(data, params):
    """Every kind of source, with what it returns and the number of its parameters."""
    graph = data.batch.graph
    logits, hiddens = jax.tree.map(np.asarray, apply(params, graph))
    module = Nnx(nnx.Rngs(0))
    linen = Linen().init(jax.random.key(0), graph)
    return {
        "output": (GNNOutput(logits, tuple(hiddens)), logits, 1, None),
        "array": (logits, logits, 0, None),
        "pair": ((logits, hiddens), logits, 1, None),
        "names": ({"logits": logits, "hidden_0": hiddens[0], "parameters": 175}, logits, 1, 175),
        "function": (lambda graph: apply(params, graph), logits, 1, None),
        "function and params": ((apply, params), logits, 1, 175),
        "linen": ((Linen(), linen), Linen().apply(linen, graph), 0, 99),
        "nnx": (module, module(graph), 0, 99),
    }


KINDS = ("output", "array", "pair", "names", "function", "function and params", "linen", "nnx")


@pytest.mark.parametrize("kind", KINDS)
def test_any_source_is_a_teacher_for_all_seeds(data, params, kind):
    source, logits, hiddens, parameters = sources(data, params)[kind]
    teacher = given_teacher(data, source, 3)
    for seed in (0, 2):
        found = jax.jit(teacher.models.module.apply)(select_seed(teacher.models.variables, seed), data.batch.graph)
        assert_allclose(found.logits, logits, rtol=1e-5, atol=1e-5)
        assert len(found.hiddens) == hiddens
    records = make_records((data,), "teacher", teacher.models)
    hits = np.asarray(logits).argmax(axis=1) == data.dataset.labels
    assert [record["parameters"] for record in records] == [parameters] * 3
    assert records[2]["test_accuracy"] == pytest.approx(hits[data.dataset.test_mask].mean(), abs=1e-6)
    assert given_teacher(data, source, 1).source == teacher.source


def test_an_nnx_module_in_training_mode_is_evaluated_and_stays_in_it(data):
    module, evaluated = Nnx(nnx.Rngs(0)), Nnx(nnx.Rngs(0))
    module.train()
    teacher = given_teacher(data, module, 1)
    found = teacher.models.module.apply(select_seed(teacher.models.variables, 0), data.batch.graph)
    assert_allclose(found.logits, evaluated(data.batch.graph), rtol=1e-5, atol=1e-5)
    assert not module.dropout.deterministic


def test_an_ensemble_of_functions_is_their_mean(data, params):
    half = {name: value / 2 for name, value in params.items()}
    teacher = given_teacher(data, [(apply, params), (apply, half)], 1)
    found = teacher.models.module.apply(select_seed(teacher.models.variables, 0), data.batch.graph)
    one, two = (jax.nn.softmax(apply(p, data.batch.graph)[0]) for p in (params, half))
    assert_allclose(jnp.exp(found.logits), (one + two) / 2, rtol=1e-4, atol=1e-6)
    assert isinstance(teacher.models.module, Ensemble)
    with pytest.raises(InputError, match="expected members of one kind"):
        given_teacher(data, [(apply, params), np.asarray(found.logits)], 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "teacher: int, expected outputs, a path"),
        (Linen(), "teacher: Linen, expected outputs"),
        ((), "teacher: tuple, expected outputs"),
        (lambda graph: "logits", "its output is str, expected logits"),
        (lambda graph: jnp.ones(3), r"an array of shape \(3,\), expected logits"),
        (lambda graph: jnp.ones((2, 3)), "logits has 2 rows, expected 300"),
        (np.ones((300, 2)), "logits of 2 classes, expected 3"),
        ((Linen(), {"Dense_0": {}}), "teacher: variables without 'params', expected those of module.init"),
        ((Linen(), {"params": {}}), "teacher: its variables are not those of its module on this data: Tried to access"),
        (lambda graph, train: graph, r"a function of \(graph, train\), expected one of \(graph\): missing a required"),
        ((lambda graph: graph, 1), r"a function of \(graph\), expected one of \(params, graph\): too many"),
        ("teacher.txt", "teacher.txt: expected a file .npz of outputs, or .safetensors of weights"),
        ("teacher.safetensors", "weights without an architecture, expected a ModelConfig"),
    ],
    ids=[
        "number",
        "module alone",
        "nothing",
        "text",
        "vector",
        "rows",
        "classes",
        "params alone",
        "no parameters",
        "two arguments",
        "no params",
        "text file",
        "no architecture",
    ],
)
def test_other_sources_are_refused(data, source, message):
    with pytest.raises(InputError, match=message):
        given_teacher(data, source, 1)


def test_tensors_that_take_part_in_gradients_are_outputs_as_any(data):
    logits, hidden = (torch.randn(300, width, requires_grad=True) for width in (3, 4))
    found = given_teacher(data, (logits, [hidden]), 1).models.variables["outputs"]
    assert_allclose(found.logits[0], logits.detach().numpy())
    assert_allclose(found.hiddens[0][0], hidden.detach().numpy())
    half = given_teacher(data, {"probabilities": torch.softmax(logits, dim=1)}, 1).models.variables["outputs"]
    assert_allclose(np.exp(half.logits[0]), torch.softmax(logits, dim=1).detach().numpy(), rtol=1e-5)


def test_outputs_are_compared_with_weights_alone(data):
    with pytest.raises(InputError, match=r"outputs to compare with beside other than a file \.safetensors"):
        given_teacher(data, np.ones((300, 3)), 1, outputs=np.ones((300, 3)))


def test_stored_outputs_follow_the_graphs_of_a_minibatch(tmp_path):
    """Students on minibatches of graphs learn the same from stored outputs as from the model itself."""
    rings = prepare_data(graph_dataset(), batches=BatchConfig(kind="graphs", size=8))
    config = ModelConfig("gin", layers=2, hidden=5, dropout=0.0, readout="mean")
    model = build_model(rings, config)
    variables = jax.jit(model.init)(jax.random.key(3), rings.batch.graph)
    called = given_teacher(rings, (model, variables), 1)
    output = jax.jit(model.apply)(variables, rings.batch.graph)
    stored = given_teacher(rings, GNNOutput(output.logits[:-1], tuple(h[:-1] for h in output.hiddens)), 1)
    assert isinstance(stored.models.module, Stored)
    student = dataclasses.replace(config, hidden=3)
    found = [students(rings, teacher, tmp_path / name, student=student) for name, teacher in
             (("called", called), ("stored", stored))]  # fmt: skip
    assert_equal_students(*found)


def test_on_a_graph_that_is_evaluated_layer_by_layer_outputs_are_looked_up(monkeypatch):
    monkeypatch.setattr(run_data, "MAX_FULL_BATCH_NODES", 10)
    walks = prepare_data(typed_dataset(), batches=BatchConfig(kind="walks", size=10, length=2, steps=2))
    nodes = walks.dataset.num_nodes
    logits = np.random.default_rng(0).normal(size=(nodes, 3)).astype(np.float32)
    record = make_records((walks,), "teacher", given_teacher(walks, [logits, logits], 1).models)[0]
    hits = logits.argmax(axis=1) == walks.dataset.labels
    assert record["test_accuracy"] == pytest.approx(hits[walks.dataset.test_mask].mean(), abs=1e-6)
    with pytest.raises(InputError, match="typed: too large for a teacher that is a function, expected stored outputs"):
        make_records((walks,), "teacher", given_teacher(walks, lambda graph: node_features(graph)[:, :3], 1).models)
