"""Tables of the study: every method with one tuning budget, `python -m experiments.study TABLE`.

main: what layer alignment adds to soft labels, and to the earlier losses, where soft labels of all nodes are given.
regimes: the same where only labelled nodes are taught, and where a fifth of the test nodes is unseen.
molecules: graphs that are labelled, GIN on minibatches: ROC-AUC of properties of molecules.
curve: students from 60 to 600 times smaller than their teachers.
Hardware: 2 CPU cores. Time: one to three minutes a cell on Cora and Citeseer, five times as long on Pubmed; teachers
half an hour a data set and regime, an hour on Pubmed. `stride` and `stride_structure` are methods too, but in no table:
G-CRD on all 256 pairs of layers takes hours a cell.
"""

from abkd_jax.study.options import Table, Tuning
from abkd_jax.study.report.claims import Claim

EARLIER = (
    *("fitnet", "attention_transfer", "lsp", "gsp", "gcrd", "geometric", "mustad", "mustad_repeated"),
    *("krd", "ff_g2m", "propagate"),
)

TABLES = {
    "main": Table(
        name="main",
        datasets=("cora", "citeseer", "pubmed"),
        methods=(
            *("soft_label", "abkd", "abkd_uniform", "abkd_last_layer", *EARLIER, "supervised", "labels_soft_label"),
            *("abkd_greedy", "abkd_depth", "abkd_fixed_axes", "abkd_paper"),
            *("teacher_input", "teacher_input_abkd"),
        ),
    ),
    "regimes": Table(
        name="regimes",
        datasets=("cora", "citeseer", "pubmed"),
        regimes=("labelled_only", "inductive"),
        methods=(
            *("supervised", "soft_label", "abkd", "abkd_last_layer", "gcrd", "teacher_input", "teacher_input_abkd"),
        ),
    ),
    "curve": Table(
        name="curve",
        datasets=("cora", "citeseer", "pubmed"),
        students=("4x2", "2x4", "1x4", "1x2"),
        methods=(
            *("soft_label", "abkd", "abkd_last_layer", "experiments.class_relevant:class_relevant", "gcrd"),
            "supervised",
        ),
    ),
    # One student after the other; ogbg-molhiv, which has 27 times the graphs of BACE, is for `--datasets`.
    "molecules": Table(
        name="molecules",
        datasets=("ogbg-molbace", "ogbg-moltox21"),
        students=("2x24",),
        methods=("soft_label", "abkd", "abkd_last_layer", "gcrd", "supervised"),
        lengths=(30, 90),
        tuning=Tuning(trials=8, seeds=1, finalists=2, final_seeds=2, epochs=30),
    ),
}

# Fixed before the tables were trained. Ten pairs allow p >= .002: of more than 25 none could be significant.
CLAIMS = {
    "main": (
        Claim("abkd", ("soft_label",)),
        Claim("abkd", ("abkd_uniform",)),
        Claim("abkd", ("abkd_last_layer",)),
        Claim("abkd", EARLIER, "best earlier loss"),
    ),
    "regimes": (
        Claim("abkd", ("soft_label",)),
        Claim("teacher_input", ("soft_label",)),
        Claim("teacher_input_abkd", ("teacher_input",)),
    ),
    "curve": (
        Claim("abkd", ("soft_label",)),
        Claim("abkd", ("abkd_last_layer",)),
    ),
}
