"""What the text of the table `deep_to_shallow` says."""

import numpy as np
from prose_samples import WORDS, check_numbers, check_words, paragraphs, same, told

from abkd_jax.study.report.grid import scores_of

INTRO, FITTED_LAYERS, FAILING, LOSSES, ALIGNMENT = paragraphs("deep_to_shallow")

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
    adds = [deep().gain("abkd_fitted", FITTED, dataset) for dataset in ("cora", "citeseer")]
    said = [cora.mean, cora.std, cora.p, citeseer.mean, citeseer.std, together.mean, together.p, *below, *adds]
    check_numbers(ALIGNMENT, [*said, deep().gain("abkd", "abkd_uniform", "citeseer")])
    (teachers,) = {len(attention) for attention in cell("abkd", "cora")["attention"]}
    (students,) = {len(layer) for attention in cell("abkd", "cora")["attention"] for layer in attention}
    check_words(ALIGNMENT, f"{teachers * students} pairs")
    failing = {
        method: sum(cell(method, "citeseer")["cost"]["failed"])
        for method in ("abkd", "abkd_depth", "abkd_greedy", "abkd_uniform", "fitnet", "abkd_last_layer")
    }
    assert failing.pop("abkd_last_layer") == 0
    fewest, most = WORDS[min(failing.values())], WORDS[max(failing.values())]
    check_words(ALIGNMENT, f"fail in {fewest} or {most} of ten seeds")
