"""The kernels in C++: the numbers of XLA's own, and what happens where they cannot be built."""

import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.sparse import BCSR

from abkd_jax.aggregate import native
from abkd_jax.aggregate.native import library

needs_compiler = pytest.mark.skipif(not library.load(), reason="no C++ compiler here, or ABKD_JAX_NATIVE is 0")
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(0, 40))  # rows, columns, entries
WIDTHS = [1, 3, 4, 7, 8, 12, 16, 40, 144]


def entries(seed, rows, columns, count):
    """Row pointers, rows, columns of a random matrix: repeated entries and empty rows, columns in any order."""
    rng = np.random.default_rng(seed)
    row, col = np.sort(rng.integers(0, rows, count)), rng.integers(0, columns, count)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))])
    return [jnp.asarray(a, jnp.int32) for a in (pointers, row, col)]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@needs_compiler
@settings(max_examples=12, deadline=None, derandomize=True)
@given(size=SIZES, heads=st.integers(1, 3), width=st.sampled_from(WIDTHS), seed=st.integers(0, 99))
def test_sums_are_those_of_xla_to_the_bit(size, heads, width, seed):
    """Of every width of register, and of several heads."""
    rows, columns, count = size
    pointers, _, cols = entries(seed, *size)
    values, x = normal(seed + 1, count, heads), normal(seed + 2, columns, heads, width)
    found = native.row_sums(pointers, cols, values, x)
    for head in range(heads) if count else ():
        expected = BCSR((values[:, head], cols, pointers), shape=(rows, columns)) @ x[:, head]
        np.testing.assert_array_equal(found[:, head], expected)
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    moved = jnp.zeros_like(values).at[order].set(values)
    np.testing.assert_array_equal(native.row_sums(pointers, cols, moved, x, jnp.asarray(order)), found)


@needs_compiler
def test_sums_on_several_threads_are_those_of_xla_to_the_bit():
    """More work than one thread does alone, with one row that is longer than all others together."""
    rng = np.random.default_rng(0)
    matrix = sp.random_array((3000, 500), density=0.02, rng=rng, format="lil", dtype=np.float32)
    matrix[7] = 1.0
    matrix = matrix.tocsr()
    pattern = jnp.asarray(matrix.indptr), jnp.asarray(matrix.indices)
    values, x = jnp.asarray(matrix.data), normal(1, 500, 96)
    expected = BCSR((values, pattern[1], pattern[0]), shape=(3000, 500)) @ x
    for _ in range(3):
        np.testing.assert_array_equal(native.row_sums(*pattern, values[:, None], x[:, None])[:, 0], expected)


@needs_compiler
@settings(max_examples=8, deadline=None, derandomize=True)
@given(size=SIZES, heads=st.integers(1, 3), width=st.sampled_from([1, 3, 4, 8, 24, 32]), seed=st.integers(0, 99))
def test_dots_and_maxima_are_those_of_numpy(size, heads, width, seed):
    rows, columns, count = size
    pointers, row, cols = entries(seed, *size)
    a, b = normal(seed + 1, rows, heads, width), normal(seed + 2, columns, heads, width)
    expected = np.einsum("ehf,ehf->eh", *(np.asarray(v, np.float64)[i] for v, i in ((a, row), (b, cols))))
    np.testing.assert_allclose(native.edge_dots(row, cols, a, b), expected, rtol=1e-5, atol=1e-5)
    values = np.array(normal(seed + 3, count, heads))
    values[:1], largest = np.nan, np.full((rows, heads), -np.inf, np.float32)
    np.maximum.at(largest, np.asarray(row), values)
    np.testing.assert_array_equal(native.row_maxima(pointers, jnp.asarray(values)), largest)


@needs_compiler
def test_vmap_and_several_devices():
    pointers, _, cols = entries(0, 40, 30, 200)
    values, x = normal(1, 4, 200, 1), normal(2, 4, 30, 1, 8)
    one = lambda values, x: (native.row_sums(pointers, cols, values, x), native.row_maxima(pointers, values))  # noqa: E731
    expected = [one(v, y) for v, y in zip(values, x, strict=True)]
    mesh = jax.make_mesh((4,), ("seeds",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("seeds")
    spread = jax.shard_map(jax.vmap(one), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    for found in (jax.vmap(one)(values, x), jax.jit(spread)(values, x)):
        for seed in range(4):
            np.testing.assert_array_equal(found[0][seed], expected[seed][0])
            np.testing.assert_array_equal(found[1][seed], expected[seed][1])


def test_other_types_are_left_to_xla():
    assert not native.reads(jnp.ones(2, jnp.bfloat16))
    assert not native.reads(jnp.ones(2, jnp.float32), jnp.ones(2, jnp.int32))


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An empty cache; no kernel that is built in it is registered a second time."""
    monkeypatch.setattr(library, "cache_root", lambda: tmp_path)
    return tmp_path / "native"


def test_without_a_compiler_one_line_says_so(elsewhere, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert library.load.__wrapped__() is False
    assert "no C++ compiler, expected c++, g++, clang++ or the one that $CXX names" in caplog.text


def test_a_compiler_that_fails_leaves_nothing(elsewhere, monkeypatch, caplog, tmp_path):
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\n[ $# = 1 ] || { echo 'no such header' >&2; exit 1; }\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with caplog.at_level(logging.INFO):
        assert library.load.__wrapped__() is False
    assert f"{script} ended with status 1: no such header" in caplog.text
    assert not list(elsewhere.iterdir())


def test_switched_off(monkeypatch):
    monkeypatch.setenv(library.SWITCH, "0")
    assert library.load.__wrapped__() is False


@needs_compiler
def test_a_damaged_file_is_built_again(elsewhere, monkeypatch, tmp_path):
    source = tmp_path / "small.cc"
    source.write_text("int small;\n")
    monkeypatch.setattr(library, "SOURCE", source)
    path = library._built()
    whole, built = path.read_bytes(), path.stat().st_mtime_ns
    assert library._built() == path
    assert path.stat().st_mtime_ns == built
    with monkeypatch.context() as patched:
        patched.setattr(library, "exclusive", None)  # of what is there no program waits for another
        assert library._built() == path
    path.write_bytes(whole[:-100])
    assert library._built().read_bytes() != whole[:-100]
    assert library._is_whole(path)
