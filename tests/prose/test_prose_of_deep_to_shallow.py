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
    cora, citeseer = (deep().drawn("abkd", SOFT, dataset) for dataset in ("cora", "citeseer"))
    together = deep().drawn("abkd", SOFT)
    below = [deep().gain_of_draws(FITTED, "abkd", dataset) for dataset in ("cora", "citeseer")]
    adds = [deep().gain("abkd_fitted", FITTED, dataset) for dataset in ("cora", "citeseer", "cora_ml")]
    said = [cora.mean, cora.std, cora.p, citeseer.mean, citeseer.std, together.mean, together.p, *below, *adds[:2]]
    check_numbers(ALIGNMENT, said)
    assert abs(adds[2]) < 0.05


def test_the_choice_of_pairs():
    graphs, last = ("citeseer", "cora", "cora_ml"), "abkd_last_layer"
    against_last = [deep().claim("abkd", last, dataset) for dataset in graphs]
    together, p = deep().claim("abkd", last)
    assert all(of_graph > 0.05 for _, of_graph in against_last)
    scores = {dataset: 100.0 * np.array([*scores_of(cell(last, dataset)).values()]) for dataset in graphs}
    furthest = max(of_graph.mean() - of_graph.min() for of_graph in scores.values())
    assert sum(map(len, scores.values())) == 30
    said = [*(-gain for gain, _ in against_last), -together, p, furthest]
    uniform = [deep().claim("abkd", "abkd_uniform", dataset)[0] for dataset in graphs]
    over, undecided = deep().claim("abkd", "abkd_uniform")
    assert undecided > 0.05
    said += [uniform[0], -uniform[1], uniform[2], over, deep().gain(last, SOFT, "cora")]
    check_numbers(PAIRS, said)
    assert max(abs(deep().gain(last, SOFT, dataset)) for dataset in ("citeseer", "cora_ml")) < 0.15
    worst = [100.0 * min(scores_of(cell("abkd", dataset)).values()) for dataset in ("cora", "cora_ml")]
    check_words(PAIRS, f"ends at {worst[0]:.0f} on Cora and one at {worst[1]:.0f} on cora_ml")
    (teachers,) = {len(attention) for attention in cell("abkd", "cora")["attention"]}
    (students,) = {len(layer) for attention in cell("abkd", "cora")["attention"] for layer in attention}
    check_words(PAIRS, f"{teachers * students} pairs")
