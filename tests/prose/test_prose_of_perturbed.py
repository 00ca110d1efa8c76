"""What the text of the table `perturbed` says."""

from prose_samples import WORDS, check_numbers, check_words, paragraphs, same, told

from abkd_jax.study.regimes import DROPPED, NOISY

INTRO, DROPOUT_STUDENTS, CUT_OUT_STUDENTS, ABKD, INPUT = paragraphs("perturbed")

CUT_OUT, PLAIN, SOFT = "soft_label_cut_out", "soft_label_plain", "soft_label"
DROPPING, ABKD_DROPPING = "soft_label_dropout", "abkd_dropout"
GRAPHS = ("acm", "cora", "cora_ml", "citeseer")


def perturbed():
    return told("perturbed")


def test_students_with_dropout_keep_more_of_noisy_features():
    check_numbers(INTRO, [])
    noisy = acm, cora, cora_ml, citeseer = [perturbed().drawn(DROPPING, SOFT, name, view=NOISY) for name in GRAPHS]
    together, edges = (perturbed().drawn(DROPPING, SOFT, view=view) for view in (NOISY, DROPPED))
    above_teachers = [perturbed().gain_of_draws(DROPPING, "teacher", name, view=NOISY) for name in GRAPHS]
    whole = [perturbed().gain_of_draws(DROPPING, SOFT, name) for name in GRAPHS]
    abkd = perturbed().drawn(ABKD_DROPPING, DROPPING, view=NOISY)
    narrow = told("curve").gain(SOFT, DROPPING, "cora", "4x2")
    said = [0.5, acm.mean, cora.mean, citeseer.mean, cora_ml.mean]  # the rate
    said += [min(one.std for one in noisy), max(one.std for one in noisy), together.mean, together.p]
    said += [min(above_teachers), max(above_teachers), edges.mean, edges.p, -min(whole), max(whole)]
    said += [perturbed().gain(DROPPING, SOFT, "pubmed", view=NOISY), abkd.mean, abkd.p, narrow]
    check_numbers(DROPOUT_STUDENTS, said)
    check_words(DROPOUT_STUDENTS, f"ahead in all {WORDS[same(*(one.ahead for one in noisy))]} on each")


def test_cut_out_students_keep_more():
    drawn = acm, cora, cora_ml, citeseer = [perturbed().drawn(CUT_OUT, PLAIN, name, view=DROPPED) for name in GRAPHS]
    together = perturbed().drawn(CUT_OUT, PLAIN, view=DROPPED)
    above_teachers = [perturbed().gain_of_draws(CUT_OUT, "teacher", name, view=DROPPED) for name in GRAPHS]
    whole = [perturbed().gain_of_draws(CUT_OUT, PLAIN, name) for name in GRAPHS]
    noisy = [perturbed().gain_of_draws(CUT_OUT, PLAIN, name, view=NOISY) for name in GRAPHS]
    pubmed = perturbed().gain(CUT_OUT, PLAIN, "pubmed", view=DROPPED)
    said = [
        *perturbed().claim(CUT_OUT, PLAIN, view=DROPPED),
        pubmed,
        acm.mean,
        same(cora.mean, cora_ml.mean),
        citeseer.mean,
    ]
    said += [min(one.std for one in drawn), max(one.std for one in drawn), together.mean, together.p]
    ends = [of(values) for values in (above_teachers, whole) for of in (min, max)]
    check_numbers(CUT_OUT_STUDENTS, [*said, *ends, -min(noisy), max(noisy)])
    check_words(CUT_OUT_STUDENTS, f"ahead in all {WORDS[same(*(one.ahead for one in drawn))]} on each")


def test_gains_of_abkd_are_the_luck_of_the_tuning():
    in_table = [*perturbed().claim("abkd", SOFT, view=DROPPED), *perturbed().claim("abkd", SOFT, view=NOISY)]
    drawn = [perturbed().drawn("abkd", SOFT, view=view) for view in (DROPPED, NOISY)]
    check_numbers(ABKD, [*in_table, *(one.mean for one in drawn), *(one.std for one in drawn)])


def test_the_first_layer_of_the_teacher_loses():
    lost, p = perturbed().claim("teacher_input", SOFT, view=DROPPED)
    check_numbers(INPUT, [-lost, p])
