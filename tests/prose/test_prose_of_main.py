"""What the text of the table `main` says."""

import numpy as np
from prose_samples import NEAR, WORDS, check_numbers, check_words, level, paragraphs, same, told, within

from experiments.configs.tables import EARLIER

INTRO, ALIGNMENT, PAIRS, LOSSES, START, INPUT, OLDER = paragraphs("main")

SOFT, CUT_OUT, FITTED, LABELS = "soft_label", "soft_label_cut_out", "soft_label_fitted", "labels_soft_label"
FILM, TOLOKERS = "geom_gcn:film", "heterophilous:tolokers"
EPOCHS = "epochs_to_half_point"
TUNED_AGAIN = ("citeseer", "cora", "cora_ml")


def main():
    return told("main")


def above_teacher(method, dataset):
    return main().gain(method, "teacher", dataset)


def gains(method, other, *datasets):
    return [main().gain(method, other, dataset) for dataset in datasets]


def methods_of(dataset):
    return main().grid.of_column(main().column(dataset))


def test_students_end_beside_their_teachers():
    losses = {  # no other input
        (method, dataset): -above_teacher(method, dataset)
        for dataset in ("cora", "citeseer", "cora_ml", "pubmed")
        for method in methods_of(dataset)
        if method != "supervised" and not method.startswith("teacher_input")
    }
    with_labels = losses.pop((LABELS, "pubmed"))
    datasets = ("acm", "amazon_photo", "coauthor_cs", "heco_acm", "heco_freebase")
    over = [above_teacher(SOFT, dataset) for dataset in datasets]
    assert min(over) > -0.1  # "level with their teachers"
    actor = [-above_teacher(method, FILM) for method in (SOFT, "abkd")]
    tolokers = [-above_teacher(method, TOLOKERS) for method in (SOFT, "abkd")]
    alone = [-above_teacher("supervised", dataset) for dataset in (FILM, TOLOKERS)]
    check_numbers(INTRO, [within(0.8, *losses.values()), with_labels, max(over), *actor, *tolokers, *alone])
    names = {"pubmed": "Pubmed", FILM: "Actor (`geom_gcn:film`)", TOLOKERS: "tolokers"}
    smaller = [f"{name}, {main().smaller(dataset):.0f} times smaller" for dataset, name in names.items()]
    check_words(INTRO, *smaller)


def test_alignment_adds_nothing_that_lasts():
    drawn = [main().drawn("abkd", SOFT, dataset) for dataset in (FILM, "citeseer")]
    again = [*(one.mean for one in drawn), *(one.std for one in drawn)]
    above = same(*gains("abkd", SOFT, "cora", "cora_ml", TOLOKERS))
    level(*gains("abkd", SOFT, "coauthor_cs", "heco_acm", "heco_freebase"))
    below = gains(SOFT, "abkd", "amazon_photo", "acm", "pubmed")
    over = main().claim("abkd", SOFT)[0]
    check_numbers(ALIGNMENT, [*gains("abkd", SOFT, FILM, "citeseer"), *again, above, *below, over])
    actor, citeseer = (WORDS[one.ahead] for one in drawn)
    check_words(ALIGNMENT, f"ahead in {actor} and in {citeseer}", f"the {WORDS[len(main().grid.columns)]} graphs")


def test_the_choice_of_pairs_does_not_matter():
    uniform = "abkd_uniform"
    others = within(0.01, *map(abs, gains("abkd", uniform, "cora", "cora_ml", "acm", "pubmed")))
    drawn = main().drawn("abkd", uniform, "citeseer")
    (citeseer,), (actor,) = gains("abkd", uniform, "citeseer"), gains(uniform, "abkd", FILM)
    over = -main().claim("abkd", uniform)[0]
    check_numbers(PAIRS, [over, citeseer, actor, others, drawn.mean, drawn.std, within(0.03, *drawn.gaps[1:])])
    check_words(PAIRS, f"over {WORDS[len(drawn.gaps)]} draws on Citeseer")


def test_earlier_losses_do_as_well():
    def best(dataset=""):
        return main().claim("abkd", "best earlier loss", dataset)[0]

    of_11 = within(0.1, *(abs(best(dataset)) for dataset in ("cora", "citeseer", "cora_ml")))
    of_five = within(0.1, abs(best("coauthor_cs")))
    sides = [of_11, best("acm"), of_five, -best("heco_acm"), -best("amazon_photo"), best(TOLOKERS)]
    over_soft = gains("krd", SOFT, "pubmed") + gains("propagate", SOFT, "pubmed") + gains("ff_g2m", SOFT, "pubmed")
    over_teachers = [above_teacher(method, FILM) for method in ("gcrd", "gsp")]
    pubmed = [-best("pubmed"), min(over_soft), max(over_soft)]
    check_numbers(LOSSES, [*sides, *pubmed, -best(FILM), *over_teachers, best()])
    of_all = earlier_on("cora", "citeseer", "cora_ml", "acm", "pubmed")
    some, nine = WORDS[earlier_on("coauthor_cs", "heco_acm", "amazon_photo")], WORDS[earlier_on(FILM)]
    check_words(LOSSES, f"best of {of_all} on Cora", f"among all {of_all}")
    three = WORDS[earlier_on(TOLOKERS)]
    check_words(LOSSES, f"best of {some} on coauthor_cs", f"best of {three} on tolokers", f"best of {nine}, G-CRD")


def earlier_on(*datasets):
    """Returns the number of earlier losses, the same one on some graphs."""
    (found,) = {len({*EARLIER} & {*methods_of(dataset)}) for dataset in datasets}
    return found


def test_the_start_counts_as_training_cost():
    drawn = [main().drawn(CUT_OUT, SOFT, dataset) for dataset in TUNED_AGAIN]
    together = main().drawn(CUT_OUT, SOFT)
    in_table = [main().claim(CUT_OUT, SOFT)[0], main().gain(CUT_OUT, SOFT, "pubmed"), above_teacher(CUT_OUT, "pubmed")]
    fitted_again = within(0.15, *(abs(main().gain_of_draws(FITTED, SOFT, dataset)) for dataset in TUNED_AGAIN))
    fitted = within(0.2, *map(abs, gains(FITTED, SOFT, "acm", "amazon_photo", "coauthor_cs")))
    said = [*(one.mean for one in drawn), *(one.std for one in drawn), together.mean, together.p, *in_table, NEAR]
    said += [main().claim("abkd_cut_out", CUT_OUT)[0], fitted_again, fitted, *gains(SOFT, FITTED, "pubmed")]
    check_numbers(START, said)
    check_words(START, f"ahead in {WORDS[together.ahead]} of them", f"after {epochs_near_the_end(CUT_OUT)} epochs")
    check_words(START, f"a tuned start after {epochs_near_the_end(SOFT)}")
    starts = [cell["settings"]["start"] for dataset in TUNED_AGAIN for cell in main().cells_of_draws(SOFT, dataset)]
    check_words(START, f"{starts.count('attention_map')} of these {len(starts)} tunings")


def epochs_near_the_end(method):
    """Returns after how many epochs half of all runs are there, on the fastest graph and the slowest."""
    found = []
    for dataset in TUNED_AGAIN:
        runs = [epoch for cell in main().cells_of_draws(method, dataset) for epoch in cell["cost"][EPOCHS]]
        found.append(np.median([epoch for epoch in runs if epoch is not None]))
    return f"{min(found):.0f} to {max(found):.0f}"


def test_the_first_layer_of_the_teacher_costs():
    check_numbers(INPUT, gains(SOFT, "teacher_input", "citeseer", "cora_ml", "cora"))
    level(*gains(SOFT, "teacher_input", "pubmed"))


def test_the_gain_in_the_older_table_was_one_of_training_cost():
    check_numbers(OLDER, [])
    gap = {
        (dataset, epochs): after(epochs, SOFT, dataset) - after(epochs, "abkd", dataset)
        for dataset in ("cora", "citeseer", "pubmed")
        for epochs in (300, 900)
    }
    assert max(gap["cora", 300], gap["citeseer", 300]) < -0.5
    assert max(abs(gap["cora", 900]), abs(gap["citeseer", 900])) < 0.25
    assert gap["pubmed", 300] > 0.5
    gaining = {name for name in methods_of("pubmed") if after(900, name, "pubmed") > after(300, name, "pubmed")}
    assert gaining == {LABELS}


def after(epochs, method, dataset):
    return 100.0 * np.mean(methods_of(dataset)[method]["lengths"][str(epochs)]["test"])
