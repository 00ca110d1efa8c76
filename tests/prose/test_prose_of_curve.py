"""What the text of the table `curve` says."""

import numpy as np
from prose_samples import NEAR, check_numbers, paragraphs, same, told, within

from abkd_jax.study.report.grid import paired
from abkd_jax.study.report.score_tables import median_epoch
from experiments.configs.tables import CLASS_RELEVANT

INTRO, ABKD, START, FITTED_LAYERS, OUTSIDE, PAIRS, COST = paragraphs("curve")

SOFT, CUT_OUT, FITTED, LAST = "soft_label", "soft_label_cut_out", "soft_label_fitted", "abkd_last_layer"
GRAPHS = ("cora", "cora_ml", "citeseer")
ONE_OR_TWO_LAYERS, TWO_UNITS = ("1x4", "2x4"), ("4x2", "1x2")


def curve():
    return told("curve")


def gains(method, other, student, graphs=GRAPHS):
    return [curve().gain(method, other, dataset, student) for dataset in graphs]


def gains_of_draws(method, other, graphs=GRAPHS):
    return [curve().gain_of_draws(method, other, dataset, "4x2") for dataset in graphs]


def tuned_again(method, against, student="4x2", graphs=GRAPHS):
    return [curve().drawn(method, against, dataset, student) for dataset in graphs]


def means(drawn):
    return [one.mean for one in drawn]


def stds(drawn):
    return [one.std for one in drawn]


def smaller(students):
    found = [curve().smaller(dataset, student) for dataset in GRAPHS for student in students]
    return [min(found), max(found)]


def test_layers_cost_nothing_and_units_do():
    gaps = [
        curve().gain("teacher", method, dataset, student)
        for dataset in GRAPHS
        for student in ONE_OR_TWO_LAYERS
        for method in curve().grid.of_column(curve().column(dataset, student))
        if method != "supervised"
    ]
    narrow = [gap for student in TWO_UNITS for gap in gains("teacher", SOFT, student)]
    on_pubmed = gains("teacher", SOFT, "4x2", ["pubmed"])
    said = [*smaller(ONE_OR_TWO_LAYERS), within(0.7, *gaps), min(narrow), max(narrow), *on_pubmed]
    check_numbers(INTRO, said)
    assert [*map(round, smaller(TWO_UNITS)), round(curve().smaller("pubmed"))] == [67, 122, 287]


def test_abkd_gains_in_narrow_students():
    students = (*ONE_OR_TWO_LAYERS, *TWO_UNITS)
    above = [gain for student in students for gain in gains("abkd", SOFT, student, ["citeseer", "cora_ml"])]
    others = [gain for student in students for gain in gains("abkd", SOFT, student, ["cora"])]
    others += gains("abkd", SOFT, "4x2", ["pubmed"])
    drawn, together = tuned_again("abkd", SOFT), curve().drawn("abkd", SOFT)
    (shallow,) = tuned_again("abkd", SOFT, "2x4", ["cora_ml"])
    cora, cora_ml, citeseer = tuned_again("abkd", SOFT, "1x2")
    said = [min(above), max(above), -min(others), *curve().claim("abkd", SOFT)]
    said += [*means(drawn), *stds(drawn), drawn[0].gaps[0], shallow.mean]
    said += [same(cora.mean, cora_ml.mean), cora.std, cora_ml.std, citeseer.mean]
    check_numbers(ABKD, [*said, together.mean, together.std, together.p])
    assert max(others) < 0.05
    assert [*(one.ahead for one in drawn), together.ahead] == [8, 7, 7, 8]
    assert max(citeseer.gaps) / 8 > citeseer.mean / 2  # "most of that in one draw"
    alone = [one for one, _ in curve().decisions_of_draws if one.comparison.column]
    assert len(alone) == 22
    assert min(one.comparison.holm_p for one in alone) > 0.05


def test_most_of_it_is_the_start():
    scores = [curve().score_of_draws(CUT_OUT, dataset, "4x2") for dataset in GRAPHS]
    left = gains_of_draws("teacher", CUT_OUT)
    said = [*scores, *gains_of_draws(CUT_OUT, SOFT), min(left), max(left)]
    tuned, together = tuned_again("abkd", CUT_OUT), curve().drawn("abkd", CUT_OUT)
    said += [-mean for mean in (*means(tuned), together.mean, together.gaps[0])]
    said += means([*tuned_again("abkd_cut_out", CUT_OUT), curve().drawn("abkd_cut_out", CUT_OUT)])
    below, p = curve().claim("abkd", CUT_OUT)
    said += [-below, p, *curve().claim("abkd_cut_out", CUT_OUT)]
    check_numbers(START, [*said, *gains("abkd_cut_out", CUT_OUT, "1x2", ["cora_ml"])])
    assert [starts("abkd").count("attention_map"), starts(SOFT).count("attention_map")] == [17, 12]
    assert len(starts(SOFT)) == 24
    narrowest = curve().grid.of_column(curve().column("cora_ml", "1x2"))
    ahead = paired(narrowest["abkd_cut_out"], narrowest[CUT_OUT]).values()
    assert [gap > 0.0 for gap in ahead] == [True] * 10  # "in all ten seeds"


def starts(method):
    return [cell["settings"]["start"] for dataset in GRAPHS for cell in curve().cells_of_draws(method, dataset, "4x2")]


def test_fitted_layers():
    scores = [curve().score_of_draws(FITTED, dataset, "4x2") for dataset in GRAPHS]
    deviations, of_tuned = deviations_of_draws(FITTED), deviations_of_draws(SOFT)
    assert max(np.subtract(deviations, of_tuned)) < 0.0  # "vary less"
    best, together = tuned_again(FITTED, "best other loss"), curve().drawn(FITTED, "best other loss")
    over_best = [best[0].mean, -best[1].mean, -best[2].mean, -together.mean]
    said = [*scores, *gains_of_draws(FITTED, SOFT), min(deviations), max(deviations), *over_best]
    said += gains_of_draws(CUT_OUT, FITTED)
    in_table, with_four = gains(FITTED, SOFT, "1x2"), [*gains(CUT_OUT, SOFT, "1x4"), *gains(CUT_OUT, SOFT, "2x4")]
    said += [*(curve().score(FITTED, dataset, "1x2") for dataset in GRAPHS), min(in_table), max(in_table)]
    check_numbers(FITTED_LAYERS, [*said, *gains(CUT_OUT, SOFT, "1x2"), -min(with_four), max(with_four), NEAR])
    assert {round(epochs_near_the_end(CUT_OUT, student), -1) for student in ONE_OR_TWO_LAYERS} == {80}
    preset = [
        [cell["tuning"]["chosen"] for cell in curve().cells_of_draws(m, "cora", "4x2")] for m in (CUT_OUT, FITTED)
    ]
    assert [chosen.count(0) for chosen in preset] == [7, 3]


def deviations_of_draws(method):
    return [np.std(curve().scores_of_draws(method, dataset, "4x2"), ddof=1) for dataset in GRAPHS]


def epochs_near_the_end(method, student):
    """Returns after how many epochs the median runs are there, the mean over the graphs."""
    cells = [curve().grid.cells[curve().column(dataset, student), method] for dataset in GRAPHS]
    return np.mean([median_epoch(cell["cost"]) for cell in cells])


def test_a_loss_outside_the_package():
    (citeseer, cora_ml, cora) = drawn = tuned_again(CLASS_RELEVANT, SOFT, graphs=("citeseer", "cora_ml", "cora"))
    together = curve().drawn(CLASS_RELEVANT, SOFT)
    said = [same(citeseer.mean, cora_ml.mean), cora.mean, min(stds(drawn)), max(stds(drawn))]
    check_numbers(OUTSIDE, [*said, together.mean, together.p])


def test_which_layers_are_aligned_does_not_matter():
    cora, cora_ml, citeseer = tuned_again("abkd", LAST)
    check_numbers(PAIRS, [cora.mean, cora_ml.mean, -citeseer.mean])
    assert min(citeseer.gaps[1:]) >= 0.0  # "all of it in the table's own draw"


def test_training_cost():
    check_numbers(COST, [NEAR])
    epochs = [{round(epochs_near_the_end(m, student), -1) for student in ONE_OR_TWO_LAYERS} for m in ("abkd", SOFT)]
    assert epochs == [{100, 130}, {200, 240}]
