import itertools

import numpy as np
import pytest
from scipy import stats

from abkd_jax.run.report.sign_flips import least_p, sign_flip_p
from abkd_jax.run.report.statistics import stored_error, stored_score
from abkd_jax.study.report.ranks import Ranks, average_ranks, cliques
from abkd_jax.study.report.statistics import bootstrap_interval, difference, holm, pooled
from abkd_jax.types import METRICS

D = [0.012, -0.004, 0.02, 0.008, 0.015, 0.001]


def test_holm_by_hand():
    """Four tests: .01 * 4, .02 * 3, max(.06, .03 * 2), .5 * 1."""
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([None]) == [None]


def test_tests_of_one_data_set():
    found = difference(D)
    signs = np.array(list(itertools.product([-1, 1], repeat=len(D))))
    by_hand = np.mean(np.abs(signs @ np.array(D)) >= abs(sum(D)) - 1e-12)
    assert found.permutation_p == pytest.approx(by_hand)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(D).pvalue)
    assert found.t_p == pytest.approx(stats.ttest_1samp(D, 0.0).pvalue)
    assert found.effect == pytest.approx(np.mean(D) / np.std(D, ddof=1))
    low, high = found.interval
    assert min(D) < low < found.estimate.mean < high < max(D)


def test_nothing_is_tested_below_three_pairs_and_constant_differences_have_no_width():
    for few in ([0.1], [0.1, 0.2]):
        assert difference(few)[2:] == (None,) * 5
    equal = difference([0.02, 0.02, 0.02, 0.02])
    assert equal.interval == pytest.approx((0.02, 0.02))
    assert equal.permutation_p == least_p(4) == 0.125
    assert (equal.effect, equal.t_p) == (None, None)
    assert difference([0.0] * 4).permutation_p == 1.0
    assert bootstrap_interval([[1.0, 2.0]]) is None


def test_pooled_weighs_data_sets_alike():
    small, large = [0.03, 0.03, 0.04], [-0.01] * 9
    found = pooled([small, large])
    assert found.estimate.mean == pytest.approx((np.mean(small) - 0.01) / 2)
    assert found.pairs == 12
    assert found.interval[0] < found.estimate.mean < found.interval[1]
    weighted = np.concatenate([np.array(small) / 3, np.array(large) / 9])
    signs = np.array(list(itertools.product([-1, 1], repeat=12)))
    assert found.permutation_p == pytest.approx(np.mean(np.abs(signs @ weighted) >= abs(weighted.sum()) - 1e-12))


@pytest.mark.parametrize("sizes", [(25,), (15, 20)])
def test_intervals_are_bca_and_the_same_whenever_they_are_asked_for(sizes):
    """SciPy, whose resamples are those of its release, agrees up to the noise of the resamples."""
    rng = np.random.default_rng(1)
    groups = [rng.exponential(size=size) for size in sizes]  # skewed: percentiles without the correction are elsewhere

    def mean_of_means(*samples, axis=-1):
        return sum(np.mean(sample, axis=axis) for sample in samples) / len(samples)

    options = {"n_resamples": 9999, "rng": np.random.default_rng(2)}
    expected, plain = (stats.bootstrap(groups, mean_of_means, method=m, **options) for m in ("BCa", "percentile"))
    found, width = np.array(bootstrap_interval(groups)), np.ptp(expected.confidence_interval)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.04 * width)
    assert found.sum() - sum(plain.confidence_interval) > 0.1 * width
    assert tuple(found) == bootstrap_interval(groups)


def test_gains_of_equal_nodes_are_ties_whatever_the_digits_of_their_scores():
    """Scores of 1,811 nodes with six decimals: their tests are those of whole nodes."""
    before, gains = np.array([1512, 1498, 1503, 1511, 1490, 1507, 1520]), np.array([7, 3, -4, 4, 7, 3, -3])
    scores = [np.array([stored_score(n / 1811, "accuracy") for n in nodes]) for nodes in (before + gains, before)]
    stored = (scores[0] - scores[1]).tolist()
    signs = np.array(list(itertools.product([-1, 1], repeat=len(gains))))
    ranks = np.sign(gains) * stats.rankdata(np.abs(gains))
    by_nodes, by_ranks = (np.mean(np.abs(signs @ of) >= abs(of.sum())) for of in (gains, ranks))
    found = difference(stored, stored_error(METRICS["accuracy"]))
    assert (found.permutation_p, found.wilcoxon_p) == (by_nodes, by_ranks)
    weighted = np.concatenate([gains / 7, gains[:4] / 4])
    signs = np.array(list(itertools.product([-1, 1], repeat=11)))
    by_nodes = np.mean(np.abs(signs @ weighted) >= abs(weighted.sum()) - 1e-9)
    assert pooled([stored, stored[:4]], stored_error(METRICS["accuracy"])).permutation_p == by_nodes


def test_many_pairs_are_sampled_and_never_have_p_zero():
    assert 0.0 < sign_flip_p([[1.0 + i / 100 for i in range(30)]]) <= 2e-4


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_of_demsar(methods, quantile):
    """Table 5 of Demsar (2006)."""
    scores = {f"m{i}": (np.linspace(0.0, 1.0, 12) + i).tolist() for i in range(methods)}
    expected = quantile * np.sqrt(methods * (methods + 1) / (6 * 12))
    assert average_ranks(scores).critical == pytest.approx(expected, rel=5e-4)


def test_ranks_and_friedman():
    scores = {"a": [0.9, 0.8, 0.7, 0.9], "b": [0.8, 0.9, 0.6, 0.8], "c": [0.1, 0.2, 0.3, 0.8]}
    found = average_ranks(scores)
    assert found.ranks == {"a": 1.25, "b": (2 + 1 + 2 + 2.5) / 4, "c": (3 + 3 + 3 + 2.5) / 4}
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*scores.values()).pvalue)
    assert average_ranks({"a": [1.0], "b": [0.5]})[1:] == (1, None, None)
    assert average_ranks({"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}).friedman_p is None
    assert average_ranks({}).ranks == {}


def test_cliques_are_the_largest_ones():
    ranks = {"a": 1.0, "b": 1.4, "c": 1.9, "d": 2.2, "e": 5.0}
    assert cliques(Ranks(ranks, 9, 0.1, 1.0)) == [("a", "b", "c"), ("b", "c", "d")]
    assert cliques(Ranks(ranks, 9, 0.1, 9.0)) == [tuple(ranks)]
    assert cliques(Ranks(ranks, 9, 0.1, 0.1)) == []


@pytest.mark.parametrize("exponent", [5, -6, -12])
def test_errors_have_the_same_tests_in_any_unit(exponent):
    """Of the 128 signs six are as far out as the gains of these errors: all, all but either 1, and their negatives."""
    before, gains = [6.669, 3.4011, 1.3647, 1.1471, 8.2381, 9.1235, 6.3991], [5, 3, 2, 1, 2, 5, -1]

    def tested(unit):
        errors = [[b * unit, (b - gain / 100) * unit] for b, gain in zip(before, gains, strict=True)]
        stored = np.array([[stored_score(e, "-RMSE") for e in pair] for pair in errors])
        return difference((stored[:, 0] - stored[:, 1]).tolist(), stored_error(METRICS["-RMSE"], stored.max()))

    one, other = tested(1.0), tested(10.0**exponent)
    assert (other.permutation_p, other.wilcoxon_p) == (6 / 128, one.wilcoxon_p)
    assert other.t_p == pytest.approx(one.t_p)
    assert other.interval == pytest.approx(np.array(one.interval) * 10.0**exponent, rel=1e-6)
