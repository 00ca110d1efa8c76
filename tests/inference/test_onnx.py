"""ONNX models: onnxruntime predicts from a raw graph what the student does."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from export_samples import (
    BUNDLES,
    CLASSES,
    CONFIGS,
    bundle_of,
    exported,
    graphs_of,
    node_level,
    prepared,
    student_logits,
)

from abkd_jax import InputError
from abkd_jax.inference.bundle import Bundle, inputs_of, model_of
from abkd_jax.inference.export import onnx
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays
from abkd_jax.inference.export.artefact import Artefact, write_artefacts
from abkd_jax.layers.output import Units, variables_of


@pytest.mark.parametrize("name", BUNDLES)
def test_it_predicts_what_the_student_does(name: str):
    bundle = bundle_of(name)
    run = onnx.session_of(exported(bundle, onnx.export))
    for data in graphs_of(name):
        wanted = student_logits(name, data)
        found = run(*checked_arrays(bundle.inputs, arrays_of(data, bundle.inputs)))
        np.testing.assert_allclose(found["logits"], wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
        np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1.0, rtol=1e-6)


def test_real_targets_are_both_outputs_in_their_units():
    bundle, data = bundle_of("mlp"), graphs_of("mlp")[0]
    units = Units(np.array([8.0, 0.25, 3.0], np.float32), np.array([1000.0, -1.0, 0.0], np.float32))
    in_units = dataclasses.replace(bundle, task="regression", variables=bundle.variables | variables_of(units))
    found = onnx.session_of(exported(in_units, onnx.export))(*arrays_of(data, bundle.inputs).values())
    wanted = student_logits("mlp", data) * units.scale + units.shift
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    folder, bundle = tmp_path_factory.mktemp("onnx"), bundle_of("gcn")
    content = exported(bundle, onnx.export)
    return onnx.load(*write_artefacts(folder, bundle, {"model.onnx": (content, {})}))


def test_a_graph_without_edges_and_one_of_self_loops(model: Artefact):
    data = graphs_of("gcn")[0]
    nothing = {name: getattr(data, name)[:0] for name in ("senders", "receivers", "edge_weights")}
    loops = {"senders": data.senders, "receivers": data.senders}
    wanted = student_logits("gcn", data._replace(**nothing))
    for edges in (nothing, loops):
        found = model.predict(arrays_of(data._replace(**edges), model.inputs))["logits"]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_negative_ends_predict_nothing_and_others_out_of_range_fail(model: Artefact):
    arrays = arrays_of(graphs_of("gcn")[0], model.inputs)
    arrays["senders"] = arrays["senders"].copy()
    arrays["senders"][0] = -1
    assert np.isnan(model.run(*arrays.values())["logits"]).all()
    with pytest.raises(InputError, match="senders: entry 0 is -1, expected 0 to 11"):
        model.predict(arrays)


def test_zeros_of_nodes_and_relations_are_not_stored(monkeypatch: pytest.MonkeyPatch):
    import onnx as library

    data = graphs_of("rgcn")[0]._replace(features=np.zeros((0, 0), np.float32))  # as many nodes as embeddings, always
    bundle = Bundle(CONFIGS["rgcn"], inputs_of(data), CLASSES, "classification", {})
    module = model_of(bundle)
    variables = jax.tree.map(np.asarray, jax.jit(module.init)(jax.random.key(0), prepared(data)))
    monkeypatch.setattr(onnx, "LARGE", 128)
    content = exported(dataclasses.replace(bundle, variables=variables), onnx.export)
    model = library.load_from_string(content)
    library.checker.check_model(model, full_check=True)
    stored = [library.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert all(array.nbytes < 128 or np.unique(array).size > 1 for array in stored)
    assert any(node.op_type == "ConstantOfShape" for node in model.graph.node)
    found = onnx.session_of(content)(*arrays_of(data, bundle.inputs).values())["logits"]
    wanted = np.asarray(jax.jit(module.apply)(variables, prepared(data)).logits)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_int8_predicts_almost_the_same_and_stores_int8():
    bundle, data = bundle_of("mlp"), node_level(3, 6, 10)
    content = exported(bundle, onnx.export, precision="int8")
    found = onnx.session_of(content)(*arrays_of(data, bundle.inputs).values())["logits"]
    wanted = student_logits("mlp", data)
    assert 1e-5 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.03
    import onnx as library

    kinds = {tensor.data_type for tensor in library.load_from_string(content).graph.initializer}
    assert library.TensorProto.INT8 in kinds


def test_a_student_in_bfloat16_is_computed_in_float32_in_64_bits_too():
    bundle, data = bundle_of("gcnii"), graphs_of("gcnii")[0]
    narrow = dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, dtype="bfloat16"))
    with jax.enable_x64(True):
        run = onnx.session_of(exported(narrow, onnx.export))
    found = run(*checked_arrays(bundle.inputs, arrays_of(data, bundle.inputs)))["logits"]
    wanted = student_logits("gcnii", data)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_bfloat16_and_other_bytes_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"ONNX in bfloat16: .* expected float32 or int8"):
        onnx.export(bundle_of("mlp"), "bfloat16")
    with pytest.raises(InputError, match="expected an ONNX model") as caught:
        onnx.session_of(b"no model")
    assert "\n" not in str(caught.value)


def test_without_jax2onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(InputError, match=r"ONNX needs jax2onnx, .*: pip install 'abkd_jax\[onnx\]'"):
        onnx.export(bundle_of("mlp"))


def test_a_model_that_predicts_otherwise_is_not_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="onnxruntime predicts otherwise than the model"):
        exported(bundle_of("mlp"), onnx.export)
