"""Exports: files that say what they are, measured beside float32; PyTorch weights that load where their card says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_samples import CLASSES, WIDTH, bundle_of, exported, graphs_of, student_logits

from abkd_jax import InputError
from abkd_jax.configs.options import ModelConfig
from abkd_jax.graph.host import host_graph, whole_graph
from abkd_jax.inference import export
from abkd_jax.inference.bundle import Inputs
from abkd_jax.inference.export import stablehlo
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays
from abkd_jax.inference.export.pyg_stack import graph_for, stack_of
from abkd_jax.inference.student import Student, load


def test_all_formats_are_written_and_measured(tmp_path: Path):
    bundle, data = bundle_of("graphsage"), graphs_of("graphsage")[0]
    arrays, labels = checked_arrays(bundle.inputs, arrays_of(data, bundle.inputs)), jnp.asarray(data.labels)
    sample = export.Sample(arrays, lambda logits: jnp.mean(jnp.argmax(logits, axis=1) == labels))
    done = exported(bundle, export.export, folder=tmp_path, sample=sample)
    assert [path.name for path in done.paths] == ["model.stablehlo", "model.onnx", "model.safetensors"]
    right = np.mean(student_logits("graphsage", data).argmax(axis=1) == data.labels)
    for row in done.table:
        assert row.score == pytest.approx(right)
        assert row.milliseconds > 0
        assert row.bytes == (tmp_path / f"model.{row.format}").stat().st_size
    files = json.loads((tmp_path / "card.json").read_text())["files"]
    assert files["model.onnx"]["measured"] == [done.table[1]._asdict()]
    again = exported(bundle, lambda bundle, **options: Student(bundle).export(**options), folder=tmp_path)
    assert again == done.paths[:1]
    found = export.open_model(tmp_path / "model.onnx").predict(arrays_of(data, bundle.inputs))
    np.testing.assert_allclose(found["logits"], student_logits("graphsage", data), rtol=1e-4, atol=1e-5)


def test_a_path_may_begin_at_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    student = Student(bundle_of("mlp"))
    assert student.save("~/student") == tmp_path / "student"

    def write(folder: str) -> list[Path]:
        return exported(student.bundle, export.export, folder=folder, formats=("stablehlo",)).paths

    (program,) = write("~/programs")
    assert program == tmp_path / "programs" / "model.stablehlo"
    assert export.open_model("~/programs/model.stablehlo").path == program
    for use in (student.save, write, load, export.open_model):
        with pytest.raises(InputError, match=r"^~nobody_of_this_name/model.onnx: .*; expected a path without ~$"):
            use("~nobody_of_this_name/model.onnx")


def test_int8_stands_beside_float32_in_fewer_bytes(tmp_path: Path):
    bundle = bundle_of("mlp")
    done = exported(bundle, export.export, folder=tmp_path, formats=("stablehlo",), precision="int8")
    assert [path.name for path in done.paths] == ["model.int8.stablehlo"]
    full, fewer = done.table
    assert (full.precision, fewer.precision) == ("float32", "int8")
    sizes = [leaf.size for layer in bundle.variables["params"].values() for leaf in layer.values() if leaf.ndim == 2]
    assert full.weight_bytes - fewer.weight_bytes == 3 * sum(sizes) - 4 * (4 + CLASSES)  # a scale per output
    assert stablehlo.load(done.paths[0]).card["export"]["precision"] == "int8"


def test_an_unknown_format_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="export: format is 'torchscript', expected one of stablehlo, onnx, pyg"):
        exported(bundle_of("mlp"), export.export, folder=tmp_path, formats=("torchscript",))
    assert not any(tmp_path.iterdir())


PYG = ("gcn", "graphsage", "gat", "gatv2")


@pytest.mark.parametrize("name", PYG)
def test_pytorch_geometric_predicts_the_same(name: str, tmp_path: Path):
    torch, models = pytest.importorskip("torch"), pytest.importorskip("torch_geometric.nn.models")
    weights_file = pytest.importorskip("safetensors.torch")
    bundle, data = bundle_of(name), graphs_of(name)[1]
    if name in ("gat", "gatv2"):  # of one head everywhere: the last layer there has as many as the others
        config = dataclasses.replace(bundle.config, heads=1)
        bundle = dataclasses.replace(bundle, config=config, variables=_of_one_head(bundle.variables))
    exported(bundle, export.export, folder=tmp_path, formats=("pyg",))
    entry = json.loads((tmp_path / "card.json").read_text())["files"]["model.safetensors"]
    plain, _, weights = entry["graph"].partition(", weights")
    assert plain == "both directions of every edge, no duplicates and no self loops"
    assert bool(weights) == (name == "gcn")  # the others read none
    prefix, _, made = entry["model"].rpartition("torch_geometric.nn.models.")
    assert prefix == ""
    model = eval(made, vars(models)).eval()
    model.load_state_dict(weights_file.load_file(tmp_path / "model.safetensors"))
    graph = whole_graph(host_graph(data))
    edges = torch.tensor(np.stack([graph.senders, graph.receivers]), dtype=torch.int64)
    weighted = {"edge_weight": torch.tensor(graph.edges["weight"])} if name == "gcn" else {}
    with torch.no_grad():
        found = model(torch.tensor(data.features), edges, **weighted).numpy()
    inputs = map(jnp.asarray, arrays_of(data, bundle.inputs).values())
    wanted = jax.jit(stablehlo.program(bundle))(*inputs)["logits"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def _of_one_head(variables):
    """The variables of a model of two heads, whose attention vectors become those of one head."""
    first = variables["params"]["conv_0"]
    merged = {key: leaf.reshape(1, -1) if key.startswith("attention") else leaf for key, leaf in first.items()}
    return {"params": {**variables["params"], "conv_0": merged}}


STACKS = {
    "GCN of 4 layers": (
        ModelConfig("gcn", layers=4, hidden=8, norm="layer", jumping="cat"),
        "torch_geometric.nn.models.GCN(5, 8, 4, 3, norm='layer_norm', norm_kwargs={'mode': 'node'}, jk='cat')",
    ),
    "GAT": (
        ModelConfig("gat", layers=2, hidden=8, heads=2, output_heads=2, residual="linear"),
        "torch_geometric.nn.models.GAT(5, 8, 2, 3, heads=2, v2=False, residual=True, act='elu')",
    ),
    "GAT of other heads": (
        ModelConfig("gat", layers=2, hidden=8, heads=2),
        "a model of your own whose layers have the names of torch_geometric.nn.models.GAT",
    ),
    "MLP": (ModelConfig("mlp", layers=2, hidden=8), "torch_geometric.nn.models.MLP([5, 8, 3], norm=None)"),
    "MLP of ELUs and a norm": (
        ModelConfig("mlp", layers=2, hidden=8, norm="layer", activation="elu"),
        "torch_geometric.nn.models.MLP([5, 8, 3], act='elu', norm='layer_norm', norm_kwargs={'mode': 'node'})",
    ),
    "RGCN": (ModelConfig("rgcn", layers=2, hidden=8), "a list `convs` of 2 RGCNConv with num_relations=1"),
}
OTHERS = [  # no class of the library computes the same
    {"name": name, **options}
    for name, *of in (
        ("mlp", {"jumping": "cat"}, {"residual": "linear"}, {"residual": "identity"}),
        ("gin", {"norm": "batch"}, {"activation": "elu"}),
        *((name, {"residual": "identity"}) for name in ("gat", "gatv2", "gcn", "graphsage")),
        *((name, {"residual": "identity"}, {"norm": "batch"}, {"activation": "elu"}) for name in ("gcnii", "rgcn")),
    )
    for options in of
]


@pytest.mark.parametrize("name", STACKS)
def test_the_card_names_the_stack(name: str):
    config, text = STACKS[name]
    assert stack_of(config, Inputs(WIDTH), CLASSES) == text


@pytest.mark.parametrize("options", OTHERS, ids=lambda options: "-".join(options.values()))
def test_the_card_names_no_class_that_predicts_otherwise(options: dict[str, Any]):
    same_heads = {"heads": 2, "output_heads": 2}
    named = stack_of(ModelConfig(**options, **same_heads, layers=3, hidden=8), Inputs(WIDTH), CLASSES)
    assert named.startswith("a model of your own ")


def test_the_card_names_the_preprocessing():
    assert graph_for(Inputs(4, edge_weights=True)).endswith(", weights of edges as `edge_weight`")
    assert graph_for(Inputs(4, row_normalised=True)).endswith("features divided by the sum of their row")
    assert graph_for(Inputs(4, directed=True)).startswith("the edges of the list alone")


def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path):
    for name, formats, precision, message in (
        ("sign", ("pyg",), "float32", "sign has no counterpart in PyTorch Geometric"),
        ("rgcn", ("stablehlo", "pyg"), "float32", "^rgcn: layers of several node types have no counterpart in PyTorch"),
        ("mlp", ("pyg",), "int8", "weights for PyTorch Geometric in int8, expected float32"),
        ("mlp", ("stablehlo", "onnx"), "bfloat16", "ONNX in bfloat16"),
    ):
        with pytest.raises(InputError, match=message):
            exported(bundle_of(name), export.export, folder=tmp_path / "new", formats=formats, precision=precision)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"expected a file \.stablehlo or \.onnx"):
        export.open_model(tmp_path / "model.pt")
