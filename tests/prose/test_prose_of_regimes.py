"""What the text of the table `regimes` says."""

from prose_samples import WORDS, check_numbers, check_words, level, paragraphs, same, told

INTRO, FIRST_LAYER, OVER_LOSSES, ABKD, FITTED_LAYERS, BEFORE = paragraphs("regimes")

SOFT, INPUT, BOTH, BEST = "soft_label", "teacher_input", "teacher_input_abkd", "best other loss"
GRAPHS = ("cora", "citeseer", "cora_ml")  # tuned again
HISTORY = [1.5, 0.7]  # of the cells before 9b0ce59, with the earlier start: they are stored no more


def regimes():
    return told("regimes")


def gains(method, other, *datasets):
    return [regimes().gain(method, other, dataset) for dataset in datasets]


def tuned_again(method, against, graphs=GRAPHS):
    return [regimes().drawn(method, against, dataset) for dataset in graphs]


def means(drawn):
    return [one.mean for one in drawn]


def stds(drawn):
    return [one.std for one in drawn]


def same_p(drawn):
    return same(*(one.p for one in drawn), digits=3)


def test_the_first_layer_of_the_teacher_lasts_on_three_graphs():
    check_numbers(INTRO, [])
    gaps = gains("teacher", SOFT, *GRAPHS)
    level(*gains("teacher", SOFT, "acm"))
    others = [*gains("teacher", SOFT, "pubmed"), *gains(INPUT, SOFT, "pubmed"), *gains(SOFT, INPUT, "acm")]
    drawn, together = tuned_again(INPUT, SOFT), regimes().drawn(INPUT, SOFT)
    said = [*gains(INPUT, SOFT, *GRAPHS), min(gaps), max(gaps), *others, *regimes().claim(INPUT, SOFT)]
    said += [*means(drawn), *stds(drawn), same_p(drawn), together.mean, together.p]
    best, (on_acm,) = [below_teacher(dataset) for dataset in GRAPHS], [below_teacher("acm")]
    check_numbers(FIRST_LAYER, [*said, min(best), max(best), on_acm])
    assert {one.ahead for one in drawn} == {len(drawn[0].gaps)}  # "in all of them on each"
    seeds = len(regimes().grid.cells[regimes().column("pubmed"), INPUT]["seeds"])
    check_words(FIRST_LAYER, f"in {WORDS[len(drawn[0].gaps)]} draws", f"Pubmed ({WORDS[seeds]} seeds)")


def below_teacher(dataset):
    """Returns how far the best students that read through the teacher's first layer are below it."""
    methods = regimes().grid.of_column(regimes().column(dataset))
    return min(regimes().gain("teacher", name, dataset) for name in methods if name.startswith(INPUT))


def test_so_does_its_gain_over_the_best_other_loss():
    drawn, together = tuned_again(INPUT, BEST, ("cora", "cora_ml", "citeseer")), regimes().drawn(INPUT, BEST)
    not_drawn = [regimes().score(method, "citeseer") for method in ("krd", "propagate")]
    over, p = regimes().claim(INPUT, "best other method")
    on_acm, p_acm = regimes().claim(INPUT, "best other method", "acm")
    said = [*means(drawn), *stds(drawn), *(one.p for one in drawn), together.mean, together.p, *not_drawn]
    check_numbers(OVER_LOSSES, [*said, over, p, -on_acm, p_acm])
    cora, cora_ml, citeseer = (WORDS[one.ahead] for one in drawn)
    check_words(OVER_LOSSES, f"ahead in all {cora} draws, in {cora_ml} and in {citeseer}")


def test_abkd_alone_is_the_luck_of_the_tuning():
    above = gains("abkd", SOFT, "cora_ml", "acm", "pubmed", "citeseer")
    drawn, together = tuned_again("abkd", SOFT, ("cora_ml", "citeseer", "cora")), regimes().drawn("abkd", SOFT)
    said = [*above, *gains(SOFT, "abkd", "cora"), *regimes().claim("abkd", SOFT)]
    said += [*means(drawn), *stds(drawn), together.mean]
    said += [*gains(BOTH, INPUT, *GRAPHS, "acm"), regimes().claim(BOTH, INPUT)[0]]
    over_best = [regimes().claim(BOTH, "best other method", dataset)[0] for dataset in (*GRAPHS, "acm")]
    check_numbers(ABKD, [*said, *over_best[:3], -over_best[3], *regimes().claim(BOTH, "best other method")])
    of_draws = regimes().scores_of_draws(SOFT, "cora_ml")
    assert min(of_draws) == of_draws[0]  # "the worst of their ten draws in the table"


def test_fitted_layers():
    drawn = tuned_again("soft_label_fitted", SOFT, ("cora_ml", "cora", "citeseer"))
    together = regimes().drawn("soft_label_fitted", SOFT)
    both = [*tuned_again("teacher_input_fitted", INPUT), regimes().drawn("teacher_input_fitted", INPUT)]
    check_numbers(FITTED_LAYERS, [*means(drawn), *stds(drawn), together.mean, together.p, drawn[0].p, *means(both)])


def test_what_the_earlier_start_gave_is_history():
    check_numbers(BEFORE, HISTORY)
