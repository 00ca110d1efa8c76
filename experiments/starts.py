"""What the trials of stored tunings say of starts: `python -m experiments.starts`.

A tuning tries its points in a fixed order, and the start of each is one of its coordinates, so the points of one start
are a sample of the same ranges as those of another. Their mean validation score is what settings with that start are
worth when nobody tunes them. The first trial has the preset's numbers, and the start that its method is named after:
methods of one start are compared by it, and it is left out of the means. The fitted start is newer than the ranges of
the tunings: a method of its own tries the same points from it alone.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import tabulate

from abkd_jax.run.report.statistics import metric_named
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.score_tables import median_epoch
from experiments.excerpts import cells_of, run_excerpt
from experiments.tuning_draws import stored

TABLES = ("main", "regimes", "inductive", "curve")  # perturbed trains the students of main
METHODS = ("soft_label", "abkd", "teacher_input")
ONE_START = {"soft_label": "soft_label_cut_out", "abkd": "abkd_cut_out"}  # by the method whose first trial is plain
STARTS = {"positive": "plain", "teacher_directions": "teacher's directions", "attention_map": "cut out"}
LEAST = 8  # tunings
FITTED = "soft_label_fitted"
OF_FITTED = (*TABLES, "layers_differ", "deep_to_shallow", "normalised")  # tables


def as_text(results: Path) -> str:
    """Returns three tables as Markdown: means and presets of what was tuned often enough, and the fitted start."""
    draws = {table: draws_of(table, results) for table in OF_FITTED}
    tables = {table: tunings_of(draws[table]) for table in TABLES}
    ends = ("cut out - plain", "ahead")
    headers = ("table, student, method", *STARTS.values(), *ends)
    means = [row for table, tunings in tables.items() for row in _of_means(table, tunings)]
    at_preset = [row for table, tunings in tables.items() for row in _of_presets(table, tunings)]
    shown = (
        (means, headers),
        (at_preset, ("at the preset's numbers", STARTS["positive"], STARTS["attention_map"], *ends)),
        (
            [row for table, drawn in draws.items() for row in _of_fitted(table, drawn)],
            ("soft labels, plain / fitted", "tunings", "points", "preset", "tuned, test", "epochs to .5"),
        ),
    )
    return "\n\n".join(tabulate.tabulate(*rows, tablefmt="github", disable_numparse=True) for rows in shown) + "\n"


Tunings = Mapping[tuple[str, str, str], Sequence[Cell]]  # by data set, student and method


def draws_of(table: str, results: Path) -> list[list[Cell]]:
    """Returns the cells of each draw of the tuning of a table."""
    return [cells_of(results / name) for name in stored(table, results)[0]]


def tunings_of(draws: Sequence[Sequence[Cell]]) -> Tunings:
    """Returns the cells of all draws of a table, of students that can have all starts."""
    found: dict[tuple[str, str, str], list[Cell]] = {}
    for draw in draws:
        for cell in draw:
            tried = cell["tuning"]["starts"] if "tuning" in cell else ()  # teachers are not tuned
            if {*STARTS} <= {*tried} or cell["method"] in ONE_START.values():
                found.setdefault((cell["dataset"], cell["student"], cell["method"]), []).append(cell)
    return {place: cells for place, cells in sorted(found.items()) if len(cells) >= LEAST}


def _of_means(table: str, tunings: Tunings) -> Iterator[tuple[str, ...]]:
    for (dataset, student, method), cells in tunings.items():
        if method in METHODS:
            factor = metric_named(cells[0]["metric"]).factor
            means = {start: [factor * mean_of(cell, start) for cell in cells] for start in STARTS}
            shown = (f"{statistics.mean(values):.1f}" for values in means.values())
            yield f"{table}, {dataset}, {student}, {method}", *shown, *_gap(means["positive"], means["attention_map"])


def _of_presets(table: str, tunings: Tunings) -> Iterator[tuple[str, ...]]:
    for (dataset, student, method), cells in tunings.items():
        others = tunings.get((dataset, student, ONE_START.get(method, "")), ())
        if len(others) == len(cells):  # draw by draw
            factor = metric_named(cells[0]["metric"]).factor
            plain, cut_out = ([factor * _first(cell) for cell in of] for of in (cells, others))
            shown = (f"{statistics.mean(values):.1f}" for values in (plain, cut_out))
            yield f"{table}, {dataset}, {student}, {method}", *shown, *_gap(plain, cut_out)


def _of_fitted(table: str, draws: Sequence[Sequence[Cell]]) -> Iterator[tuple[str, ...]]:
    """Yields what soft labels have in all tunings in which they were fitted too, of any start and fitted."""
    for (dataset, student), pairs in fitted_pairs(draws).items():
        factor = metric_named(pairs[0][0]["metric"]).factor
        scores = (
            lambda cell: mean_of(cell, "fitted" if cell["method"] == FITTED else "positive"),
            _first,
            lambda cell: statistics.mean(score for score in cell["scores"]["test"] if score is not None),
        )
        shown = [_sides(pairs, lambda cell, of=of, by=factor: by * of(cell), 1) for of in scores]
        yield (
            f"{table}, {dataset}, {student}",
            str(len(pairs)),
            *shown,
            _sides(pairs, lambda cell: math.nan if (at := median_epoch(cell["cost"])) is None else at, 0),
        )


def fitted_pairs(draws: Sequence[Sequence[Cell]]) -> dict[tuple[str, str], list[tuple[Cell, Cell]]]:
    """Returns the cells of soft labels, of any start and fitted, of each tuning that has both, by data set and student.

    Args:
        draws: the cells of each draw of a table.
    """
    found: dict[tuple[str, str], list[tuple[Cell, Cell]]] = {}
    for draw in draws:
        cells = {(cell["dataset"], cell["student"], cell["method"]): cell for cell in draw}
        for (dataset, student, method), fitted in sorted(cells.items()):
            if method == FITTED and (dataset, student, "soft_label") in cells:
                pair = cells[dataset, student, "soft_label"], fitted
                found.setdefault((dataset, student), []).append(pair)
    return found


def _sides(pairs: Sequence[tuple[Cell, Cell]], value: Callable[[Cell], float], digits: int) -> str:
    """Returns the means of a value over the tunings of both sides."""
    return " / ".join(f"{statistics.mean(map(value, cells)):.{digits}f}" for cells in zip(*pairs, strict=True))


def _gap(plain: Sequence[float], cut_out: Sequence[float]) -> tuple[str, str]:
    """Returns the mean difference of two starts with its deviation over tunings, and how often it is above 0."""
    gaps = [b - a for a, b in zip(plain, cut_out, strict=True)]
    ahead = f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
    return f"{statistics.mean(gaps):+.1f} +- {statistics.stdev(gaps):.1f}", ahead


def _first(cell: Cell) -> float:
    """Returns the mean validation score of the first trial, of the students that all trials have."""
    first, *others = cell["tuning"]["trials"]
    scores = first["validation"][: min(len(trial["validation"]) for trial in others)]
    return _mean([score for score in scores if score is not None])


def mean_of(cell: Cell, start: str) -> float:
    """Returns the mean validation score of the trials with one start, of the students that all trials have.

    Args:
        cell: with its tuning.
        start: the start.

    Examples:
        >>> trial = {"numbers": {"start": "positive"}, "validation": [0.5, 0.7]}
        >>> finalist = {"numbers": {"start": "positive"}, "validation": [0.8, 0.8, 0.1, 0.1]}
        >>> first = {"numbers": {"start": "positive"}, "validation": [0.9, 0.9]}
        >>> round(mean_of({"tuning": {"trials": [first, trial, finalist]}}, "positive"), 6)
        0.7
    """
    trials = cell["tuning"]["trials"][1:]
    all_have = min(len(trial["validation"]) for trial in trials)
    scores = [
        score
        for trial in trials
        if trial["numbers"]["start"] == start
        for score in trial["validation"][:all_have]
        if score is not None
    ]
    return _mean(scores)


def _mean(scores: Sequence[float]) -> float:
    return statistics.mean(scores) if scores else math.nan  # all of them diverged


if __name__ == "__main__":
    run_excerpt("experiments.starts", as_text, __doc__)
