"""What the text of the table `perturbed` says."""

from prose_samples import WORDS, check_numbers, check_words, paragraphs, same, told

from abkd_jax.study.regimes import DROPPED, NOISY

INTRO, CUT_OUT_STUDENTS, ABKD, INPUT = paragraphs("perturbed")

CUT_OUT, PLAIN, SOFT = "soft_label_cut_out", "soft_label_plain", "soft_label"
GRAPHS = ("acm", "cora", "cora_ml", "citeseer")


def perturbed():
    return told("perturbed")


def test_cut_out_students_keep_more():
    check_numbers(INTRO, [])
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
