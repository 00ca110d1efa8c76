"""Statistics over records and logs against their definitions; how a score is formatted."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from report_samples import all_records, cells, diverged, log, record, regression_records

from abkd_jax.run.report import markdown, statistics
from abkd_jax.training import tasks
from abkd_jax.types import METRICS, InputError


def test_summarise_by_hand():
    summaries = statistics.summarise(all_records())
    assert [s.method for s in summaries] == ["teacher", "supervised", "soft_label", "abkd"]
    supervised = summaries[1]
    assert supervised.seeds == 4
    assert supervised.test.mean == pytest.approx(0.7385)
    assert supervised.test.std == pytest.approx(math.sqrt((1.5**2 + 16.5**2 + 17.5**2 + 0.5**2) / 3) / 1000)
    assert supervised.val.mean == pytest.approx(0.7285)
    assert supervised.test_best_val.mean == pytest.approx(0.7365)
    assert (supervised.parameters, supervised.compression, supervised.latency_ms) == (5_900, 60.0, 0.394)
    assert supervised.seconds == 11.5


def test_summarise_a_single_seed_and_missing_facts():
    (summary,) = statistics.summarise([{"method": "abkd", "seed": 3, "test_accuracy": 0.8, "latency_ms": None}])
    assert summary == statistics.Summary("abkd", 1, statistics.Estimate(0.8, None), *[None] * 6)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"method": "abkd", "seed": 0}], "record 0: expected method, seed and test_accuracy, lacks test_accuracy"),
        ([record("abkd", 0, 0.8), record("abkd", 0, 0.7)], "expected one of abkd, seed 0, got two or more"),
        ([record("abkd", 0, 0.8) | {"seed": "0"}], "record 0: seed is '0', expected a whole number"),
        ([record("abkd", 0, 0.8, test_accuracy="0.8")], "record 0: test_accuracy is '0.8', expected a number or null"),
        ([record("abkd", 0, 0.8, seconds=[1])], r"record 0: seconds is \[1\], expected a number or null"),
        ([record("abkd", 0, 0.8, diverged=True)], "record 0: diverged is True, expected a number or null"),
    ],
)
def test_summarise_rejects(records, message):
    with pytest.raises(InputError, match=message):
        statistics.summarise(records)


def test_comparisons_against_the_definitions():
    rows = {row.method: row for row in statistics.comparisons(all_records(), "soft_label")}
    assert list(rows) == ["teacher", "supervised", "abkd"]
    d = np.array([9.0, -1.0, 7.0, 7.0]) / 1000  # abkd - soft_label
    mean, std = d.sum() / 4, math.sqrt(((d - d.sum() / 4) ** 2).sum() / 3)
    row = rows["abkd"]
    assert (row.baseline, row.pairs) == ("soft_label", 4)
    assert row.difference == pytest.approx((mean, std))
    assert row.t_p == pytest.approx(2 * scipy.stats.t.sf(mean / (std / 2), df=3))
    assert rows["supervised"].difference.mean == pytest.approx(-0.1055)
    # All four differences are negative: of the 16 equally likely signs only two are as extreme.
    assert rows["supervised"].wilcoxon_p == pytest.approx(2 / 16)


def test_wilcoxon_counts_sign_patterns_with_ties():
    differences, ranks = (0.004, -0.002, 0.006, 0.006, 0.003), (3, 1, 4.5, 4.5, 2)
    records = [record("supervised", seed, 0.7) for seed in range(5)]
    records += [record("abkd", seed, 0.7 + d) for seed, d in enumerate(differences)]
    (row,) = statistics.comparisons(records, "supervised")
    sums = [
        sum(r for r, keep in zip(ranks, signs, strict=True) if keep) for signs in itertools.product((0, 1), repeat=5)
    ]
    assert row.wilcoxon_p == pytest.approx(2 * sum(s <= 1 for s in sums) / 32)


def test_comparisons_use_common_seeds_only():
    records = [record("supervised", s, 0.7) for s in (0, 1, 2)]
    records += [record("abkd", s, 0.8 + s / 100) for s in (2, 1, 7)] + [record("soft_label", 9, 0.9)]
    (row,) = statistics.comparisons(records, "supervised")
    assert (row.method, row.pairs) == ("abkd", 2)
    assert row.difference.mean == pytest.approx(0.115)
    assert (row.t_p, row.wilcoxon_p) == (None, None)  # two pairs


@pytest.mark.parametrize(("shift", "wilcoxon"), [(0.0, None), (0.02, 0.25)])
def test_comparisons_of_equal_differences(shift, wilcoxon):
    base = (0.853, 0.551, 0.741)  # 0.873 - 0.853 and 0.571 - 0.551 differ in the last bits
    records = [record("supervised", s, a) for s, a in enumerate(base)]
    records += [record("abkd", s, round(a + shift, 3)) for s, a in enumerate(base)]
    (row,) = statistics.comparisons(records, "supervised")
    assert row.t_p is None
    assert row.wilcoxon_p == wilcoxon


def test_comparisons_without_the_baseline():
    with pytest.raises(InputError, match="expected the baseline 'fitnet' in the records, got teacher, supervised"):
        statistics.comparisons(all_records(), "fitnet")


def test_every_task_has_a_metric():
    made = [tasks.classification(), tasks.multilabel(), tasks.multitask_binary(), tasks.regression()]
    assert {task.metric for task in made} == set(METRICS)


def test_rmse_is_shown_as_an_error_in_the_units_of_the_targets():
    text = markdown.table(statistics.summarise(regression_records()), "github")
    assert "%" not in text
    assert "test RMSE |" in text
    assert cells(text, "abkd")[1] == "2.55 +- 0.49"  # mean of 2.2 and 2.9; sqrt(2 * 0.35^2)
    assert markdown.table(statistics.summarise(regression_records()), "github", "-RMSE") == text


@pytest.mark.parametrize(
    ("score", "name", "shown"),
    [
        (0.7345, "ROC-AUC", "73.45"),
        (0.5, "micro-F1", "50.00"),
        (-0.00123456, "-RMSE", "0.001235"),
        (-2913.04, "-RMSE", "2913"),
        (0.0, "-RMSE", "0"),
        (None, "accuracy", "-"),
        (math.nan, "accuracy", "-"),
    ],
)
def test_scores_are_formatted_in_the_unit_of_their_metric(score, name, shown):
    assert markdown.format_score(score, METRICS[name]) == shown


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record("a", 0, 0.5), record("b", 0, -2.0, metric="-RMSE")], "expected one metric .* got accuracy, -RMSE"),
        ([record("a", 0, 0.5, metric="MAE")], "metric is 'MAE', expected one of accuracy, micro-F1, ROC-AUC, -RMSE"),
        ([], "expected one metric in all of them, got none"),
    ],
)
def test_metric_of_rejects(records, message):
    with pytest.raises(InputError, match=message):
        statistics.metric_of(records)
    if records:
        with pytest.raises(InputError, match=message):
            statistics.summarise(records)


def test_table_rejects_an_unknown_metric_and_a_mixture():
    with pytest.raises(InputError, match="metric is 'MAE', expected one of"):
        markdown.table([], metric="MAE")
    summaries = statistics.summarise(all_records()) + statistics.summarise(regression_records())
    with pytest.raises(InputError, match="expected summaries of one metric, got accuracy, RMSE"):
        markdown.table(summaries)


def test_diverged_seeds_are_left_out_of_the_means_and_named():
    finite = [record("abkd", 0, 0.8), record("abkd", 1, 0.9)]
    records = [*finite, diverged("abkd", 2, 40), diverged("soft_label", 0, 1), diverged("soft_label", 1, 7)]
    summaries = statistics.summarise(records)
    alone = statistics.summarise(finite)[0]
    assert summaries[0]._replace(seeds=2, diverged=()) == alone
    text = markdown.table(summaries, "github")
    assert cells(text, "abkd")[1:3] == ["85.00 +- 7.07", "84.80 +- 7.07"]
    assert cells(text, "abkd")[-1] == "3 (1 diverged)"
    row = cells(text, "soft_label")
    assert (row[1:4], row[-2:]) == (["-", "-", "-"], ["-", "2 (2 diverged)"])
    assert markdown.remarks(summaries) == [
        "abkd, seed 2: diverged at epoch 40, left out of all means",
        "soft_label, seed 0: diverged at epoch 1, left out of all means",
        "soft_label, seed 1: diverged at epoch 7, left out of all means",
    ]


def test_a_diverged_seed_counts_as_such_whatever_its_scores_are():
    (summary,) = statistics.summarise([record("abkd", 0, 0.8), record("abkd", 1, 0.1, diverged=3)])
    assert summary.test == statistics.Estimate(0.8, None)


@pytest.mark.parametrize("missing", [None, math.nan, -math.inf])
def test_scores_that_are_not_defined_are_counted_apart(missing):
    records = [record("abkd", 0, 0.8), record("abkd", 1, 0.7, test_accuracy=missing)]
    (summary,) = summaries = statistics.summarise(records)
    assert summary.test == statistics.Estimate(0.8, None)
    assert summary.val.mean == pytest.approx(0.74)
    assert cells(markdown.table(summaries, "github"), "abkd")[-1] == "2 (1 undefined)"
    assert markdown.remarks(summaries) == ["abkd, seed 1: the test accuracy is not defined, left out of its mean"]


def test_comparisons_pair_over_seeds_that_both_finished():
    records = [record("supervised", s, 0.7) for s in (0, 1)] + [diverged("supervised", 2, 5)]
    records += [record("abkd", 0, 0.75), diverged("abkd", 1, 5), record("abkd", 2, 0.9), diverged("fitnet", 0, 5)]
    (row,) = statistics.comparisons(records, "supervised")
    assert (row.method, row.pairs) == ("abkd", 1)
    assert row.difference.mean == pytest.approx(0.05)


def test_a_student_larger_than_its_teacher_is_said_to_be_one():
    records = [record("teacher", 0, 0.8, compression=1.0), record("abkd", 0, 0.8, compression=0.6)]
    records += [record("fitnet", 0, 0.8, compression=0.996), record("lsp", 0, 0.8, compression=2.0)]
    summaries = statistics.summarise(records)
    assert markdown.remarks(summaries) == [
        "abkd: 0.6x: larger than its teacher",
        "fitnet: 0.996x: larger than its teacher",
    ]
    assert cells(markdown.table(summaries, "github"), "fitnet")[5] == "0.996x"


def test_table_formats():
    text = markdown.table(statistics.summarise(all_records()), "github")
    header, _, teacher, supervised, *_ = text.splitlines()
    cells = [cell.strip() for cell in supervised.strip("|").split("|")]
    expected = ["supervised", "73.85 +- 1.39", "73.65 +- 1.39", "72.85 +- 1.39", "5,900", "60.0x", "0.394", "11.5", "4"]
    assert cells == expected
    assert "354,000" in teacher
    assert header.count("|") == len(expected) + 1
    assert "|" not in markdown.table(statistics.summarise(all_records()))
    assert "method" in markdown.table([])


def test_collapse_takes_first_and_last_epoch_of_each_seed():
    rows = statistics.collapse(log("supervised", 2) + log("abkd", 2, dissimilarity=0.5)[::-1])
    (row,) = rows
    assert row.method == "abkd"
    assert row.dissimilarity == pytest.approx((3.0, 0.75))  # means of 2, 4 and of 0.5, 1
    assert row.variance == pytest.approx((0.3, 0.075))
    assert row.unexplained == pytest.approx((10.0, 10.0))
    assert row.row_entropy == pytest.approx((1 / 3, 1 / 12))
    assert row.verdict == "no collapse"


@pytest.mark.parametrize(
    ("last", "verdict"), [(0.0199, "collapsed"), (0.0201, "no collapse"), (math.nan, "unknown"), (None, "unknown")]
)
def test_collapse_verdict(last, verdict):
    assert statistics.collapse(log("abkd", 1, dissimilarity=0.1))[0].verdict == "no collapse"
    d = None if last is None else statistics.Trend(2.0, last)
    assert statistics.Collapse("abkd", statistics.Trend(1.0, 1.0), d, None, None).verdict == verdict


@pytest.mark.parametrize("last", [math.nan, math.inf, None])
def test_trends_leave_out_seeds_whose_ends_are_not_finite(last):
    rows = log("abkd", 3)
    for row in rows:
        if (row["seed"], row["epoch"]) == (2, 20):
            row |= {"abkd/attended_dissimilarity": last, "abkd/attended_variance": last, "gradient_share/abkd": last}
    (row,) = statistics.collapse(rows)
    assert row.dissimilarity == pytest.approx((3.0, 0.75))  # of the first two seeds, as without the third
    assert (row.seeds, row.not_finite, row.verdict) == (3, 1, "no collapse")
    shares = {share.term: share for share in statistics.gradient_shares(rows)}
    assert shares["abkd"].share == pytest.approx((0.07, 0.055))
    assert (shares["abkd"].not_finite, shares["soft_label"].not_finite) == (1, 0)


def test_a_method_without_a_finite_seed_keeps_its_row():
    rows = [row | {key: None for key in row if "/" in key} for row in log("abkd", 2)]
    (row,) = statistics.collapse(rows)
    assert (row.variance, row.verdict, row.seeds, row.not_finite) == (None, "unknown", 2, 2)
    assert [share.share for share in statistics.gradient_shares(rows)] == [None, None]


def test_gradient_shares_take_first_and_last_epoch_of_each_seed():
    rows = statistics.gradient_shares(log("supervised", 2) + log("abkd", 2)[::-1])
    assert [row[:2] for row in rows] == [("abkd", "soft_label"), ("abkd", "abkd")]
    assert rows[0].share == pytest.approx((0.93, 0.945))  # of 0.98 and 0.88, of 0.995 and 0.895
    assert rows[1].share == pytest.approx((0.07, 0.055))
    assert statistics.gradient_shares(log("supervised", 1)) == []


def test_equal_gains_in_nodes_are_ties_though_scores_are_float32():
    before, gains = [850, 846, 853, 851, 842, 861], [3, 3, 2, -3, -3, -3]
    nodes = {"supervised": before, "abkd": np.add(before, gains)}
    records = [record(m, seed, float(np.float32(k / 1000))) for m, of in nodes.items() for seed, k in enumerate(of)]
    (row,) = statistics.comparisons(records, "supervised")
    expected = scipy.stats.wilcoxon(gains, method=scipy.stats.PermutationMethod())
    assert row.wilcoxon_p == pytest.approx(expected.pvalue) == 1.0


def test_means_agree_or_not_in_any_unit():
    for unit in (1.0, 1e-13, 1e6):
        one = statistics.Estimate(3.0 * unit, 0.1 * unit)
        assert one.agrees(statistics.Estimate(3.1 * unit, None))
        assert not one.agrees(statistics.Estimate(3.2 * unit, 0.1 * unit))
