"""What the texts of five tables say: `normalised`, `layers_differ`, `few_labels`, `molecules` and `molhiv`."""

import statistics

import pytest
from prose_samples import NEAR, Told, check_numbers, same, what_it_shows

FITTED, SOFT = "soft_label_fitted", "soft_label"


def test_normalised():
    told = Told("normalised")
    over, p = told.claim(FITTED, SOFT)
    gains = [told.gain(FITTED, SOFT, dataset) for dataset in ("cora", "cora_ml", "citeseer")]
    check_numbers(what_it_shows("normalised"), [*gains, over, p, told.claim(FITTED, SOFT, "citeseer")[1], NEAR])


def test_layers_differ():
    told = Told("layers_differ")
    drawn = told.drawn("abkd", SOFT, "cora")
    gain, p = told.claim(FITTED, SOFT, "cora")
    luck = told.score(FITTED, "cora") - told.score_of_draws(SOFT, "cora")
    said = [told.gain("abkd", SOFT, "cora"), drawn.mean, drawn.std, min(drawn.gaps), max(drawn.gaps), gain, p, luck]
    check_numbers(what_it_shows("layers_differ"), said)
    assert max(drawn.gaps) == pytest.approx(drawn.gaps[0])  # "that of the table is the largest"


def test_few_labels():
    told = Told("few_labels")
    ends = [
        told.score(method, dataset, regime=regime)
        for dataset in ("cora", "citeseer")
        for regime in ("labels_1", "labels_5")
        for method in (SOFT, "teacher")
    ]
    abkd = [told.gain("abkd", SOFT, "citeseer", regime=regime) for regime in ("labels_1", "labels_5")]
    first_layer, p = told.claim("teacher_input", SOFT)
    on_citeseer, p_citeseer = told.claim("teacher_input", SOFT, "citeseer", regime="labels_5")
    said = [*ends, abkd[0], -abkd[1], told.claim("abkd", SOFT)[0], -first_layer, p, -on_citeseer, p_citeseer]
    check_numbers(what_it_shows("few_labels"), said)


def test_molecules():
    told, bace = Told("molecules"), "ogbg-molbace"
    taught = [told.score(method, bace) for method in (SOFT, "abkd", "abkd_last_layer", "gcrd")]
    both = "labels_soft_label"
    above, p_above = told.claim(both, SOFT)
    below, p_below = told.claim(both, "supervised")
    scores = [told.score(method, bace) for method in ("teacher", "supervised", both)]
    toxic = "ogbg-moltox21"
    student, teacher, aligned, plain = (told.score(m, toxic) for m in (SOFT, "teacher", "abkd", "supervised"))
    said = [min(taught), max(taught), *scores, student, teacher - student, teacher, aligned, plain]
    check_numbers(what_it_shows("molecules"), [*said, above, p_above, -below, p_below])
    assert round(told.score(both, toxic), 1) == round(plain, 1)
    deviations = [told.std(method, bace) for method in ("teacher", *told.grid.methods)]
    assert (round(min(deviations)), round(max(deviations))) == (3, 7)


def test_molhiv():
    told, hiv, both, plain = Told("molhiv"), "ogbg-molhiv", "labels_soft_label", "supervised"
    soft, labels, teacher, students, aligned = (told.score(m, hiv) for m in (SOFT, plain, "teacher", both, "abkd"))
    claimed = [told.claim(*of, hiv) for of in ((both, plain), (both, SOFT), ("abkd", SOFT))]
    (above, p), (over, p_over), (by, p_by) = claimed
    cells = {method: told.grid.cells[told.column(hiv), method] for method in told.grid.methods}
    longer = [100.0 * statistics.mean(cells[method]["lengths"]["24"]["test"]) for method in (plain, SOFT)]
    said = [soft, labels, teacher, students, above, over, same(p, p_over, digits=3), students - teacher, *longer]
    check_numbers(what_it_shows("molhiv"), [*said, aligned, by, p_by])
    assert {method: cell["epochs"] for method, cell in cells.items()} == {plain: 8, SOFT: 8, "abkd": 8, both: 24}
    for other in (plain, SOFT):
        pairs = zip(cells[both]["scores"]["test"], cells[other]["scores"]["test"], strict=True)
        assert all(ours > theirs for ours, theirs in pairs)
