"""Programs of models from outside the package, which read padding where they do not leave it out."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from export_samples import CLASSES, graph_level, node_level, prepared

from abkd_jax import InputError
from abkd_jax.configs.options import ModelConfig
from abkd_jax.inference.bundle import Bundle, inputs_of, model_of
from abkd_jax.inference.export import onnx, stablehlo
from abkd_jax.inference.export.arguments import arrays_of, checked_arrays
from abkd_jax.inference.predict import logits

pytestmark = pytest.mark.usefixtures("unchecked")


def _bundle(name, data):
    bundle = Bundle(ModelConfig(f"own_model_samples:{name}"), inputs_of(data), CLASSES, "classification", {})
    return dataclasses.replace(bundle, variables=model_of(bundle).init(jax.random.key(0), prepared(data)))


@pytest.mark.parametrize("name", ["centred", "centred_graphs"])
def test_padding_is_no_node_of_the_mask(name):
    data = graph_level(0, (3, 5, 4)) if name == "centred_graphs" else node_level(0, 12, 30)
    bundle = _bundle(name, data)
    arrays, wanted = checked_arrays(bundle.inputs, arrays_of(data, bundle.inputs)), logits(bundle, data)
    runs: list[Any] = [jax.jit(stablehlo.program(bundle))]
    if bundle.inputs.graph_level:  # of nodes ONNX has no padding
        runs.append(onnx.session_of(onnx.export(bundle)))
    for run in runs:
        np.testing.assert_allclose(run(*arrays)["logits"], wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_a_model_that_reads_padding_is_refused():
    bundle = _bundle("centred_with_padding", node_level(0, 12, 30))
    line = (
        r"^own_model_samples:centred_with_padding: its program predicts otherwise than the model, by .* graph.node_mask"
    )
    with pytest.raises(InputError, match=line):
        stablehlo.export(bundle)
