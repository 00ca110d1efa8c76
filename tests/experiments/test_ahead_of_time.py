"""Counting what a compiled program does: programs whose counts follow from how they are written."""

import jax
import jax.numpy as jnp
import pytest

from abkd_jax.types import InputError
from experiments.bench.ahead_of_time import counts, hlo, targets

# A program of a TPU, shortened: a fusion with a nested gather of rows, a gather of numbers, a loop of five products.
TPU = """HloModule jit_f, is_scheduled=true

%gathered (param_0.1: f32[8,4], param_1.1: s32[6]) -> f32[6,4] {
  %param_0.1 = f32[8,4]{1,0:T(8,128)S(1)} parameter(0)
  %param_1.1 = s32[6]{0:T(1024)} parameter(1)
  %custom-call.1 = s32[6]{0:T(1024)} custom-call(%param_1.1), custom_call_target="AssumeGatherIndicesInBound"
  ROOT %gather.1 = f32[6,4]{1,0:T(8,128)} gather(%param_0.1, %custom-call.1), offset_dims={1}, slice_sizes={1,4}
}

%doubled (param_0.2: f32[8,4], param_1.2: s32[6]) -> f32[6,4] {
  %param_0.2 = f32[8,4]{1,0:T(8,128)S(1)} parameter(0)
  %param_1.2 = s32[6]{0:T(1024)} parameter(1)
  %fusion.1 = f32[6,4]{1,0:T(8,128)} fusion(%param_0.2, %param_1.2), kind=kCustom, calls=%gathered
  ROOT %add.1 = f32[6,4]{1,0:T(8,128)} add(%fusion.1, %fusion.1)
}

%product (param_0.3: f32[4,4]) -> f32[4,4] {
  %param_0.3 = f32[4,4]{1,0:T(8,128)} parameter(0)
  ROOT %convolution.1 = f32[4,4]{1,0:T(8,128)} convolution(%param_0.3, %param_0.3), dim_labels=bf_io->bf
}

%body (arg.1: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %arg.1 = (s32[]{:T(128)}, /*index=1*/f32[4,4]{1,0:T(8,128)}) parameter(0)
  %get-tuple-element.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=0
  %constant.1 = s32[]{:T(128)} constant(1)
  %add.2 = s32[]{:T(128)} add(%get-tuple-element.1, %constant.1)
  %get-tuple-element.2 = f32[4,4]{1,0:T(8,128)} get-tuple-element(%arg.1), index=1
  %fusion.2 = f32[4,4]{1,0:T(8,128)} fusion(%get-tuple-element.2), kind=kOutput, calls=%product
  ROOT %tuple.1 = (s32[]{:T(128)}, f32[4,4]{1,0:T(8,128)}) tuple(%add.2, %fusion.2)
}

%condition (arg.2: (s32[], f32[4,4])) -> pred[] {
  %arg.2 = (s32[]{:T(128)}, f32[4,4]{1,0:T(8,128)}) parameter(0)
  %constant.2 = s32[]{:T(128)} constant(6)
  %get-tuple-element.3 = s32[]{:T(128)} get-tuple-element(%arg.2), index=0
  ROOT %compare.1 = pred[]{:T(512)} compare(%get-tuple-element.3, %constant.2), direction=LT
}

ENTRY %main (x: f32[8,4], w: f32[10], i: s32[6], m: f32[4,4]) -> (f32[6,4], f32[6], f32[4,4]) {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0), sharding={replicated}
  %w = f32[10]{0:T(1024)} parameter(1)
  %i = s32[6]{0:T(1024)} parameter(2)
  %m = f32[4,4]{1,0:T(8,128)} parameter(3)
  %copy-start = (f32[8,4]{1,0:T(8,128)S(1)}, f32[8,4]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %copy-done = f32[8,4]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %fusion.3 = f32[6,4]{1,0:T(8,128)} fusion(%copy-done, %i), kind=kLoop, calls=%doubled
  %gather.2 = f32[6]{0:T(1024)} gather(%w, %i), offset_dims={}, collapsed_slice_dims={0}, slice_sizes={1}
  %constant.3 = s32[]{:T(128)} constant(1)
  %copy.1 = s32[]{:T(128)} copy(%constant.3)
  %tuple.2 = (s32[]{:T(128)}, f32[4,4]{1,0:T(8,128)}) tuple(%copy.1, %m)
  %while.1 = (s32[]{:T(128)}, f32[4,4]{1,0:T(8,128)}) while(%tuple.2), condition=%condition, body=%body
  %get-tuple-element.4 = f32[4,4]{1,0:T(8,128)} get-tuple-element(%while.1), index=1
  ROOT %tuple.3 = (f32[6,4]{1,0}, f32[6]{0}, f32[4,4]{1,0}) tuple(%fusion.3, %gather.2, %get-tuple-element.4)
}
"""


def compiled(function, *arguments):
    return counts.count(jax.jit(function).lower(*arguments).compile().as_text())


def test_a_program_of_a_tpu():
    found = counts.count(TPU)
    assert found.loops == (counts.Loop("while.1", 5, 1),)  # from 1 to 6
    assert (found.kernels, found.launches) == (2, 7)
    assert (found.row_gathers, found.rows_gathered) == (1, 6)
    assert (found.number_gathers, found.numbers_gathered) == (1, 6)
    assert found.flops == 5 * 2 * 4**3
    rows = 6 * 4 * 4 + 6 * 4 + 6 * 4 * 4  # read of x, not all of x; positions; written
    numbers = 6 * 4 + 6 * 4 + 6 * 4
    assert found.bytes == rows + numbers + 5 * 2 * 4 * 4 * 4
    assert (found.scatters, found.sorts, found.host_transfers, found.custom_calls) == (0, 0, 0, {})


def test_loops_of_loops_run_as_often_as_both():
    def f(x):
        inner = lambda y, _: (jnp.sin(y) @ y, None)  # noqa: E731
        return jax.lax.scan(lambda y, _: (jax.lax.scan(inner, y, None, length=3)[0], None), x, None, length=7)[0]

    assert compiled(f, jnp.ones((16, 16))).flops == 21 * 2 * 16**3


def test_a_loop_of_unknown_length_counts_once():
    def f(x):
        return jax.lax.while_loop(lambda y: jnp.sum(y) < 100.0, lambda y: y @ y + 1.0, x)

    found = compiled(f, jnp.ones((16, 16)))
    assert [loop.trips for loop in found.loops] == [None]
    assert found.flops == 2 * 16**3


def test_products_with_batch_axes():
    found = compiled(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6)))
    assert found.flops == 2 * 3 * 4 * 5 * 6


def test_gathers_of_rows_and_of_numbers():
    i = jnp.arange(5)
    found = compiled(lambda x, w: (x[i], w[i], x[i, i]), jnp.ones((8, 4)), jnp.ones(8))
    assert (found.row_gathers, found.rows_gathered) == (1, 5)
    assert (found.number_gathers, found.numbers_gathered) == (2, 10)


def test_a_callback_is_a_host_transfer():
    def f(x):
        jax.debug.callback(lambda y: None, x)
        return 2.0 * x

    assert compiled(f, jnp.ones(3)).host_transfers == 1
    assert compiled(lambda x: 2.0 * x, jnp.ones(3)).host_transfers == 0


def test_sorts():
    assert compiled(lambda x: jnp.sort(jnp.sort(x) * x), jnp.ones(33)).sorts == 2


def test_collectives_and_their_bytes():
    mesh = jax.make_mesh((2,), ("d",), devices=jax.devices()[:2], axis_types=(jax.sharding.AxisType.Auto,))
    P = jax.sharding.PartitionSpec

    def f(x):
        return jax.lax.psum(x, "d"), jax.lax.all_gather(x, "d")

    mapped = jax.shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=(P(), P("d")))
    found = compiled(mapped, jnp.ones((64, 8)))
    assert found.collectives == {
        "all-reduce": {"count": 1, "bytes": 32 * 8 * 4},
        "all-gather": {"count": 1, "bytes": 64 * 8 * 4},
    }


def test_transfers_to_host_memory_and_scatters():
    text = """HloModule m
ENTRY %main (x: f32[8,4], i: s32[3,1], u: f32[3,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %i = s32[3,1]{1,0} parameter(1)
  %u = f32[3,4]{1,0} parameter(2)
  %scatter.1 = f32[8,4]{1,0} scatter(%x, %i, %u), update_window_dims={1}, inserted_window_dims={0}
  %copy-start.1 = (f32[8,4]{1,0:S(5)}, f32[8,4]{1,0}, u32[]{:S(2)}) copy-start(%scatter.1)
  ROOT %copy-done.1 = f32[8,4]{1,0:S(5)} copy-done(%copy-start.1)
}
"""
    found = counts.count(text)
    assert (found.scatters, found.rows_scattered, found.host_transfers) == (1, 3, 1)


def test_slices_of_stacked_weights_are_read_once():
    def f(x, weights):
        return jax.lax.scan(lambda y, kernel: (jnp.tanh(y @ kernel), None), x, weights)[0]

    weights = jnp.ones((10, 32, 32))
    found = compiled(f, jnp.ones((4, 32)), weights)
    assert found.bytes < 10 * weights.nbytes  # not all weights at every turn


def test_names_of_hlo_are_unique():
    module = hlo.parse(TPU)
    assert len(module.ops) == sum(len(ops) for ops in module.computations.values())


@pytest.mark.parametrize("name", ["tpu", ""])
def test_unknown_targets_are_refused(name):
    with pytest.raises(InputError, match=r"^target is '.*', expected one of v4, v5e, v5p, v6e, h100$"):
        targets.require(name)


def test_a_missing_compiler_is_one_line(monkeypatch):
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^v5e: no compiler for tpu, expected pip install 'abkd_jax\[tpu\]'$"):
        targets.require("v5e")


def test_arithmetic_on_single_numbers_is_no_kernel():
    text = """HloModule m
ENTRY %main (k: u32[1], x: f32[8]) -> (u32[1], f32[8]) {
  %k = u32[1]{0:T(128)S(6)} parameter(0)
  %x = f32[8]{0} parameter(1)
  %xor.1 = u32[1]{0:T(128)S(6)} xor(%k, %k)
  %slice-start.1 = ((f32[8]{0}), f32[4]{0:S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:4]}
  %slice-done.1 = f32[4]{0:S(1)} slice-done(%slice-start.1)
  %custom-call.1 = f32[8]{0} custom-call(%slice-done.1), custom_call_target="ConcatBitcast"
  %negate.1 = f32[8]{0} negate(%custom-call.1)
  ROOT %tuple.1 = (u32[1]{0:T(128)S(6)}, f32[8]{0}) tuple(%xor.1, %negate.1)
}
"""
    found = counts.count(text)
    assert (found.kernels, found.launches, found.custom_calls) == (1, 1, {})
