"""Weights of fewer bits: what they lose is bounded, and they are stored in fewer bytes."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from export_samples import bundle_of, exported, graphs_of, student_logits
from hypothesis import given

from abkd_jax import InputError
from abkd_jax.inference.export import stablehlo
from abkd_jax.inference.export.arguments import arrays_of
from abkd_jax.inference.export.quantise import PRECISIONS, Precision, Quantised, restored, stored

MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=3), elements=st.floats(-100, 100, width=32, allow_subnormal=False)
)


@given(MATRICES)
def test_int8_is_off_by_half_a_step_of_its_channel(kernel: np.ndarray):
    found = stored({"params": {"kernel": kernel}}, "int8")["params"]["kernel"]
    step = np.abs(kernel).max(axis=-2, keepdims=True) / np.float32(127)
    assert (np.abs(found.values * found.scales - kernel) <= 0.501 * step + 1e-30).all()


def test_int8_stores_matrices_and_leaves_vectors_and_statistics():
    variables = bundle_of("gcn").variables
    found = stored(variables, "int8")
    assert isinstance(found["params"]["conv_0"]["kernel"], Quantised)
    np.testing.assert_array_equal(found["params"]["conv_0"]["bias"], variables["params"]["conv_0"]["bias"])
    jax.tree.map(np.testing.assert_array_equal, found["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_numbers_of_a_model_stay_as_they_are(precision: Precision):
    table = np.array([[70_001, 3], [5, 0]], np.int32)
    found = restored(stored({"params": {"table": table}}, precision))["params"]["table"]
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, table)


def test_float32_is_restored_to_the_bit_and_bfloat16_to_8():
    variables = bundle_of("gcn").variables
    jax.tree.map(np.testing.assert_array_equal, restored(stored(variables, "float32")), variables)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2.0**-8), restored(stored(variables, "bfloat16")), variables
    )


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_program_of_fewer_bits_predicts_almost_the_same(precision: str):
    bundle, data = bundle_of("graphsage"), graphs_of("graphsage")[0]
    content = exported(bundle, precision=precision)
    found = stablehlo.deserialised(content)(*arrays_of(data, bundle.inputs).values())["logits"]
    wanted = student_logits("graphsage", data)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 1e-5 < error < 0.03
    text = jax.export.deserialize(bytearray(content)).mlir_module()
    assert {"bfloat16": "tensor<5x4xbf16>", "int8": "tensor<5x4xi8>"}[
        precision
    ] in text  # the kernel of the first layer


def test_an_unknown_precision_is_refused(unchecked: None):
    with pytest.raises(InputError, match="precision is 'int4', expected one of float32, bfloat16, int8"):
        stored({"params": {}}, "int4")  # type: ignore[arg-type]
