"""What the trials of stored tunings say of starts: `python -m experiments.starts`.

A tuning tries its points in a fixed order, and the start of each is one of its coordinates, so the points of one start
are a sample of the same ranges as those of another. Their mean validation score is what settings with that start are
worth when nobody tunes them. The first trial, which is the preset's with the plain start, is left out.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tabulate
import tyro

from abkd_jax.datasets.files.atomic import write_atomic
from abkd_jax.run.report.statistics import metric_named
from abkd_jax.study.cells import Cell, load
from abkd_jax.study.report.excerpt import filled
from experiments.program import run_program
from experiments.study import RESULTS
from experiments.tuning_draws import stored

NAME = "starts"  # of the excerpt
TABLES = ("main", "regimes", "inductive", "curve")  # perturbed trains the students of main
METHODS = ("soft_label", "abkd", "teacher_input")
STARTS = {"positive": "plain", "teacher_directions": "teacher's directions", "attention_map": "cut out"}
LEAST = 8  # tunings


@dataclass(frozen=True)
class Args:
    """Compare the starts over the trials of stored tunings."""

    results: Path = RESULTS
    """Folder of stored tables."""
    readme: Path | None = None
    """Text with lines `<!-- study starts -->` and `<!-- end -->`, between which the table is put as well."""


def main(args: Args) -> None:
    """Prints the table.

    Raises:
        InputError: a damaged cell, or a text without a place for the table.
    """
    text = as_text(args.results)
    print(text, end="")
    if args.readme is not None:
        write_atomic(args.readme, filled(args.readme, NAME, text))


def as_text(results: Path) -> str:
    """Returns the table of all students and methods that were tuned often enough, as Markdown."""
    headers = ("table, student, method", *STARTS.values(), "cut out - plain", "ahead")
    rows = [row for table in TABLES for row in _rows(table, results)]
    return tabulate.tabulate(rows, headers, tablefmt="github", disable_numparse=True) + "\n"


def _rows(table: str, results: Path) -> Iterator[tuple[str, ...]]:
    tunings_of: dict[tuple[str, ...], list[Cell]] = {}
    for name in stored(table, results)[0]:
        for cell in load(results / name):
            if cell["method"] in METHODS and {*STARTS} <= {*cell["tuning"]["starts"]}:
                names = (cell["dataset"], cell["student"], cell["method"])
                tunings_of.setdefault(names, []).append(cell)
    for (dataset, student, method), tunings in sorted(tunings_of.items()):
        if len(tunings) >= LEAST:
            yield f"{table}, {dataset}, {student}, {method}", *_compared(tunings)


def _compared(tunings: Sequence[Cell]) -> Iterator[str]:
    """Yields the mean of each start over tunings, their difference with its standard deviation, and its sign."""
    factor = metric_named(tunings[0]["metric"]).factor
    means = {start: [factor * mean_of(cell, start) for cell in tunings] for start in STARTS}
    yield from (f"{statistics.mean(values):.1f}" for values in means.values())
    gaps = [cut_out - plain for plain, cut_out in zip(means["positive"], means["attention_map"], strict=True)]
    yield f"{statistics.mean(gaps):+.1f} +- {statistics.stdev(gaps):.1f}"
    yield f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"


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
    return statistics.mean(scores)


if __name__ == "__main__":
    run_program("experiments.starts", lambda: main(tyro.cli(Args, description=__doc__)))
