"""What the text of the table `inductive` says, of the unseen nodes alone."""

import re

from prose_samples import WORDS, check_numbers, check_words, paragraphs, same, told

from abkd_jax.study.regimes import UNSEEN

INTRO, DROPOUT, ABKD, INPUT, BEST_OF_ALL, START, FITTED_LAYERS, NODES = paragraphs("inductive")

FITTED, SOFT, MLP = "soft_label_fitted", "soft_label", "mlp:2x128"
DROPPING = "_dropout"
BEST = "best other loss"


def inductive():
    return told("inductive")


def gain(method, other, dataset, student="4x4"):
    return inductive().gain(method, other, dataset, student, view=UNSEEN)


def claim(method, against, *place):
    return inductive().claim(method, against, *place, view=UNSEEN)


def drawn(method, against, *place):
    return inductive().drawn(method, against, *place, view=UNSEEN)


def below_teacher(dataset, student):
    """Returns how far the students with soft labels are below it."""
    methods = [name for name in without_dropout(dataset, student) if name != "supervised"]
    return [gain("teacher", method, dataset, student) for method in methods]


def without_dropout(dataset, student="4x4"):
    """Returns the methods of a column whose students have no dropout."""
    methods = inductive().grid.of_column(inductive().column(dataset, student))
    return [name for name in methods if not name.endswith(DROPPING)]


def test_students_end_below_their_teachers():
    of_four = below_teacher("citeseer", "4x4") + below_teacher("cora", "4x4")
    check_numbers(INTRO, [min(of_four), max(of_four), min(below_teacher("citeseer", MLP))])
    check_words(INTRO, f"on Cora {min(below_teacher('cora', MLP)):.0f}.")


def test_dropout_gains_on_one_graph_alone():
    graphs = ("cora", "citeseer")
    cora, citeseer, *mlps = (drawn(SOFT + DROPPING, SOFT, name, of) for of in ("4x4", MLP) for name in graphs)
    both = drawn(SOFT + DROPPING, SOFT)
    fitted, abkd = drawn(FITTED + DROPPING, "best loss with dropout"), drawn("abkd" + DROPPING, SOFT + DROPPING)
    assert min(*fitted.gaps, *mlps[0].gaps) > 0.0
    made_for_mlps = [gain(method, SOFT, dataset, MLP) for method in ("krd", "ff_g2m") for dataset in graphs]
    said = [0.5, cora.mean, -citeseer.mean, cora.p, citeseer.p]  # the rate
    said += [*(one.mean for one in mlps), *(one.p for one in mlps), both.mean, both.p, *made_for_mlps]
    check_numbers(DROPOUT, [*said, fitted.mean, fitted.p, abkd.mean, abkd.p])
    of, ahead = WORDS[len(cora.gaps)], (WORDS[one.ahead] for one in (cora, citeseer))
    check_words(DROPOUT, "ahead in {} of {of} draws and in {}".format(*ahead, of=of))


def test_the_gain_of_abkd_is_the_luck_of_the_tuning():
    in_table = [gain("abkd", SOFT, "citeseer"), gain("abkd", SOFT, "citeseer", MLP), gain("abkd", SOFT, "cora")]
    again = [drawn("abkd", SOFT, dataset, "4x4") for dataset in ("citeseer", "cora")]
    said = [*in_table, *claim("abkd", SOFT), *(one.mean for one in again), *(one.std for one in again)]
    check_numbers(ABKD, [*said, drawn("abkd", SOFT).mean])
    check_words(ABKD, f"Over {WORDS[len(again[0].gaps)]} draws")


def test_the_first_layer_of_the_teacher():
    cora, citeseer = (gain("teacher_input", "abkd", dataset) for dataset in ("cora", "citeseer"))
    check_numbers(INPUT, [cora, -citeseer, gain(SOFT, "teacher_input", "citeseer", MLP)])


def test_the_best_of_all_on_cora():
    best = ("mustad", "geometric", "fitnet")
    scores = {
        dataset: {name: inductive().score(name, dataset, "4x4", view=UNSEEN) for name in without_dropout(dataset)}
        for dataset in ("cora", "citeseer")
    }
    on_cora, on_citeseer = (sorted(of, key=of.get) for of in scores.values())
    assert {*on_cora[-3:]} == {*best}
    assert on_citeseer[-1] == "krd"
    mustad, fitnet = again = [drawn(method, SOFT, "cora", "4x4") for method in ("mustad", "fitnet")]
    assert min(one.p for one in again) > 0.05
    said = [*(gain(method, SOFT, "cora") for method in best), -mustad.mean, fitnet.mean, mustad.std, fitnet.std]
    check_numbers(BEST_OF_ALL, [*said, gain("krd", SOFT, "citeseer"), gain("krd", SOFT, "cora")])
    check_words(BEST_OF_ALL, f"best of {len(on_cora)} methods", f"over the {WORDS[len(mustad.gaps)]} draws")
    check_words(BEST_OF_ALL, f"each ahead in {WORDS[same(mustad.ahead, fitnet.ahead)]} draws")


def test_the_start_is_what_losses_on_citeseer_share():
    at = inductive().column("citeseer", "4x4")
    cells = [inductive().grid.cells[at, name] for name in without_dropout("citeseer")]
    beside = [cell for cell in cells if cell["settings"]["alignment_weight"] or cell["settings"]["auxiliary_weight"]]
    chosen = [cell["tuning"]["chosen"] for cell in beside if cell["settings"]["start"] == "attention_map"]
    tried = max(chosen, key=chosen.count)
    cut_out = "soft_label_cut_out"
    again = [drawn(cut_out, SOFT, dataset, "4x4") for dataset in ("citeseer", "cora")]
    both = drawn(cut_out, SOFT)
    check_words(START, f"{WORDS[chosen.count(tried)].capitalize()} of {len(beside)} losses")
    said = [gain(cut_out, SOFT, "citeseer"), *(one.mean for one in again), *(one.std for one in again)]
    check_numbers(START, [*said, both.mean, both.p])


def test_fitted_layers():
    again = [drawn(FITTED, BEST, "citeseer", "4x4"), drawn(FITTED, BEST, "cora", "4x4"), drawn(FITTED, BEST)]
    mlps = [gain(SOFT, FITTED, "citeseer", MLP), gain(FITTED, SOFT, "cora", MLP)]
    check_numbers(FITTED_LAYERS, [*mlps, *(-one.mean for one in again)])


def test_how_many_nodes_are_unseen():
    check_numbers(NODES, [])
    (nodes,) = map(int, re.findall(r"unseen nodes are (\d+)", NODES))
    for cell in inductive().grid.cells.values():
        right = [nodes * score for score in cell["scores"][UNSEEN]]
        assert max(abs(count - round(count)) for count in right) < 1e-3
        assert cell["data"]["counts"]["test"] == 4 * nodes  # the others
