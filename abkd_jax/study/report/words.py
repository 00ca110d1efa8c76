"""What a study has found, in plain words made from its numbers, and what is missing in it."""

from collections.abc import Mapping, Sequence

from abkd_jax.run.report.statistics import mean_score
from abkd_jax.run.report.tables import format_score
from abkd_jax.run.report.trends import is_finite
from abkd_jax.study.cells import Cell
from abkd_jax.study.report.comparisons import ALPHA, Comparison, Test, best_attainable, gap_to_teacher
from abkd_jax.study.report.grid import TEACHER, Column, Grid, scores_of
from abkd_jax.study.report.score_tables import interval_text, label

__all__ = ["findings", "remarks", "summary"]


def summary(grid: Grid) -> list[str]:
    """Returns a sentence for every column: the best student and its gap to the teacher."""
    return [_best(grid, column) for column in grid.columns]


def findings(grid: Grid, baseline: str, test: Test, rows: Sequence[Comparison]) -> str:
    """Returns which comparisons are significant after Holm's correction, which not, and why none could be."""
    tested = [row for row in rows if row.holm_p is not None]
    if not tested:
        return f"No comparison with {baseline} has the three pairs that a test needs."
    said = [f"Of {len(tested)} comparisons with {baseline}"]
    for verdict in ("better", "worse"):
        found = [row for row in tested if row.verdict == verdict]
        names = ", ".join(_named(grid, row) for row in found)
        said.append(f"{_are(found)} significantly {verdict}" + f" ({names})" * bool(found))
    still = [row for row in tested if row.verdict == "open"]
    said.append(f"{_are(still)} not significant ({test} test, Holm p < {ALPHA})")
    text = f"{said[0]}, {said[1]}, {said[2]}, and {said[3]}."
    least = best_attainable(tested, test)
    if least >= ALPHA:
        text += f" With so few pairs none could be: the smallest corrected p that they allow is {least:.2g}."
    return text


def remarks(grid: Grid) -> list[str]:
    """Returns one line per thing that is missing: cells, teachers, scores, pairs for a test, another student."""
    lines = []
    for column in grid.columns:
        cells, where = grid.of_column(column), label(grid, column)
        absent = [method for method in grid.methods if method not in cells]
        lines += [f"{where}: no cell of {', '.join(absent)}."] if absent else []
        teacher = grid.teacher(column)
        if teacher is None:
            lines.append(f"{where}: no cell of the teachers.")
        for method, cell in (cells | ({TEACHER: teacher} if teacher else {})).items():
            left = len(cell["seeds"]) - len(scores_of(cell))
            diverged = sum(epoch is not None for epoch in cell.get("diverged") or [])
            if left:
                lines.append(
                    f"{where}: {left} of {len(cell['seeds'])} seeds of {method} have no test score"
                    f" ({diverged} diverged); they are in no mean and no pair."
                )
        lines += [f"{where}: {', '.join(names)} are the same students, weight for weight." for names in _same(cells)]
        if max(len(cell["seeds"]) for cell in cells.values()) == 1:
            lines.append(f"{where}: one seed, so no deviation, no interval and no test.")
    return lines


def _same(cells: Mapping[str, Cell]) -> list[list[str]]:
    """Returns methods with equal students, as all forms of attention have them where there is one pair of layers."""
    found: dict[tuple[str, ...], list[str]] = {}
    for method, cell in cells.items():
        found.setdefault(tuple(cell.get("weights", (method,))), []).append(method)
    return [methods for methods in found.values() if len(methods) > 1]


def _best(grid: Grid, column: Column) -> str:
    """Returns the sentence on the student of the highest mean test score."""
    means = {method: list(scores_of(cell).values()) for method, cell in grid.of_column(column).items()}
    means = {method: mean_score(values) for method, values in means.items() if values}
    if not means:
        return f"On {label(grid, column)} no student has a test score."
    best = max(means, key=lambda method: means[method])
    cell, metric = grid.cells[column, best], grid.metric(column)
    unit = " %" if metric.unit == "%" else f" {metric.name}"
    size = f", {cell['compression']:.1f}x smaller than its teacher" if is_finite(cell.get("compression")) else ""
    text = f"On {label(grid, column)} the best student of {len(means)} is {best}"
    text += f": {format_score(means[best], metric)}{unit}{size}"
    gap = gap_to_teacher(grid, column, best)
    if gap is None:
        return text + "."
    text += f", {format_score(gap.estimate.mean, metric, sign='+')} to the teacher"
    return text + (f" (95 % interval {interval_text(gap.interval, metric)})." if gap.interval else " (no interval).")


def _named(grid: Grid, row: Comparison) -> str:
    assert row.column is not None
    metric = grid.metric(row.column)
    return f"{row.method} on {label(grid, row.column)} {format_score(row.difference.estimate.mean, metric, sign='+')}"


def _are(rows: Sequence[Comparison]) -> str:
    return f"{len(rows)} {'is' if len(rows) == 1 else 'are'}"
