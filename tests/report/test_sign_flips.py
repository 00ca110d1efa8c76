import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from abkd_jax.run.report.sign_flips import sign_flip_p, signed_rank_p, with_ties

TENTHS = st.integers(-5, 5).map(lambda number: number / 10)  # often equal, often zero


@given(st.lists(TENTHS, min_size=3, max_size=8).filter(any))
def test_the_signed_rank_test_is_that_of_scipy(differences):
    """With ties and zeros too, where SciPy tries all signs one by one."""
    by_scipy = stats.wilcoxon(differences, method=stats.PermutationMethod())
    assert signed_rank_p(differences) == pytest.approx(by_scipy.pvalue)


def test_the_signed_rank_test_by_hand():
    """Ranks 1, 2.5, 2.5 and 4: of the 16 signs those of the sums 10, 8 and their negatives are as far out as 8."""
    assert signed_rank_p([-0.1, 0.2, 0.2, 0.0, 0.4]) == 4 / 16


@pytest.mark.parametrize("unit", [1e6 / 7, 1e-13])
def test_equal_sums_are_ties_in_any_unit(unit):
    """Of the 16 signs of 2, 1, 2 and 2 those of the sums 7, 5 and their negatives are as far out as 2 - 1 + 2 + 2."""
    assert sign_flip_p([[2 * unit, -unit, 2 * unit, 2 * unit]]) == 4 / 16


def test_equal_differences_are_two_errors_apart_at_most_and_zero_is_one_off():
    gain, loss, other, zero = with_ties([1.09, -0.91, 0.5, -0.09], error=0.1)
    assert (gain, loss, other, zero) == pytest.approx((1.0, -1.0, 0.5, 0.0))
    assert gain == -loss
    assert with_ties([0.11], error=0.1) == [0.11]
