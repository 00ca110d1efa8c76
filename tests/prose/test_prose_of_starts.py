"""What the text on starts says beside the tables that `experiments.starts` makes."""

import functools
import re
import statistics
from pathlib import Path
from typing import NamedTuple

from prose_samples import RESULTS, check_words

from experiments import starts

README = Path(starts.__file__).parent / "README.md"
SOFT = "soft_label"


class Fitted(NamedTuple):
    """What the fitted start gains over the plain one on the untuned points, and tuned on test nodes, in points."""

    table: str
    student: str
    untuned: float
    tuned: float


@functools.cache
def said():
    return README.read_text().split("<!-- study starts -->")[1].split("<!-- end -->")[1].split("\n## ")[0]


@functools.cache
def draws(table):
    return starts.draws_of(table, RESULTS)


@functools.cache
def fitted():
    found = []
    for table in starts.OF_FITTED:
        for (_, student), pairs in starts.fitted_pairs(draws(table)).items():
            untuned = [starts.mean_of(b, "fitted") - starts.mean_of(a, "positive") for a, b in pairs]
            tuned = [statistics.mean(b["scores"]["test"]) - statistics.mean(a["scores"]["test"]) for a, b in pairs]
            found.append(Fitted(table, student, 100 * statistics.mean(untuned), 100 * statistics.mean(tuned)))
    return found


def between(values, digits=1):
    """The least and the most, as the text has them."""
    least, most = (f"{value:.{digits}f}".removeprefix("0") for value in (min(values), max(values)))
    return f"{least} to {most}"


def test_cut_out_students_are_better_than_plain_ones_where_nobody_tunes():
    gains, behind = [], []
    for table in starts.TABLES:
        for place, cells in starts.tunings_of(draws(table)).items():
            if place[-1] in (SOFT, "abkd"):
                means = {x: 100 * statistics.mean(starts.mean_of(cell, x) for cell in cells) for x in starts.STARTS}
                gains.append(means["attention_map"] - means["positive"])
                behind += [(table, *place)] if means["attention_map"] < means["teacher_directions"] else []
    assert behind == [("regimes", "cora", "4x4", "abkd")]
    check_words(said(), f"are {between(gains)} points better", "but for ABKD on the labelled nodes of Cora better than")


def test_what_the_fitted_start_gains():
    by_kind = {"others": [], "gcn": [], "batch": [], "behind": []}
    for one in fitted():
        kind = "batch" if one.student.endswith("batch") else "gcn" if one.table == "deep_to_shallow" else "others"
        if one.table != "layers_differ":
            by_kind["behind" if one.untuned < 0 else kind].append(one.untuned)
    narrow = [one.tuned for one in fitted() if re.fullmatch(r"\dx2", one.student)]
    check_words(
        said(),
        f"ahead of the plain one by {between(by_kind['others'])} in",
        f"by {between(by_kind['gcn'], 0)} in GCNs of 4 layers",
        f"({between(by_kind['batch'])} with batch normalisation)",
        f"{between([-gap for gap in by_kind['behind']])} behind in GCNIIs of 4 units",
        f"GCNIIs of two units {between(narrow)} better",
    )
