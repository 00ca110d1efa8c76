import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from abkd_jax.graph.precision import accumulation_dtype, floats, masked_mean, widened
from abkd_jax.types import InputError


def test_sums_run_in_float32_or_wider():
    narrow = (jnp.float16, jnp.bfloat16, jnp.int32, jnp.bool_)
    assert {accumulation_dtype(dtype) for dtype in narrow} == {jnp.dtype(jnp.float32)}
    assert accumulation_dtype(jnp.float16, np.float64, np.int64) == np.float64
    assert widened(jnp.ones(2, jnp.float16)).dtype == jnp.float32
    assert widened(np.ones(2, np.int32)).dtype == jnp.int32


def test_numbers_become_floats():
    for values in (np.array([True, False]), [1, 0], jnp.array([1, 0])):
        assert floats(values).dtype == jnp.float32
        assert floats(values).tolist() == [1.0, 0.0]
    assert floats(jnp.ones(2, jnp.float16)).dtype == jnp.float16


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_mean_of_16_bits_need_not_fit_while_it_adds_up(dtype):
    mean = masked_mean(jnp.full(5000, 100.0, dtype), jnp.ones(5000, bool))
    assert (mean.dtype, float(mean)) == (dtype, 100.0)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"values \(3,\) and mask \(1,\) differ"):
        inspect.unwrap(masked_mean)(jnp.ones(3), jnp.ones(1, bool))
