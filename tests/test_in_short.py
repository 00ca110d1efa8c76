"""The numbers of the first paragraphs on the studies, `experiments/README.md`, from the stored cells."""

import re
from pathlib import Path

import numpy as np
import pytest
from prose_samples import WORDS, told

from abkd_jax.study.regimes import NOISY, UNSEEN
from abkd_jax.study.report.claims import Claim
from abkd_jax.study.report.draws import gaps_of
from abkd_jax.study.report.grid import scores_of
from experiments import recommended, tuning_draws
from experiments.configs.tables import TABLES

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
RESULTS = EXPERIMENTS / "results"
WHOLE = (EXPERIMENTS / "README.md").read_text()
README = re.sub(r"\s+", " ", WHOLE)
TEXT = re.sub(r"\s+", " ", WHOLE.split("In short, ")[1].split("\n\nWhat the ")[0])


def found(pattern):
    (numbers,) = re.findall(pattern, TEXT)
    return numbers


def mean(cell):
    return 100 * np.mean([*scores_of(cell).values()])


def behind(table, method="soft_label", student=""):
    """Returns how far the students of each column are below their teachers."""
    grid = told(table).grid
    columns = [column for column in grid.columns if (column, method) in grid.cells and student in column.student]
    return {column: mean(grid.teacher(column)) - mean(grid.cells[column, method]) for column in columns}


def test_how_many_tables_and_methods_there_are():
    stored = [name for name in TABLES if (RESULTS / name).is_dir()]
    most = max(len(told(name).grid.methods) for name in stored)
    assert found(r"from (\w+) tables of up to (\d+) methods") == (WORDS[len(stored)], str(most))


def test_soft_labels_of_all_nodes_leave_nothing_to_gain():
    grid, gaps = told("main").grid, behind("main")
    close = [gap for gap in gaps.values() if gap < 1.0]
    smaller = [grid.compression(column) for column in grid.columns]
    said = found(r"(\d+) to (\d+) times smaller, end within a point .* on (\w+) of (\w+) graphs, on Actor (\S+) below")
    assert said[:2] == (f"{min(smaller):.0f}", f"{max(smaller):.0f}")
    assert said[2:4] == (WORDS[len(close)], WORDS[len(gaps)])
    assert [f"{gap:.1f}" for column, gap in gaps.items() if column.dataset == "geom_gcn:film"] == [said[4]]


def test_where_labelled_nodes_alone_are_taught():
    gaps = behind("regimes")
    wide = {column: gap for column, gap in gaps.items() if gap > 3.0}
    said = found(r"soft labels are (\d+) to (\d+) points below the teachers on (\w+) of (\w+) graphs")
    assert said == (f"{min(wide.values()):.0f}", f"{max(wide.values()):.0f}", WORDS[len(wide)], WORDS[len(gaps)])
    acm = next(column for column in gaps if column.dataset == "acm")
    assert abs(gaps[acm]) < 0.1
    assert round(behind("regimes", "teacher_input")[acm] - gaps[acm]) == 1
    assert found(r"On acm, where there is no gap, it costs (a) point") == "a"


def test_what_the_first_layer_of_the_teacher_gets_back_over_the_draws():
    grids, _ = tuning_draws.grids_of_draws("regimes", RESULTS)
    gaps = gaps_of(grids, Claim("teacher_input", ("soft_label",)))
    shares = []
    for column, gained in gaps.items():
        students = np.mean([mean(grid.cells[column, "soft_label"]) for grid in grids])
        shares.append(1e4 * np.mean(gained) / (mean(grids[0].teacher(column)) - students))
    said = found(
        r"gets (\d+) to (\d+) % of that back over (\w+) draws, ahead in every one, and is (\S+) above the best of four"
    )
    assert said[:3] == (f"{min(shares):.0f}", f"{max(shares):.0f}", WORDS[len(grids)])
    assert all(gain > 0.0 for gained in gaps.values() for gain in gained)
    assert said[3] == f"{over_graphs('regimes', 'teacher_input', 'best other loss')[0]:.1f}"


def test_where_alignment_gains():
    gained, gaps = over_graphs("curve", "abkd", "soft_label")
    found(r"in one place alone: half a point over three graphs in narrow students .* ahead in every draw of the tuning")
    assert 0.4 < gained < 0.6
    assert min(gaps) > 0.0
    decided = told("deep_to_shallow").decisions_of_draws
    (on_cora,) = [
        one
        for one, _ in decided
        if str(one.claim) == "abkd above soft_label" and one.comparison.columns[0].dataset == "cora"
        if one.comparison.column is not None
    ]
    assert on_cora.in_words == "undecided"
    mean_gain, p = 100 * on_cora.comparison.difference.estimate.mean, on_cora.comparison.holm_p
    assert found(r"(\S+) points on Cora where GCNIIs of 64 layers teach GCNs") == f"{mean_gain:.1f}"
    assert found(r"has a Holm p of (\S+)\. Which pairs") == f"{p:.3f}".removeprefix("0")


def test_where_the_choice_of_pairs_matters():
    drawn = told("deep_to_shallow").drawn("abkd", "abkd_last_layer")
    said = found(r"the last layers alone are (\S+) above learned attention over three graphs, in every draw\.")
    assert said == f"{-drawn.mean:.1f}"
    assert (drawn.p < 0.05, max(drawn.gaps) < 0.0) == (True, True)
    assert min(told(table).claim("abkd", "abkd_last_layer")[1] for table in ("main", "curve", "few_labels")) > 0.05


def test_fitted_students_are_above_the_best_loss_in_every_draw():
    gained, gaps = over_graphs("deep_to_shallow", "soft_label_fitted", "best other loss")
    assert found(r"are (\S+) above the best of four losses, in every draw") == f"{gained:.1f}"
    assert min(gaps) > 0.0


def test_what_the_advised_settings_gain():
    """The last line of the table says it, and the text before it."""
    said = re.search(
        r"by (\S+) over all of them\. That is (\S+) where .*? and (\S+) where .*? are (\S+) and (\S+) behind", README
    )
    rows = recommended.as_text(RESULTS).splitlines()
    by_table = [re.findall(r"([+-]\d+\.\d+) of", cell)[0] for cell in rows[-1].split("|")[2:6]]
    over = re.findall(r"([+-]\d+\.\d+) \+-", rows[-1])[0]
    assert said is not None
    assert said.groups() == tuple(f"{abs(float(number)):.1f}" for number in (over, *by_table))
    assert all(float(re.findall(r"([+-]\d+\.\d+) \+-", row)[0]) > 0.0 for row in rows[2:])


def test_dropout_in_the_student():
    noisy, unseen, names = told("perturbed"), told("inductive"), ("soft_label_dropout", "soft_label")
    drawn = noisy.drawn(*names, view=NOISY)
    graphs = [one.comparison.column.dataset for one, _ in noisy.decisions_of_draws if _is_of(one, names[0], NOISY)]
    teachers = [noisy.gain_of_draws(names[0], "teacher", graph, view=NOISY) for graph in graphs]
    cost = max(noisy.gain_of_draws(*names[::-1], graph) for graph in graphs)
    cora, citeseer = (unseen.drawn(*names, graph, "4x4", view=UNSEEN) for graph in ("cora", "citeseer"))
    said = found(
        r"gains (\S+) over (\w+) graphs where features are noisy .* in every draw, and ends (\S+) to (\S+) above .*"
        r"at most (\S+) \(\S+ On unseen nodes it gains (\S+) on Cora and loses (\S+) on Citeseer\."
    )
    numbers = [drawn.mean, min(teachers), max(teachers), cost, cora.mean, -citeseer.mean]
    assert [*said[:1], *said[2:]] == [f"{number:.1f}".removeprefix("0") for number in numbers]
    assert said[1] == WORDS[len(graphs)]
    assert min(drawn.gaps) > 0.0


def _is_of(decision, method, view):
    return decision.comparison.column is not None and (decision.claim.method, decision.claim.view) == (method, view)


def test_labels_beside_soft_labels_of_graphs():
    small, large, hiv = told("molecules"), told("molhiv"), "ogbg-molhiv"
    both, plain = "labels_soft_label", "supervised"
    said = found(
        r"gain over soft labels: (\S+) on two small .* and (\S+) on ogbg-molhiv, (\S+) above .* and (\S+) above the"
    )
    gains = [small.claim(both, "soft_label")[0]]
    gains += [large.gain(both, other, hiv) for other in ("soft_label", plain, "teacher")]
    assert said == tuple(f"{gain:.1f}" for gain in gains)
    assert small.claim(both, plain)[0] < 0.0


def over_graphs(table, method, against):
    """Returns what the draws say of a claim over all data sets: the mean gain in points, and those of the draws."""
    drawn = told(table).drawn(method, against)
    return drawn.mean, drawn.gaps


@pytest.mark.parametrize("units", [2, 4])
def test_units_cost_and_layers_do_not(units):
    gaps = behind("curve", student=f"x{units}")
    on_pubmed = [gaps.pop(column) for column in [*gaps] if column.dataset == "pubmed"]
    ends = tuple(f"{end(gaps.values()):.1f}" for end in (min, max))
    if units == 2:
        said = found(r"two units lose (\S+) to (\S+) points with soft labels, but on Pubmed (\S+) at most")
        assert (*said[:2], float(said[2])) == (*ends, round(max(on_pubmed), 1))
    else:
        assert float(ends[1]) < 0.5
