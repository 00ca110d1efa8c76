"""What the text on starts says beside the tables that `experiments.starts` makes."""

import functools
import re
import statistics
from pathlib import Path
from typing import NamedTuple

from prose_samples import RESULTS, check_words

from experiments import starts
from experiments.excerpts import cells_of
from experiments.tuning_draws import stored

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
    return [cells_of(RESULTS / name) for name in stored(table, RESULTS)[0]]


@functools.cache
def fitted():
    found = []
    for table in starts.OF_FITTED:
        pairs = {}
        for draw in draws(table):
            cells = {(cell["dataset"], cell["student"], cell["method"]): cell for cell in draw}
            for (dataset, student, method), cell in cells.items():
                if method == starts.FITTED and (dataset, student, SOFT) in cells:
                    pairs.setdefault((dataset, student), []).append((cells[dataset, student, SOFT], cell))
        for (_, student), of_place in pairs.items():
            untuned = [starts.mean_of(b, "fitted") - starts.mean_of(a, "positive") for a, b in of_place]
            tuned = [statistics.mean(b["scores"]["test"]) - statistics.mean(a["scores"]["test"]) for a, b in of_place]
            found.append(Fitted(table, student, 100 * statistics.mean(untuned), 100 * statistics.mean(tuned)))
    return found


def between(values, digits=1):
    """The least and the most, as the text has them."""
    least, most = (f"{value:.{digits}f}".removeprefix("0") for value in (min(values), max(values)))
    return f"{least} to {most}"


def test_cut_out_students_are_better_than_plain_ones_where_nobody_tunes():
    gains, behind = [], []
    for table in starts.TABLES:
        places = {}
        for cell in (cell for draw in draws(table) for cell in draw if cell["method"] in (SOFT, "abkd")):
            if {*starts.STARTS} <= {*cell["tuning"]["starts"]}:
                places.setdefault((table, cell["dataset"], cell["student"], cell["method"]), []).append(cell)
        for place, cells in places.items():
            if len(cells) >= starts.LEAST:
                means = {x: 100 * statistics.mean(starts.mean_of(cell, x) for cell in cells) for x in starts.STARTS}
                gains.append(means["attention_map"] - means["positive"])
                behind += [place] if means["attention_map"] < means["teacher_directions"] else []
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
