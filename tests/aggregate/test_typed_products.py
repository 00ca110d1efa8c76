"""Products with weights per node type: both forms give NumPy's values and slopes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from abkd_jax.aggregate import typed_product, typed_products
from abkd_jax.graph.type_blocks import TypeBlocks, TypedRelations, type_layout

CAPACITIES, SIZE = (7, 3, 9), 20
COUNTS = st.tuples(*(st.integers(0, capacity) for capacity in CAPACITIES))
NONE = np.zeros(0, np.int32)


@functools.cache
def program(form, rows):
    """Returns value and slopes of a form, compiled with so many rows to a tile."""

    def in_tiles(layout, inputs, slope):
        return typed_products._in_tiles(layout, inputs), *typed_products._slopes_in_tiles(layout, inputs, slope)

    def chosen(layout, inputs, slope):
        value, pull = jax.vjp(lambda inputs: typed_product(layout, *inputs), inputs)
        return value, *pull(slope)[0]

    return jax.jit({"chosen": chosen, "tiles": in_tiles}[form])


@pytest.mark.parametrize(("form", "rows"), [("chosen", 4), ("tiles", 4), ("tiles", 5), ("tiles", 4096)])
@given(counts=COUNTS)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_values_and_slopes_are_those_of_numpy(form, rows, counts):
    types = np.repeat(np.arange(3), counts)
    relations = TypedRelations(((), (), ()), ((), (), ()))
    layout = type_layout(NONE, NONE, NONE, types, SIZE, TypeBlocks(CAPACITIES, relations))
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((SIZE, 5), (3, 5, 2), (3, 2)))
    slope = rng.normal(size=(SIZE, 2)).astype(np.float32)
    real = len(types)
    x[real:] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typed_products, "ROWS", rows)
        inputs = typed_products._Inputs(*map(jnp.asarray, (x, kernel, bias)))
        found = program(form, rows)(layout, inputs, jnp.asarray(slope))
    value, to_x = np.zeros((SIZE, 2)), np.zeros((SIZE, 5))
    value[:real] = np.einsum("vf,vfd->vd", x[:real], kernel[types]) + bias[types]
    to_x[:real] = np.einsum("vd,vfd->vf", slope[:real], kernel[types])
    of_type = [types == t for t in range(3)]
    to_kernel = [x[:real][own].T @ slope[:real][own] for own in of_type]
    to_bias = [slope[:real][own].sum(axis=0) for own in of_type]
    for own, expected in zip(found, (value, to_x, to_kernel, to_bias), strict=True):
        assert_allclose(own, expected, rtol=1e-5, atol=1e-5)
