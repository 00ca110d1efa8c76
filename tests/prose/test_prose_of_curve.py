"""What the text of the table `curve` says."""

import numpy as np
from prose_samples import NEAR, WORDS, check_numbers, check_words, paragraphs, same, told, within

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
    deep, shallow, *four_units = (on_pubmed(SOFT, "teacher", student) for student in (*TWO_UNITS, *ONE_OR_TWO_LAYERS))
    said = [*smaller(ONE_OR_TWO_LAYERS), within(0.7, *gaps), min(narrow), max(narrow)]
    check_numbers(INTRO, [*said, -deep, shallow, min(four_units), max(four_units)])
    least, most = smaller(TWO_UNITS)
    check_words(INTRO, f"two units, {least:.0f} to {most:.0f} times smaller")
    deep, shallow = (curve().smaller("pubmed", student) for student in TWO_UNITS)
    check_words(INTRO, f"students of 4 x 2 and 1 x 2, {deep:.0f} and {shallow:.0f} times smaller")
    seeds = len(curve().grid.cells[curve().column("pubmed", "4x2"), SOFT]["seeds"])
    check_words(INTRO, f"Pubmed ({WORDS[seeds]} seeds)")


def on_pubmed(method, other, student):
    return curve().gain(method, other, "pubmed", student)


def test_abkd_gains_in_narrow_students():
    students = (*ONE_OR_TWO_LAYERS, *TWO_UNITS)
    above = [gain for student in students for gain in gains("abkd", SOFT, student, ["citeseer", "cora_ml"])]
    others = [gain for student in students for gain in gains("abkd", SOFT, student, ["cora", "pubmed"])]
    drawn, together = tuned_again("abkd", SOFT), curve().drawn("abkd", SOFT)
    (shallow,) = tuned_again("abkd", SOFT, "2x4", ["cora_ml"])
    cora, cora_ml, citeseer = tuned_again("abkd", SOFT, "1x2")
    said = [min(above), max(above), within(0.25, *map(abs, others)), *curve().claim("abkd", SOFT)]
    said += [*means(drawn), *stds(drawn), drawn[0].gaps[0], shallow.mean]
    said += [same(cora.mean, cora_ml.mean), cora.std, cora_ml.std, citeseer.mean]
    check_numbers(ABKD, [*said, together.mean, together.std, together.p])
    on_cora, elsewhere = WORDS[drawn[0].ahead], WORDS[same(drawn[1].ahead, drawn[2].ahead)]
    check_words(ABKD, f"ahead in all {on_cora} on Cora", f"in {elsewhere} on the others")
    check_words(ABKD, f"in {WORDS[len(together.gaps)]} draws", f"ahead in all {WORDS[together.ahead]} draws")
    assert max(citeseer.gaps) / 8 > citeseer.mean / 2  # "most of that in one draw"
    alone = [one for one, _ in curve().decisions_of_draws if one.comparison.column]
    check_words(ABKD, f"among {len(alone)} claims none")
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
    of_abkd, of_soft = (starts(method).count("attention_map") for method in ("abkd", SOFT))
    check_words(START, f"in {of_abkd} of {len(starts(SOFT))} draws, that of soft labels in {of_soft}.")
    narrowest = curve().grid.of_column(curve().column("cora_ml", "1x2"))
    ahead = paired(narrowest["abkd_cut_out"], narrowest[CUT_OUT]).values()
    check_words(START, f"in all {WORDS[sum(gap > 0.0 for gap in ahead)]} seeds")


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
    said += [*gains(CUT_OUT, SOFT, "1x2"), -min(with_four), max(with_four), NEAR]
    said += [on_pubmed(FITTED, SOFT, student) for student in (*TWO_UNITS, "2x4")] + [on_pubmed(SOFT, FITTED, "1x4")]
    check_numbers(FITTED_LAYERS, said)
    cut_out, fitted = WORDS[preset_chosen(CUT_OUT)], WORDS[preset_chosen(FITTED)]
    check_words(FITTED_LAYERS, f"after {same(*epochs_near_the_end(CUT_OUT))} epochs")
    check_words(FITTED_LAYERS, f"in {cut_out} of the eight draws", f"in {fitted} of fitted ones")


def preset_chosen(method):
    """Returns in how many draws on Cora the tuning chose the preset's numbers, which it tries first."""
    return sum(cell["tuning"]["chosen"] == 0 for cell in curve().cells_of_draws(method, "cora", "4x2"))


def deviations_of_draws(method):
    return [np.std(curve().scores_of_draws(method, dataset, "4x2"), ddof=1) for dataset in GRAPHS]


def epochs_near_the_end(method):
    """Returns after how many epochs the median run is there, for one and two layers: means over the graphs, in tens."""
    cells = [[curve().grid.cells[curve().column(d, student), method] for d in GRAPHS] for student in ONE_OR_TWO_LAYERS]
    return sorted(10 * round(np.mean([median_epoch(cell["cost"]) for cell in some]) / 10) for some in cells)


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
    least, most = epochs_near_the_end("abkd")
    check_words(COST, f"after {least} to {most} epochs")
    least, most = epochs_near_the_end(SOFT)
    check_words(COST, f"after {least} to {most}, in the median run")
