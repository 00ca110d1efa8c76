"""Static cycles of kernels: bundles that are written by hand, with loops of known length."""

import pytest

from experiments.bench.ahead_of_time import bundles, hlo

FLAT = "   0x{:x}   :  {{ %v{} = vld [vmem:[#allocation0] sm:$0xff] }}"


def kernel(body, bound, *, start="smov.u32 0", step=1, before=()):
    """Lines of a kernel: `before`, a loop of `body` bundles and its end, the four of the branch's delay, one more."""
    lines = [f"%s1_s0 = {start}", *before]
    lines += ["%s5_s1 = sphi %s1_s0, %s6_s2 /* phi copy */ } /* Start region 7 :: Start region 8 */"]
    lines += [f"%s6_s2 = sadd.s32 {step}, %s5_s1 /* copy for cssa */"] + ["%v1 = vadd.f32 %v1, %v1"] * (body - 3)
    lines += [f"%p9_p0 = scmp.ge.s32.totalorder %s6_s2, {bound}", "%20 = sbr.rel (!%p9_p0) target = $region7"]
    texts = [f" 0x{i:x}   : > {{ {line} }}" for i, line in enumerate(lines)] + ["  0xff   :  {}"] * 5
    return ["= control target key start", "LB: loop body", "= control target key end", "", *texts]


@pytest.mark.parametrize(("bound", "step", "turns"), [(10, 1, 10), (10, 2, 5), (1, 1, 1)])
def test_loops_count_as_often_as_they_run(bound, step, turns):
    assert bundles.kernel_cycles(kernel(20, bound, step=step)) == (1 + turns * (20 + 1 + 4) + 1, 0)


def test_straight_code_counts_once():
    assert bundles.kernel_cycles([FLAT.format(i, i) for i in range(7)]) == (7, 0)


def test_a_bound_that_is_clamped_is_the_clamp():
    before = ["%s3_s4 = sld [smem:[#allocation2]]", "%s4_s4 = smov.u32 (!%p1_p1, %s3_s4), 6"]
    assert bundles.kernel_cycles(kernel(20, "%s4_s4", before=before)) == (3 + 6 * 25 + 1, 0)


def test_a_bound_is_followed_through_a_spill_and_the_turns_of_a_pipeline_are_left_out():
    before = ["%s4_s4 = smov.u32 6", "%30 = sst [smem:[#allocation3_spill]] %s4_s4"]
    before += ["%s2_s3 = sld [smem:[#allocation3_spill]]", "%s7_s3 = sadd.s32 2, %s2_s3"]
    assert bundles.kernel_cycles(kernel(20, "%s7_s3", before=before)) == (5 + 6 * 25 + 1, 0)


def test_a_loop_of_unknown_length_counts_once_and_is_told():
    before = ["%s4_s4 = sld [smem:[#allocation2]]"]
    assert bundles.kernel_cycles(kernel(20, "%s4_s4", before=before)) == (2 + 25 + 1, 1)


def test_equal_kernels_are_written_once_and_the_larger_of_two_figures_counts(tmp_path):
    text = """HloModule m
ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %copy.1 = f32[8,4]{0,1} copy(%x)
  %copy.2 = f32[8,4]{1,0} copy(%copy.1), backend_config={"window_config":{"estimated_cycles":"100"}}
  ROOT %negate.1 = f32[8,4]{1,0} negate(%copy.2)
}
"""
    (tmp_path / "17-copy.1-01-final_bundles.txt").write_text("\n".join(FLAT.format(i, i) for i in range(7)))
    names = "key:copy.1\nordinal:1\nequivalent_hlos[size=2]:\n  copy.1\n  copy.2\n"
    (tmp_path / "17-TLP-00-deduplication-map.txt").write_text(names)
    found = bundles.program_cycles(hlo.parse(text), tmp_path)
    assert found == bundles.Cycles(107, 0, 1, {"copy.2": 100, "copy.1": 7})
