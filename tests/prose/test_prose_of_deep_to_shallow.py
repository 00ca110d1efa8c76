"""What the text of the table `deep_to_shallow` says."""

import numpy as np
from prose_samples import WORDS, check_numbers, check_words, paragraphs, same, told

from abkd_jax.study.report.grid import scores_of

INTRO, FITTED_LAYERS, FAILING, LOSSES, ALIGNMENT, PAIRS = paragraphs("deep_to_shallow")

FITTED, SOFT = "soft_label_fitted", "soft_label"
GRAPHS = ("cora_ml", "citeseer", "cora")


def deep():
    return told("deep_to_shallow")


def cell(method, dataset):
    return deep().grid.cells[deep().column(dataset), method]


def test_fitted_layers_reach_the_teachers():
    gaps = [deep().gain("teacher", FITTED, dataset) for dataset in GRAPHS]
    of_draws = {dataset: deep().scores_of_draws(FITTED, dataset) for dataset in GRAPHS}
    furthest = max(deep().score("teacher", dataset) - min(scores) for dataset, scores in of_draws.items())
    varies = same(*(np.std(scores, ddof=1) for scores in of_draws.values()))
    in_table = [deep().claim(FITTED, SOFT, dataset) for dataset in GRAPHS]
    soft, fitted = (np.array([*scores_of(cell(method, "cora")).values()]) for method in (SOFT, FITTED))
    lowest, *_ = ended = 100.0 * np.sort(soft)
    others = 100.0 * np.mean((fitted - soft)[soft > soft.min()])
    said = [min(gaps), max(gaps), furthest, varies, *(gain for gain, _ in in_table), others]
    on_pubmed = [deep().gain("teacher", FITTED, "pubmed"), deep().gain(FITTED, SOFT, "pubmed")]
    said += [*(p for _, p in in_table), *on_pubmed, *deep().claim(FITTED, SOFT)]
    drawn, together = [deep().drawn(FITTED, SOFT, dataset) for dataset in GRAPHS], deep().drawn(FITTED, SOFT)
    each = same(*(one.p for one in drawn), digits=3)
    said += [*(one.mean for one in drawn), *(one.std for one in drawn), each, together.mean, together.p]
    check_numbers(FITTED_LAYERS, said)
    ahead = WORDS[same(*(one.ahead for one in drawn))]
    check_words(FITTED_LAYERS, f"over {WORDS[len(together.gaps)]} draws")
    check_words(FITTED_LAYERS, f"one of {WORDS[len(ended)]} students ends at {lowest:.0f}", f"in all {ahead} on each")


def test_no_loss_makes_up_for_it():
    check_numbers(INTRO + FAILING, [])
    best, graphs = "best other loss", ("cora", "citeseer")
    drawn, together = [deep().drawn(FITTED, best, dataset) for dataset in graphs], deep().drawn(FITTED, best)
    each = same(*(one.p for one in drawn), digits=3)
    left = [deep().gain_of_draws("teacher", FITTED, dataset) for dataset in graphs]
    said = [*(one.mean for one in drawn), *(one.std for one in drawn), each, together.mean, together.p, *left]
    check_numbers(LOSSES, said)
    check_words(LOSSES, f"ahead in all {WORDS[same(*(one.ahead for one in drawn))]} draws on each")


def test_alignment_replaces_some_of_the_start():
    graphs = ("cora", "citeseer", "cora_ml")
    cora, citeseer, cora_ml = drawn = [deep().drawn("abkd", SOFT, dataset) for dataset in graphs]
    together = deep().drawn("abkd", SOFT)
    assert min(one.p for one in (*drawn, together)) > 0.05
    below = [deep().gain_of_draws(FITTED, "abkd", dataset) for dataset in graphs]
    adds = [deep().gain("abkd_fitted", FITTED, dataset) for dataset in graphs]
    said = [cora.mean, cora.std, cora.p, citeseer.mean, citeseer.std, -cora_ml.mean, cora_ml.std, together.mean]
    check_numbers(ALIGNMENT, [*said, *below, *adds[:2]])
    assert abs(adds[2]) < 0.05


def test_the_choice_of_pairs():
    graphs, last = ("citeseer", "cora", "cora_ml"), "abkd_last_layer"
    against_last = [deep().claim("abkd", last, dataset) for dataset in graphs]
    together, p = deep().claim("abkd", last)
    assert all(of_graph > 0.05 for _, of_graph in against_last)
    drawn, over_draws = [deep().drawn("abkd", last, dataset) for dataset in graphs], deep().drawn("abkd", last)
    assert over_draws.ahead == 0
    said = [-together, p, *(-gain for gain, _ in against_last), -over_draws.mean, over_draws.p]
    said += [*(-one.mean for one in drawn), *(one.std for one in drawn), *(one.p for one in drawn)]
    said += [deep().gain_of_draws(last, SOFT, dataset) for dataset in graphs]
    said += [deep().gain_of_draws(FITTED, last, dataset) for dataset in graphs]
    uniform = [deep().claim("abkd", "abkd_uniform", dataset)[0] for dataset in graphs]
    over, undecided = deep().claim("abkd", "abkd_uniform")
    assert undecided > 0.05
    over_greedy = [deep().gain("abkd_greedy", "abkd", dataset) for dataset in graphs]
    said += [uniform[0], -uniform[1], uniform[2], over, over_greedy[0], -over_greedy[1], over_greedy[2]]
    check_numbers(PAIRS, said)
    ahead = [WORDS[len(one.gaps) - one.ahead] for one in drawn]
    check_words(PAIRS, "in {}, {} and {} draws".format(*ahead))


def test_fewer_fail_whose_last_layers_are_aligned():
    graphs = ("citeseer", "cora", "cora_ml")

    def failed(method):
        cells = [(cell, dataset) for dataset in graphs for cell in deep().cells_of_draws(method, dataset)]
        gaps = [deep().score("teacher", of) - 100.0 * score for cell, of in cells for score in scores_of(cell).values()]
        return sum(gap > 10.0 for gap in gaps), len(gaps)

    (last, students), (learned, _), (soft, _) = map(failed, ("abkd_last_layer", "abkd", SOFT))
    check_words(PAIRS, f"of {students} students in the draws {last} end more than ten points below")
    check_words(PAIRS, f"{learned} with learned attention and {soft} with soft labels alone")
    check_words(PAIRS, "of which none fails")
    assert failed(FITTED) == (0, students)


def test_the_number_of_pairs():
    (teachers,) = {len(attention) for attention in cell("abkd", "cora")["attention"]}
    (students,) = {len(layer) for attention in cell("abkd", "cora")["attention"] for layer in attention}
    check_words(PAIRS, f"{teachers * students} pairs")
